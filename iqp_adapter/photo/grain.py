"""Grain: a face restored in a grainy photo gets the grain that it had, and that the photo around it has.

Film grain is everywhere, so it is measured where the picture is flattest, in the face and around it, and the weaker of
the two counts: what only one of them shows is texture. Blocks and rings of JPEG leave flat parts flat, and are none.
Not in the paper.
"""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

import numpy as np

from ..pictures import luma, peak
from .match import around, face_and_ring, pasted

FINE = 2.0
"""Standard deviation in pixels of the blur beyond which detail counts as grain."""

LEAST = 1.5 / 255
"""Weaker grain is not seen."""

BLOCK = 8
_FLATTEST = 20
"""Percentile of the blocks' variance at which grain is read off."""

_FEWEST = 6
"""Blocks of face or surroundings below which nothing can be measured."""

SOFTNESSES = (0.0, 0.4, 0.6, 0.8, 1.0, 1.3, 1.7)
"""Sizes of grain, as the standard deviation in pixels of the blur that makes it from white noise."""


class Grain(NamedTuple):
    """How grain looks, and which one it is."""

    colours: np.ndarray
    """(3, 3) turns independent noise of variance 1 into that of red, green and blue; 1 is full brightness."""
    softness: float
    """One of `SOFTNESSES`."""
    seed: int

    def field(self, shape: tuple[int, ...], factor: int = 1) -> np.ndarray:
        """Grain (h, w, 3) for a part of a photo that was enlarged by a factor; the same one each time."""
        import cv2

        height, width = shape[:2]
        size = -(-height // factor), -(-width // factor)
        fine = _noise(np.random.default_rng(self.seed), size, self.softness) @ self.colours.T.astype(np.float32)
        return fine if factor == 1 else cv2.resize(fine, (width, height), interpolation=cv2.INTER_LANCZOS4)


def missing_grain(photo: np.ndarray, face: np.ndarray, matrix: np.ndarray) -> Grain | None:
    """The grain that a restored face has lost; None where the photo has none, or too little surrounds the face.

    Args:
        photo: (H, W, 3) uint8, uint16 or floating point, not enlarged.
        face: (R, R, 3) float32 in [0, 1].
        matrix: (2, 3) from the photo to the face's crop.
    """
    rows, columns = around(photo, matrix, len(face))
    before = photo[rows, columns].astype(np.float32) / peak(photo.dtype)
    inside, ring = face_and_ring(before.shape, matrix, len(face), rows, columns)
    blocks = _blocks(_fine(before))  # (N, BLOCK, BLOCK, 3)
    in_face, in_ring = (_whole(where) for where in (inside, ring))
    if min(in_face.sum(), in_ring.sum()) < _FEWEST:
        return None
    strength = _variance(blocks)
    wanted = min(np.percentile(strength[where], _FLATTEST) for where in (in_face, in_ring))
    after = _variance(_blocks(_fine(pasted(photo, face, matrix, rows, columns))))
    lost = wanted - np.percentile(after[in_face], _FLATTEST)
    if wanted < LEAST**2 or lost <= 0:
        return None
    flattest = blocks[in_ring & (strength <= np.percentile(strength[in_ring], 2 * _FLATTEST))]
    return _like(flattest, lost, crc32(before.tobytes()))


def _like(blocks: np.ndarray, variance: float, seed: int) -> Grain:
    """Grain that looks like these blocks (N, BLOCK, BLOCK, 3) of fine detail, with that variance of its brightness."""
    softness, kept = _softness(_correlation(luma(blocks)))
    covariance = np.cov(blocks.reshape(-1, 3).T) * variance / max(_variance(blocks).mean(), 1e-12)
    values, vectors = np.linalg.eigh(covariance)
    return Grain(vectors * np.sqrt(values.clip(0) / kept), softness, seed)


def _softness(correlation: float) -> tuple[float, float]:
    """The size of grain whose fine detail has that correlation, and the variance of that detail."""
    noises = [_fine(_noise(np.random.default_rng(0), (128, 128), softness)) for softness in SOFTNESSES]
    off = [abs(_correlation(_blocks(noise)[..., 0]) - correlation) for noise in noises]
    index = int(np.argmin(off))
    return SOFTNESSES[index], float(noises[index].var())


def _noise(rng: np.random.Generator, size: tuple[int, int], softness: float) -> np.ndarray:
    """(h, w, 3) independent noise of that softness and of variance 1."""
    import cv2

    noise = rng.standard_normal((*size, 3), np.float32)
    if not softness:
        return noise
    soft = cv2.GaussianBlur(noise, (0, 0), softness, borderType=cv2.BORDER_REFLECT_101)
    return soft / (soft.std() + 1e-6)


def _fine(pixels: np.ndarray) -> np.ndarray:
    import cv2

    return pixels - cv2.GaussianBlur(pixels, (0, 0), FINE, borderType=cv2.BORDER_REFLECT_101)


def _blocks(pixels: np.ndarray) -> np.ndarray:
    """(H, W, C) -> (N, BLOCK, BLOCK, C), row by row, without what is left over at the right and below."""
    (height, width), channels = (side // BLOCK for side in pixels.shape[:2]), pixels.shape[2]
    cut = pixels[: height * BLOCK, : width * BLOCK]
    return cut.reshape(height, BLOCK, width, BLOCK, channels).swapaxes(1, 2).reshape(-1, BLOCK, BLOCK, channels)


def _whole(where: np.ndarray) -> np.ndarray:
    """Which blocks lie wholly within a mask (H, W) -> (N,)."""
    return np.asarray(_blocks(where[..., None]).all((1, 2, 3)))


def _variance(blocks: np.ndarray) -> np.ndarray:
    """Of the brightness of each block (N,)."""
    return luma(blocks).var((1, 2))


def _correlation(blocks: np.ndarray) -> float:
    """Between pixels side by side, of blocks (N, BLOCK, BLOCK)."""
    across, down = (blocks[..., 1:] * blocks[..., :-1]).mean(), (blocks[:, 1:] * blocks[:, :-1]).mean()
    return float((across + down) / 2 / max(np.square(blocks).mean(), 1e-12))
