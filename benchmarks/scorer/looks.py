"""Changes of light and background, which must not change a score, and what they are measured by.

Pictures are RGB (H, W, 3), float32 in [0, 1], aligned to the template of facexlib.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np

from benchmarks.scorer.distortions import Rng
from iqp_adapter.pictures import LUMA

CHEEKS = ((0.39, 0.61), (0.61, 0.61))
"""Centres (x, y) of the cheeks in the aligned picture, in sides."""

PATTERNS = ("coffee", "rocket", "chelsea", "texture", "stripes", "blur")
BUSY = ("coffee", "rocket", "chelsea", "texture", "stripes", "spots")
"""Names of scenery, and those of the busier ones."""

_TOLERANCE, _EDGE = 8.0, 12.0
"""CIELAB distance up to which a pixel belongs to a plain background, and the width of the soft edge above it."""


def cheek_luminance(image: np.ndarray) -> float:
    """Median luma of the cheeks, 0 to 1."""
    side = image.shape[0]
    radius = round(0.04 * side)
    luma = image @ LUMA
    patches = [
        luma[round(y * side) - radius : round(y * side) + radius, round(x * side) - radius : round(x * side) + radius]
        for x, y in CHEEKS
    ]
    return float(np.median(np.concatenate([patch.ravel() for patch in patches])))


def busyness(image: np.ndarray) -> float:
    """Mean gradient of the luma beside and above the head, at 256 px, in 1 / 255 a pixel."""
    luma = cv2.resize(image @ LUMA, (256, 256), interpolation=cv2.INTER_AREA).astype(np.float32)
    across, down = cv2.Sobel(luma, -1, 1, 0, scale=1 / 8), cv2.Sobel(luma, -1, 0, 1, scale=1 / 8)
    strength = 255 * np.hypot(across, down)
    return float(np.concatenate([strength[:140, :28].ravel(), strength[:140, -28:].ravel()]).mean())


def relit(image: np.ndarray, gamma: float, gain: float | np.ndarray) -> np.ndarray:
    """Another exposure: `image ** gamma * gain`, clipped; a gain for every channel is a cast."""
    return (image**gamma * gain).clip(0, 1).astype(np.float32)


def exposed(image: np.ndarray, factor: float) -> np.ndarray:
    """A picture with another exposure: its linear light times a factor; highlights roll off instead of clipping."""
    linear = np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4) * factor
    rolled = np.where(linear > 0.6, 0.6 + 0.4 * np.tanh((linear - 0.6) / 0.4), linear)
    return np.where(rolled <= 0.0031308, rolled * 12.92, 1.055 * rolled ** (1 / 2.4) - 0.055).astype(np.float32)


def side_lit(image: np.ndarray, angle: float, strength: float) -> np.ndarray:
    """Light that falls off by e^-strength to both sides of the middle in one direction."""
    rows, columns = np.mgrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
    slope = np.cos(angle) * columns + np.sin(angle) * rows
    return (image * np.exp(strength * slope)[..., None]).clip(0, 1).astype(np.float32)


def backdrop(image: np.ndarray) -> np.ndarray | None:
    """How much of every pixel is a plain background (H, W, 1), 0 to 1; None where the background is not plain."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    height, width = lab.shape[:2]
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    places = np.stack([np.ones_like(rows), rows, columns, rows * columns, columns**2, rows**2], axis=-1)
    known = np.zeros((height, width), bool)
    known[: height // 3, : width // 10] = known[: height // 3, -width // 10 :] = True
    for _ in range(3):
        shade = places @ np.linalg.lstsq(places[known], lab[known], rcond=None)[0]
        away = np.linalg.norm(lab - shade, axis=-1)
        known = _reached(away < _TOLERANCE)
        if known.mean() < 0.03:
            return None
    if np.mean(away[: height // 3, : width // 10] > _TOLERANCE) > 0.25:
        return None
    outside = _reached(away < _TOLERANCE + _EDGE / 2)
    part = np.clip(1 - (away - _TOLERANCE) / _EDGE, 0, 1) * outside
    return cv2.GaussianBlur(part.astype(np.float32), (0, 0), height / 400)[..., None]


def _reached(free: np.ndarray) -> np.ndarray:
    """The free pixels that are connected to the upper corners."""
    labels = cv2.connectedComponents(free.astype(np.uint8), connectivity=4)[1]
    corners = {labels[2, 2], labels[2, -3]} - {0}
    return np.isin(labels, list(corners))


def before(image: np.ndarray, scenery: np.ndarray, part: np.ndarray) -> np.ndarray:
    """The person of a picture before other scenery (H, W, 3); `part` is that of the old background."""
    return (image * (1 - part) + scenery * part).clip(0, 1).astype(np.float32)


def scenery(name: str, side: int, rng: Rng) -> np.ndarray:
    """A background (side, side, 3): drawn, a crop of a photo, or a photo out of focus."""
    if name in _DRAWN:
        return _DRAWN[name](side, rng)
    crop = _crop(PATTERNS[rng.integers(3)] if name == "blur" else name, side, rng)
    return cv2.GaussianBlur(crop, (0, 0), side / 25) if name == "blur" else crop


@cache
def _photo(name: str) -> np.ndarray:
    import skimage.data

    picture: Callable[[], np.ndarray] = getattr(skimage.data, name)
    return picture().astype(np.float32) / 255


def _crop(name: str, side: int, rng: Rng) -> np.ndarray:
    photo = _photo(name)
    size = int(rng.uniform(0.6, 1) * min(photo.shape[:2]))
    top, left = (int(rng.integers(length - size + 1)) for length in photo.shape[:2])
    crop = photo[top : top + size, left : left + size, :3]
    return cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA if size > side else cv2.INTER_CUBIC).clip(0, 1)


def _texture(side: int, rng: Rng) -> np.ndarray:
    """Coloured noise whose spectrum falls as that of photos does."""
    frequencies = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)) + 1 / side
    spectrum = np.fft.fft2(rng.standard_normal((side, side, 3)), axes=(0, 1)) / frequencies[..., None] ** 1.5
    noise = np.fft.ifft2(spectrum, axes=(0, 1)).real
    return (rng.uniform(0.2, 0.7, 3) + 0.15 * noise / noise.std()).clip(0, 1).astype(np.float32)


def _stripes(side: int, rng: Rng) -> np.ndarray:
    """Shaded folds, like those of a curtain or of a flag."""
    angle, waves = rng.uniform(-0.6, 0.6), rng.uniform(4, 16)
    rows, columns = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    wave = np.sin(2 * np.pi * waves * (np.cos(angle) * columns + np.sin(angle) * rows))
    mix = (1 / (1 + np.exp(-6 * wave)))[..., None]
    return (mix * rng.random(3) + (1 - mix) * rng.random(3)).astype(np.float32)


def _spots(side: int, rng: Rng) -> np.ndarray:
    """Spots of one size and two colours, like cells, pebbles or leaves."""
    size = side * rng.uniform(0.004, 0.02)
    noise = rng.standard_normal((side, side)).astype(np.float32)
    spots = cv2.GaussianBlur(noise, (0, 0), size) - cv2.GaussianBlur(noise, (0, 0), 2 * size)
    mix = (1 / (1 + np.exp(-rng.uniform(1, 5) * spots / spots.std())))[..., None]
    return (mix * rng.random(3) + (1 - mix) * rng.random(3)).astype(np.float32)


_DRAWN: dict[str, Callable[[int, Rng], np.ndarray]] = {"texture": _texture, "stripes": _stripes, "spots": _spots}
