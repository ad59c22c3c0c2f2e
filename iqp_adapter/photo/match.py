"""Quality "match": of a face restored at five qualities, the one that fits the photo around it.

Raw scores are not compared, since a background's score is not on the scale of a face's. Compared are the sharpness and
the noise of the face and of an equally large ring around it, at the photo's resolution. Not in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..core.quality import BEST
from ..pictures import LUMA, peak
from .align import moved, region, square, transform
from .paste import FEATHER, paste

LEVELS = tuple(float(level) for level in np.linspace(1 - BEST, BEST, 5).round(4))
"""The qualities that are tried."""

_SIDE = 1 - 2 * FEATHER
_RING = np.sqrt(1 + _SIDE**2)
"""Side of the square whose area beyond the crop equals the face's, in units of the crop's."""

_FEWEST = 64
"""Pixels of face or ring below which nothing can be measured."""


class Texture(NamedTuple):
    """How a part of a picture looks up close."""

    sharpness: float
    """How much steeper its edges are than after a slight blur, as a logarithm; 0 for what is blurred already."""
    noise: float
    """Standard deviation of its noise in 8-bit levels, as a logarithm to base 2; levels below 0.5 count as 0.5."""

    def difference(self, other: Texture) -> float:
        """How far two textures are apart; 1 is about what one sees at once."""
        return float(abs(self.sharpness - other.sharpness) / 0.2 + abs(self.noise - other.noise) / 2)


def best_match(photo: np.ndarray, candidates: Sequence[np.ndarray], matrix: np.ndarray) -> int:
    """Index of the candidate that differs least from its surroundings, the last one where nothing surrounds the face.

    Args:
        photo: (H, W, 3) uint8, uint16 or float32, not enlarged.
        candidates: faces (R, R, 3) float32 in [0, 1].
        matrix: (2, 3) from the photo to the face's crop.
    """
    differences = [difference(photo, face, matrix) for face in candidates]
    return len(candidates) - 1 if None in differences else int(np.argmin(np.array(differences, float)))


def difference(photo: np.ndarray, face: np.ndarray, matrix: np.ndarray) -> float | None:
    """How far the texture of the photo with the face pasted in is from the ring's; None where nothing surrounds it."""
    rows, columns = around(photo, matrix, len(face))
    part = pasted(photo, face, matrix, rows, columns)
    inside, ring = face_and_ring(part.shape, matrix, len(face), rows, columns)
    if min(inside.sum(), ring.sum()) < _FEWEST:
        return None
    luma = part @ LUMA.astype(np.float32) * 255
    return texture(luma, inside).difference(texture(luma, ring))


def around(photo: np.ndarray, matrix: np.ndarray, size: int) -> tuple[slice, slice]:
    """Rows and columns of the photo that hold a face's square and a ring of the same area."""
    corners = square(matrix, size)
    return region(corners.mean(0) + (corners - corners.mean(0)) * _RING, photo.shape)


def pasted(photo: np.ndarray, face: np.ndarray, matrix: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """A part of the photo with the face in it (h, w, 3), float32 in [0, 1]."""
    part = photo[rows, columns].copy()
    paste(part, face, moved(matrix, rows, columns))
    return part.astype(np.float32) / peak(part.dtype)


def face_and_ring(
    shape: tuple[int, ...], matrix: np.ndarray, size: int, rows: slice, columns: slice
) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels of that part (h, w) are the face's, and which the ring's."""
    away = _from_centre(shape, moved(matrix, rows, columns), size)
    return away < _SIDE / 2, (away > 0.5) & (away < _RING / 2)


def texture(luma: np.ndarray, where: np.ndarray) -> Texture:
    """Measures the pixels of a grey picture (H, W) in [0, 255] where the mask (H, W) is true.

    Sources: noise after Immerkaer (1996), with the median, which edges do not move, in the place of the mean;
    sharpness by re-blurring after Crete et al. (2007), with gradient energies, less what the noise adds to them.
    """
    import cv2

    second = np.array([1, -2, 1], np.float32)
    grain = np.abs(cv2.sepFilter2D(luma, -1, second, second, borderType=cv2.BORDER_REFLECT_101))[where]
    noise = np.median(grain) / (6 * 0.6745)
    soft = cv2.GaussianBlur(luma, (0, 0), 1.0, borderType=cv2.BORDER_REFLECT_101)
    sharp_energy = _energy(luma)[where].mean() - _NOISE_ENERGY * noise**2
    soft_energy = _energy(soft)[where].mean() - _SOFT_NOISE_ENERGY * noise**2
    sharpness = 0.5 * np.log((max(sharp_energy, 0) + 1) / (max(soft_energy, 0) + 1))
    return Texture(float(sharpness), float(np.log2(max(noise, 0.5))))


_NOISE_ENERGY, _SOFT_NOISE_ENERGY = 24.0, 2.609
"""What `_energy` makes of white noise of variance 1, before and after the slight blur."""


def _energy(luma: np.ndarray) -> np.ndarray:
    """Squared length of the gradient, by Sobel."""
    import cv2

    return cv2.Sobel(luma, -1, 1, 0) ** 2 + cv2.Sobel(luma, -1, 0, 1) ** 2


def _from_centre(shape: tuple[int, ...], matrix: np.ndarray, size: int) -> np.ndarray:
    """Distance to the crop's centre, in units of its side, along the axis where it is larger (h, w)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    place = (transform(np.stack([x, y], -1), matrix) + 0.5) / size
    return np.abs(place - 0.5).max(-1)
