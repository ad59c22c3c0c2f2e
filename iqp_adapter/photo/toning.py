"""A monochrome photo stays monochrome: grey, sepia, or any tone whose colour depends on brightness alone.

A restorer that learnt from colour photos paints lips and cheeks. On a monochrome photo its brightness is kept, and
the colour of each brightness is looked up in the photo. Faint tints of larger areas, such as stains, stay as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..core.colours import broad
from ..pictures import luma, peak

LEVELS = 256

CELLS = 32
"""A part is judged by the mean colours of about as many cells along its side, of 1 to `LARGEST_CELL` pixels; this
averages the colour noise of scans and of JPEG files, and shows what is truly coloured."""

LARGEST_CELL = 8

LONGEST = 1024
"""Larger parts are judged on a copy with this many pixels on its longer side."""

MOST, RARELY = (1.5, 0.2), (3.0, 0.25)
"""How far 99 % of the cells, and all of them, may be from the curve: 8-bit levels, and shares of the curve's own reach.
Of 24 real old prints all are within. Of 625 colour portraits none is."""

_SMOOTH = 2.0
"""Standard deviation, in levels, over which the colours of neighbouring brightnesses are averaged."""


@dataclass(frozen=True, eq=False)
class Toning:
    """The colours of a monochrome photo.

    Attributes:
        curve: (256, 3) what red, green and blue add to each brightness, in [-1, 1]; zeros for a grey photo.
    """

    curve: np.ndarray

    def of(self, brightness: np.ndarray) -> np.ndarray:
        """Brightness (H, W) in [0, 1] -> RGB (H, W, 3), not clipped."""
        levels = (brightness * (LEVELS - 1)).clip(0, LEVELS - 1)
        below = levels.astype(int)
        beyond = levels - below
        toned = np.empty((*brightness.shape, 3), np.float32)
        for index, channel in enumerate(self.curve.astype(np.float32).T):  # np.interp would take ten times as long
            step = np.diff(channel, append=channel[-1])
            toned[..., index] = brightness + channel[below] + beyond * step[below]
        return toned

    def apply(self, lq: Tensor, restored: Tensor) -> Tensor:
        """A restored face (3, R, R) in the tone of its input `lq` (3, R, R), both in [0, 1]."""
        tint = lq - self._toned(lq)  # what the input has beside its tone, in broad areas
        return (self._toned(restored) + broad(tint[None])[0]).clamp(0, 1)

    def _toned(self, face: Tensor) -> Tensor:
        pixels = face.permute(1, 2, 0).numpy()  # (3, R, R) -> (R, R, 3)
        return torch.from_numpy(self.of(luma(pixels))).permute(2, 0, 1)  # (R, R, 3) -> (3, R, R)


def toning_of(pixels: np.ndarray) -> Toning | None:
    """The toning of a photo or of a part of it (H, W, 3), of any type; None where it has colours of its own."""
    scaled = _reduced(pixels).astype(np.float32) / peak(pixels.dtype)
    brightness = luma(scaled)
    added = scaled - brightness[..., None]  # (H, W, 3)
    toning = Toning(_curve(brightness, added))
    away = _cells(scaled - toning.of(brightness))
    reach = np.abs(toning.curve).max()
    typical, all_but_none = np.percentile(away, 99), away.max()
    return toning if typical <= _allowed(MOST, reach) and all_but_none <= _allowed(RARELY, reach) else None


def _reduced(pixels: np.ndarray) -> np.ndarray:
    import cv2

    height, width = pixels.shape[:2]
    zoom = LONGEST / max(height, width)
    if zoom >= 1:
        return pixels
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _allowed(bound: Sequence[float], reach: float) -> float:
    levels, share = bound
    return levels / (LEVELS - 1) + share * reach


def _curve(brightness: np.ndarray, added: np.ndarray) -> np.ndarray:
    """The mean colour (256, 3) of each brightness and its neighbours; the nearest one that the photo has, elsewhere."""
    level = (brightness * (LEVELS - 1)).round().astype(int).ravel()
    count = _smoothed(np.bincount(level, minlength=LEVELS).astype(float))
    sums = [_smoothed(np.bincount(level, channel.ravel(), LEVELS)) for channel in np.moveaxis(added, -1, 0)]
    known = count > _FEWEST
    return np.stack([np.interp(np.arange(LEVELS), np.flatnonzero(known), s[known] / count[known]) for s in sums], -1)


_FEWEST = 1e-3


def _smoothed(histogram: np.ndarray) -> np.ndarray:
    reach = int(3 * _SMOOTH)
    weights = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / _SMOOTH))
    return np.convolve(histogram, weights / weights.sum(), "same")


def _cells(residual: np.ndarray) -> np.ndarray:
    """Largest part of the mean colour in each cell (h, w) of a picture (H, W, 3)."""
    import cv2

    height, width = residual.shape[:2]
    side = min(max(min(height, width) // CELLS, 1), LARGEST_CELL)
    size = max(1, width // side), max(1, height // side)
    return np.abs(cv2.resize(residual, size, interpolation=cv2.INTER_AREA)).max(-1)
