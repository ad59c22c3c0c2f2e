"""Colours gone wrong to a known severity, for training iqp-colour (`SEEN`) and for judging it (`SEEN` and `UNSEEN`).

Each is a `Distortion`: an RGB image (H, W, 3), float32 in [0, 1], a severity in [0, 1] and a generator -> the same.
"""

from __future__ import annotations

import numpy as np

from benchmarks.scorer.distortions import Distortion, Rng, geometric
from iqp_adapter.degradations.discolour import drawn_gains, fade, grey, tint

_SEPIA = np.array([1.0, 0.87, 0.66], np.float32)
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], np.float32)


def faded(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    return fade(image, geometric(0.04, 0.9, severity))


def tinted(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    return tint(image, drawn_gains(rng, geometric(0.03, 0.9, severity)))


def desaturated(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    return image + geometric(0.06, 1, severity) * (grey(image) - image)


def shifted(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    """Every channel by its own constant, as veils and wrong black points do."""
    return image + geometric(0.01, 0.25, severity) * rng.uniform(-1, 1, 3)


def sepia(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    return image + geometric(0.06, 1, severity) * (grey(image) * _SEPIA - image)


def turned_hue(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    angle = geometric(0.04, 1.2, severity) * rng.choice((-1, 1))
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    return image @ (np.linalg.inv(_YIQ) @ turn @ _YIQ).T


def crossed_curves(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    """Another gamma for every channel, as in aged film."""
    return image ** np.exp(geometric(0.03, 0.6, severity) * rng.uniform(-1, 1, 3))


SEEN: tuple[Distortion, ...] = (faded, tinted, desaturated, shifted)
UNSEEN: tuple[Distortion, ...] = (sepia, turned_hue, crossed_curves)
