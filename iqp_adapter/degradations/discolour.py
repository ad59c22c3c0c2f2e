"""How colours of photos go wrong: they fade, lean to one side, or are gone.

Pictures are (H, W, 3) float32, RGB in [0, 1], and so are results, unclipped.
"""

from __future__ import annotations

import numpy as np

from ..pictures import LUMA

_BLEACHED = np.float32(0.6)


def fade(image: np.ndarray, amount: float) -> np.ndarray:
    """As dyes bleach: colours go to their luma, and everything goes half as far to a light grey.

    Args:
        amount: 0 (nothing) to 1 (a flat grey picture without colour).
    """
    paler = image + np.float32(amount) * (grey(image) - image)
    return paler + np.float32(amount / 2) * (_BLEACHED - paler)


def tint(image: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """As under another light: every channel times its own gain (3,)."""
    return image * gains.astype(np.float32)


def drawn_gains(rng: np.random.Generator, strength: float) -> np.ndarray:
    """Gains (3,) of a light of a drawn hue, by up to e^strength from channel to channel, their product being 1."""
    angle = rng.uniform(0, 2 * np.pi)
    return np.exp(strength / np.sqrt(3) * np.cos(angle + 2 * np.pi / 3 * np.arange(3)))  # (3,)


def grey(image: np.ndarray) -> np.ndarray:
    """As without colour film."""
    return np.repeat(image @ LUMA.astype(np.float32)[:, None], 3, axis=2)  # (H, W, 1) -> (H, W, 3)
