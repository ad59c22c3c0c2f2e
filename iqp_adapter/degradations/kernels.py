"""Blur kernels and noise as BasicSR draws them: its generators in its order, so that they are equal to the bit.

Source: the formulas of BasicSR's `data/degradations.py`, which cannot be installed on Python 3.13; the generalised ones
after Pascal et al. (arXiv:1302.6498). Differs: the draws come from a generator that is given, not from the global ones.
"""

from __future__ import annotations

import numpy as np

KERNELS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
"""Names of blur kernels: round or turned ellipses, that fall off like a Gaussian, its powers, or a plateau."""

_EXPONENTS = (0.5, 8.0)
"""Range of the power of a Gaussian's distances; below 1 the kernel is pointed, above it has a flat top."""


def draw_kernel(rng: np.random.RandomState, name: str, size: int, sigma: tuple[float, float]) -> np.ndarray:
    """A blur kernel (size, size) float64, whose sum is 1.

    Args:
        name: one of `KERNELS`.
        size: odd, pixels.
        sigma: range of its widths, pixels.
    """
    family, _, shape = name.rpartition("_")
    across = rng.uniform(*sigma)
    along, turn = (across, 0.0) if shape == "iso" else (rng.uniform(*sigma), rng.uniform(-np.pi, np.pi))
    distances = _distances(size, across, along, turn) ** (_exponent(rng) if family else 1.0)
    kernel = np.reciprocal(distances + 1) if family == "plateau" else np.exp(-0.5 * distances)
    kernel = kernel / kernel.sum()
    return kernel / kernel.sum()  # again, as BasicSR does: the first sum is 1 but for its rounding


def add_noise(rng: np.random.RandomState, picture: np.ndarray, sigma: tuple[float, float]) -> np.ndarray:
    """A picture (H, W, 3) float32 in [0, 1] with Gaussian noise, whose sigma in 1/255 is drawn from a range."""
    level = rng.uniform(*sigma)
    rng.uniform()  # BasicSR's draw between coloured and grey noise
    noise = np.float32(rng.randn(*picture.shape)) * level / 255
    return np.clip(picture + noise, 0, 1)


def _distances(size: int, across: float, along: float, turn: float) -> np.ndarray:
    """Squared distances (size, size) to the middle, in units of the widths of an ellipse that is turned, radians."""
    axis = np.arange(size) - size // 2.0
    points = np.stack(np.meshgrid(axis, axis), 2)  # (size, size, 2), x before y
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    covariance = np.dot(turned, np.dot(np.diag([across**2, along**2]), turned.T))
    return np.sum(np.dot(points, np.linalg.inv(covariance)) * points, 2)


def _exponent(rng: np.random.RandomState) -> float:
    """Below and above 1 as often."""
    low, high = _EXPONENTS
    return rng.uniform(low, 1) if rng.uniform() < 0.5 else rng.uniform(1, high)
