"""Alignment: the similarity that brings a face to facexlib's five-point template, and warping without aliasing.

Pixel centres lie at integers everywhere: a template or a photo of another size is scaled by `(x + 0.5) * s - 0.5`.
Source of the template: facexlib's FaceRestoreHelper (FFHQ at 512 px, which the field's restorers were trained on).
"""

from __future__ import annotations

import math

import numpy as np

from ..pictures import warp_affine

TEMPLATE = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
"""(5, 2) eye, eye, nose, mouth corner, mouth corner, image-left first, in pixels of a 512 x 512 crop."""

CUTOFF = 1.5
"""Frequencies above this multiple of the target's Nyquist limit are removed before shrinking. At 1 the filter would
soften a face that did not change (42 dB after a round trip, 57 dB at 1.5); without it a shrunk face is aliased."""

_TAPS = 3


def template(size: int) -> np.ndarray:
    """The five points in a crop of `size` pixels (5, 2)."""
    return (TEMPLATE + 0.5) * (size / 512) - 0.5


def similarity(landmarks: np.ndarray, points: np.ndarray) -> np.ndarray | None:
    """The matrix (2, 3) from landmarks (5, 2) to points such as `template(size)`; None where they span no face."""
    import cv2

    matrix = cv2.estimateAffinePartial2D(np.asarray(landmarks, np.float64), points, method=cv2.LMEDS)[0]
    return matrix if matrix is not None and zoom(matrix) > 1e-6 else None


def zoom(matrix: np.ndarray) -> float:
    """How many target pixels one source pixel becomes."""
    return math.sqrt(abs(np.linalg.det(matrix[:, :2])))


def inverse(matrix: np.ndarray) -> np.ndarray:
    """The similarity that goes the other way (2, 3)."""
    import cv2

    return cv2.invertAffineTransform(matrix)


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., 2) moved by a matrix (2, 3)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def enlarged(matrix: np.ndarray, factor: float) -> np.ndarray:
    """The same crop, taken from a photo enlarged by `factor` about its half-pixel corner."""
    linear = matrix[:, :2] / factor
    return np.column_stack([linear, matrix[:, 2] + linear.sum(1) * (0.5 - 0.5 * factor)])


def square(matrix: np.ndarray, size: int) -> np.ndarray:
    """The four corners (4, 2) in the photo of the square that becomes the crop."""
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]]) - 0.5
    return transform(corners, inverse(matrix))


def region(points: np.ndarray, shape: tuple[int, ...], margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns of a picture (H, W, ...) that hold all points (N, 2); empty where they lie outside."""
    low = np.floor(points.min(0)).astype(int) - margin
    high = np.ceil(points.max(0)).astype(int) + 1 + margin
    (left, top), (right, bottom) = np.maximum(low, 0), np.minimum(high, (shape[1], shape[0]))
    return slice(top, max(top, bottom)), slice(left, max(left, right))


def moved(matrix: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """The same crop, taken from the part of the photo that starts at these rows and columns."""
    return np.column_stack([matrix[:, :2], transform(np.array([columns.start, rows.start]), matrix)])


def align(pixels: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray | None:
    """Cuts the face out of a photo (H, W, 3) of any size; reads only the face's region.

    Returns:
        (size, size, 3) float32 in the photo's own range; None where the face lies outside the photo. What the photo
        does not show is mirrored at its edge, as in FFHQ.
    """
    margin = 2 + math.ceil(_TAPS / zoom(matrix))
    rows, columns = region(square(matrix, size), pixels.shape, margin)
    part = pixels[rows, columns]
    if 0 in part.shape:
        return None
    return warp(part.astype(np.float32), moved(matrix, rows, columns), (size, size))


def warp(pixels: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resamples float32 pixels (H, W, 3) to (height, width, 3), `size` being (width, height).

    A cubic warp after a Lanczos low-pass, which acts only where the picture shrinks by more than `CUTOFF`.
    """
    import cv2

    shrink = 1 / zoom(matrix)
    if shrink > CUTOFF:
        taps = _low_pass(shrink / CUTOFF)
        pixels = cv2.sepFilter2D(pixels, -1, taps, taps, borderType=cv2.BORDER_REFLECT_101)
    return warp_affine(pixels, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def _low_pass(width: float) -> np.ndarray:
    reach = math.ceil(_TAPS * width)
    x = np.arange(-reach, reach + 1) / width
    taps = np.sinc(x) * np.sinc(x / _TAPS) * (np.abs(x) < _TAPS)
    return (taps / taps.sum()).astype(np.float32)
