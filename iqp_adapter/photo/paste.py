"""Pasting a restored face back: exact to the half pixel, feathered, and only where the face is.

Differs from facexlib's helper, where enlarged faces sit half a pixel off, every face is warped over the whole photo,
results are cut off instead of rounded, shrunk faces are aliased, and a neighbour inside the square is painted over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..pictures import peak
from .align import enlarged, inverse, moved, region, square, transform, warp

FEATHER = 0.1
"""The part of the crop's side over which a pasted face fades out at its border."""

CENTRE = np.array([0.5, 0.6])
"""Where the face is in the crop (x, y); FFHQ's crop holds more hair than neck."""


def enlarge(pixels: np.ndarray, factor: int) -> np.ndarray:
    """A copy of the photo (H, W, 3) or of its alpha (H, W), `factor` times as large; Lanczos."""
    import cv2

    if factor == 1:
        return pixels.copy()
    enlarged_pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_LANCZOS4)
    return enlarged_pixels.clip(0, 1) if pixels.dtype.kind == "f" else enlarged_pixels


def paste(
    canvas: np.ndarray,
    face: np.ndarray,
    matrix: np.ndarray,
    *,
    factor: int = 1,
    neighbours: Sequence[np.ndarray] = (),
    spared: Sequence[np.ndarray] = (),
    grain: Callable[[tuple[int, ...], int], np.ndarray] | None = None,
) -> None:
    """Blends a face into the canvas, in place; reads and writes the face's region only.

    Args:
        canvas: (H, W, 3) uint8, uint16 or float32, the photo enlarged by `factor`.
        face: (R, R, 3) float32 in [0, 1].
        matrix: (2, 3) from the photo to the face's crop.
        factor: the canvas' size in units of the photo's.
        neighbours: matrices of other pasted faces; where squares overlap, each face keeps what is nearer to its centre.
        spared: boxes (4,) in the photo of faces to leave untouched to the pixel.
        grain: shape of the part and factor -> (h, w, 3) to add to the face, where 1 is full brightness.
    """
    size = len(face)
    matrix = enlarged(matrix, factor)
    rows, columns = region(square(matrix, size), canvas.shape)
    part = canvas[rows, columns]
    if 0 in part.shape:
        return
    grid = _grid(rows, columns)  # (h, w, 2)
    place = _share(grid, matrix, size)
    mask = _ramp(_inset(place) / FEATHER)  # (h, w)
    for other in neighbours:
        rival = _share(grid, enlarged(other, factor), size)
        mask *= _ramp(0.5 + (_off_centre(rival) - _off_centre(place)) / FEATHER)
    for box in spared:
        mask *= _ramp(_outside(grid, (box + 0.5) * factor - 0.5) / (FEATHER * np.sqrt(mask.size)))
    back = warp(face, inverse(moved(matrix, rows, columns)), part.shape[1::-1])
    if grain is not None:
        back = back.clip(0, 1) + grain(part.shape, factor)
    part[...] = _blend(part, back, mask[..., None])


def replace(canvas: np.ndarray, face: np.ndarray) -> None:
    """Puts a face (R, R, 3) over the whole canvas (H, W, 3), in place: for pictures that are aligned crops."""
    import cv2

    height, width = canvas.shape[:2]
    shrinks = height * width < face.shape[0] * face.shape[1]
    resized = cv2.resize(face, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    canvas[...] = _blend(canvas, resized, np.ones((1, 1, 1)))


def _blend(part: np.ndarray, face: np.ndarray, mask: np.ndarray) -> np.ndarray:
    top = peak(part.dtype)
    mixed = part + mask * (face.clip(0, 1) * top - part)
    return (mixed.round() if top > 1 else mixed).astype(part.dtype)


def _grid(rows: slice, columns: slice) -> np.ndarray:
    y, x = np.mgrid[rows, columns].astype(np.float32)
    return np.stack([x, y], -1)


def _share(grid: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Where canvas pixels lie in the crop: 0 at its left or upper border, 1 at the right or lower one (h, w, 2)."""
    return ((transform(grid, matrix) + 0.5) / size).astype(np.float32)


def _inset(place: np.ndarray) -> np.ndarray:
    """Distance to the border of the crop with rounded corners, positive inside; 0.5 at its middle."""
    across, down = np.moveaxis(np.square(2 * place - 1), -1, 0)
    return 0.5 - 0.5 * np.sqrt(np.hypot(across, down))  # the fourth root of x^4 + y^4, but quick


def _off_centre(place: np.ndarray) -> np.ndarray:
    return np.hypot(*np.moveaxis(place - CENTRE, -1, 0))


def _outside(grid: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Distance of pixels to a box, 0 inside (h, w)."""
    beyond = np.maximum(np.maximum(box[:2] - grid, grid - box[2:]), 0)
    return np.hypot(beyond[..., 0], beyond[..., 1])


def _ramp(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    x = x.clip(0, 1)
    return x * x * (3 - 2 * x)
