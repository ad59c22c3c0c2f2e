"""Changes of colour in old and badly lit photos: fading, a colour cast, and loss of colour.

Pictures are (H, W, 3) float32, RGB in [0, 1]; results are not clipped.
"""

from __future__ import annotations

import numpy as np

from ..pictures import LUMA

_BLEACHED = np.float32(0.6)


def fade(image: np.ndarray, amount: float) -> np.ndarray:
    """Fades a picture as dyes bleach: blends it with its luma, and half as strongly with a light grey.

    Args:
        amount: 0 (nothing) to 1 (a flat grey picture without colour).
    """
    paler = image + np.float32(amount) * (grey(image) - image)
    return paler + np.float32(amount / 2) * (_BLEACHED - paler)


def tint(image: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Multiplies every channel by its gain (3,), as another light does."""
    return image * gains.astype(np.float32)


def drawn_gains(rng: np.random.Generator, strength: float) -> np.ndarray:
    """Gains (3,) of a light of random hue; two channels differ by at most e^strength, and the product is 1."""
    angle = rng.uniform(0, 2 * np.pi)
    return np.exp(strength / np.sqrt(3) * np.cos(angle + 2 * np.pi / 3 * np.arange(3)))  # (3,)


def grey(image: np.ndarray) -> np.ndarray:
    """Replaces colours by their luma."""
    return np.repeat(image @ LUMA.astype(np.float32)[:, None], 3, axis=2)  # (H, W, 1) -> (H, W, 3)
