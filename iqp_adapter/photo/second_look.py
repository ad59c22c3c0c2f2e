"""A second look at a photo in which a detector found nothing: turned, and softened or smaller within a frame.

Detectors learn from upright, sharp, whole faces. A face that is turned, grainy, printed in dots or cut by the border is
often found in another view of the same photo. What is found there is moved back to the photo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from .align import enlarged, inverse, transform
from .detect import Faces

STRICTER = 0.2
"""The part of the confidence between the detector's threshold and 1 that a second look asks for in addition, since
several views would else see several times as many faces where none are."""

LONGEST = 1600
"""Larger photos are looked at again on a copy with this many pixels on the longer side."""

SOFTNESS = 4 / 640
"""Standard deviation of the blur that hides grain and dots, in units of the longer side."""

FRAME = 1 / 3
"""Width of the frame in units of the longer side."""


class View(NamedTuple):
    """A photo seen in another way."""

    name: str
    picture: np.ndarray
    """(h, w, 3) uint8"""
    matrix: np.ndarray
    """(2, 3) from the photo to the picture."""


def second_look(rgb: np.ndarray, look: Callable[[np.ndarray], Faces], threshold: float) -> Faces:
    """The faces of the view in which a face is seen most clearly; none where no view shows one.

    Args:
        rgb: (H, W, 3) uint8.
        look: the detector's own look.
        threshold: least confidence of a face in the detector's own look.
    """
    least = threshold + STRICTER * (1 - threshold)
    best = Faces(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))
    for view in _views(rgb):
        found = look(view.picture)
        found = found.take(found.scores > least)
        if found.scores.max(initial=0) > best.scores.max(initial=0):
            best = _moved_back(found, view)
    return best.ordered()


def _views(rgb: np.ndarray) -> Iterator[View]:
    small, zoom = _reduced(rgb)
    to_small = enlarged(np.eye(2, 3), 1 / zoom)
    height, width = small.shape[:2]
    turns = {180: [[-1, 0, width - 1], [0, -1, height - 1]], 90: [[0, 1, 0], [-1, 0, width - 1]]}
    turns[270] = [[0, -1, height - 1], [1, 0, 0]]
    for degrees, turn in turns.items():
        turned = np.ascontiguousarray(np.rot90(small, degrees // 90))
        yield View(f"turned by {degrees} degrees", turned, _after(to_small, np.array(turn, float)))
    yield View("in a frame", *_framed(small, to_small))
    yield View("softened", *_framed(_softened(small), to_small))


def _reduced(rgb: np.ndarray) -> tuple[np.ndarray, float]:
    """The photo with at most `LONGEST` pixels on a side, and its zoom."""
    import cv2

    zoom = LONGEST / max(rgb.shape[:2])
    if zoom >= 1:
        return rgb, 1.0
    size = max(1, round(rgb.shape[1] * zoom)), max(1, round(rgb.shape[0] * zoom))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), zoom


def _softened(rgb: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(rgb, (0, 0), SOFTNESS * max(rgb.shape[:2]))


def _framed(rgb: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The picture within a frame of its mean colour, and the matrix that leads there."""
    import cv2

    width = round(FRAME * max(rgb.shape[:2]))
    colour = [float(channel) for channel in rgb.mean((0, 1))]
    framed = cv2.copyMakeBorder(rgb, width, width, width, width, cv2.BORDER_CONSTANT, value=colour)
    return framed, matrix + [[0, 0, width]]


def _after(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """The matrix (2, 3) of one after the other."""
    return np.column_stack([then[:, :2] @ first[:, :2], transform(first[:, 2], then)])


def _moved_back(found: Faces, view: View) -> Faces:
    back = inverse(view.matrix)
    corners = transform(found.boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]], back)  # (N, 4, 2)
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)  # (N, 4)
    return Faces(boxes, found.scores, transform(found.landmarks, back), view.name)
