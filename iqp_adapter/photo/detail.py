"""Effective resolution: how many pixels a side the detail in a face needs, however many pixels the face has.

A sharp edge keeps its share of every frequency; blur and enlargement take the high ones away. So the spectra of the
tiles with the strongest edges are compared with that of a sharp face, and the frequency counts at which they fall
behind for the first time. Noise lies over the quiet tiles as well, and is subtracted. Blocks of JPEG have horizontal
and vertical borders alone, so that the high frequencies are read along the diagonals. Only ratios count: light,
contrast and the type of the pixels do not matter. Not in the paper.

Source: averaged spectra of windowed tiles after Welch (1967).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ..pictures import LUMA

MIDDLE = 0.75
"""Part of the side of a picture that is measured: of an aligned face the rest is background."""

TILE = 32
"""Side of a tile in pixels."""

RINGS = TILE // 2
"""Frequencies that are told apart, in periods a tile; the highest is that of the pixels themselves."""

ACROSS = 20
"""Tiles along the shorter side: they overlap in a small picture, and lie apart in a large one."""

BASE = slice(2, 4)
"""Rings that show how strong edges are: blur takes the higher ones first."""

LOWEST = 4
"""Where detail ends below this ring, the picture is measured again at half its size: there it ends at a higher one."""

SHARE = 0.2
"""Part of the tiles that shows detail, those with the strongest edges, and part that shows noise, those with the
weakest."""

NOISE = 1.3
"""What is subtracted as noise, in units of the weakest tiles' energy: above 1, so that noise alone leaves nothing."""

DIAGONAL = 22.5
"""High frequencies count at this angle in degrees, or more, to both axes: blocks of JPEG lie along these."""

STEEPNESS, FADED = 3.6, 0.2
"""A sharp face's energy falls with this power of the frequency. Detail has ended where less than this part of it is
left. Both were fitted to faces of 64 to 512 px: see `benchmarks/effective_resolution.py`."""


def effective_resolution(picture: np.ndarray, side: float | None = None, enough: float | None = None) -> float:
    """Pixels a side that would hold the detail of an aligned face; 0 for a picture without any.

    Args:
        picture: (H, W, 3) of any type and range.
        side: of the whole face in the picture's pixels; by default the picture's longer side.
        enough: a face of more pixels a side is reduced, which saves time, to this many or up to twice as many; no more
            than that is found then.
    """
    side = max(picture.shape[:2]) if side is None else side
    factor = 1 if enough is None else max(1, int(side // enough))
    grey = _reduced(_middle(picture), factor).astype(np.float32) @ LUMA.astype(np.float32)
    while (ring := _last_ring(_spectra(grey))) < LOWEST and min(grey.shape) >= 4 * TILE:
        grey, factor = _reduced(grey, 2), factor * 2
    return side / factor * ring / RINGS


def _middle(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    top, left = round(height * (1 - MIDDLE) / 2), round(width * (1 - MIDDLE) / 2)
    return picture[top : height - top, left : width - left]


def _reduced(picture: np.ndarray, factor: int) -> np.ndarray:
    """The picture with each square of `factor` x `factor` pixels as one, what is left over being cut off."""
    import cv2

    height, width = (max(1, length // factor) for length in picture.shape[:2])
    return cv2.resize(picture[: height * factor, : width * factor], (width, height), interpolation=cv2.INTER_AREA)


def _spectra(grey: np.ndarray) -> np.ndarray:
    """Mean energy in each ring of each tile of a picture (H, W), (N, 1 + RINGS)."""
    grey = np.pad(grey, [(0, max(0, TILE - length)) for length in grey.shape], mode="symmetric")
    step = max(1, min(grey.shape) // ACROSS)
    tiles = np.lib.stride_tricks.sliding_window_view(grey, (TILE, TILE))[::step, ::step]  # (rows, columns, TILE, TILE)
    cosines, rings = _transform()
    waves = cosines @ (tiles - tiles.mean((2, 3), keepdims=True)) @ cosines.T
    return np.square(waves, out=waves).reshape(-1, TILE * TILE) @ rings


@cache
def _transform() -> tuple[np.ndarray, np.ndarray]:
    """The cosine transform of a windowed row (TILE, TILE), and means over rings (TILE * TILE, 1 + RINGS)."""
    y, x = np.mgrid[:TILE, :TILE] / 2  # in periods a tile
    radius, angle = np.hypot(y, x), np.degrees(np.arctan2(y, x))
    counts = (np.abs(angle - 45) <= 45 - DIAGONAL) | (radius < BASE.stop - 0.5)
    rings = (np.rint(radius)[..., None] == np.arange(1 + RINGS)) & counts[..., None]
    means = (rings / rings.sum((0, 1))).reshape(TILE * TILE, -1)
    windowed = _cosines() * np.hanning(TILE + 2)[1:-1]
    return windowed.astype(np.float32), means.astype(np.float32)


def _cosines() -> np.ndarray:
    """The orthonormal cosine transform (TILE, TILE) of a row, a frequency a line."""
    place = np.arange(TILE)
    waves = np.cos(np.pi / TILE * place[:, None] * (place + 0.5))
    return waves / np.linalg.norm(waves, axis=1, keepdims=True)


def _last_ring(spectra: np.ndarray) -> float:
    """Where detail ends for the first time, between rings; 0 where there is none."""
    order = np.argsort(spectra[:, BASE].sum(1))
    few = int(np.ceil(SHARE * len(order)))
    quiet, busy = spectra[order[:few]].mean(0), spectra[order[-few:]].mean(0)
    detail = busy - NOISE * quiet
    sharp = np.maximum(np.arange(1 + RINGS), 1.0) ** -STEEPNESS
    level = (busy / sharp)[BASE].mean()
    if not level > 0:
        return 0.0
    left = np.log(np.maximum(detail / sharp / level / FADED, 1e-3))[BASE.stop - 1 :]
    left = np.convolve(np.pad(left, 1, mode="edge"), (0.25, 0.5, 0.25), mode="valid")
    if not (left < 0).any():
        return float(RINGS)
    first = int(np.argmax(left < 0))
    back = left[first] / (left[first] - left[first - 1]) if first else 0.0
    return float(BASE.stop - 1 + first - back)
