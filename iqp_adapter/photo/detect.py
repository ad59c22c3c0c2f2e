"""What a detector gives: a photo in, boxes and five landmarks out; and faces that the caller knows already."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from .align import TEMPLATE, inverse, similarity, transform


class Faces(NamedTuple):
    """What a detector found, N faces from left to right, in the photo's pixels."""

    boxes: np.ndarray
    """(N, 4) left, top, right, bottom."""
    scores: np.ndarray
    """(N,) the detector's confidence."""
    landmarks: np.ndarray
    """(N, 5, 2) eye, eye, nose, mouth corner, mouth corner, image-left first; of a turned face as it is upright."""
    view: str = ""
    """How the photo was looked at, where its faces were not seen at first sight."""

    def take(self, index: np.ndarray) -> Faces:
        """Some of the faces, by index or mask."""
        return Faces(self.boxes[index], self.scores[index], self.landmarks[index], self.view)

    def ordered(self) -> Faces:
        """The same faces from left to right, so that a face's index does not depend on the detector's confidence."""
        return self.take(np.argsort(self.boxes[:, 0] + self.boxes[:, 2], kind="stable"))


class Detector(Protocol):
    """Anything that finds faces in a photo.

    One that is quicker where only large faces are wanted may have a second method, `at_least(pixels) -> Detector`: the
    detector for faces whose box is at least that wide and high.
    """

    def __call__(self, rgb: np.ndarray) -> Faces:
        """
        Args:
            rgb: (H, W, 3) uint8.
        """


class GivenFaces:
    """Stands for a detector where the caller knows the faces.

    Args:
        landmarks: (N, 5, 2) in the order of `Faces.landmarks`.
        boxes: (N, 4) left, top, right, bottom; by default drawn around the landmarks. Boxes without landmarks are
            taken as upright faces, which aligns them less well.

    Raises:
        ValueError: for other shapes, or where neither is given.
    """

    def __init__(self, landmarks: np.ndarray | None = None, boxes: np.ndarray | None = None) -> None:
        if landmarks is None and boxes is None:
            raise ValueError("give landmarks (N, 5, 2), boxes (N, 4), or both")
        five = _in_box(_shaped("boxes", boxes, (4,))) if landmarks is None else _shaped("landmarks", landmarks, (5, 2))
        four = _around(five) if boxes is None else _shaped("boxes", boxes, (4,))
        if len(four) != len(five):
            raise ValueError(f"{len(five)} landmark sets do not fit {len(four)} boxes; give one of each per face")
        self._faces = Faces(four, np.ones(len(four)), five)

    def __call__(self, rgb: np.ndarray) -> Faces:
        return self._faces


def _shaped(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.shape[1:] != shape or not np.isfinite(array).all():
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"{name} have shape {array.shape}, expected (N, {wanted}) with finite numbers")
    return array


_BOX_IN_TEMPLATE = np.array([116.0, 86.0, 403.0, 470.0])
"""Where CenterFace's box lies in the 512 px template, on average over the London set's development people."""


def _in_box(boxes: np.ndarray) -> np.ndarray:
    share = (TEMPLATE - _BOX_IN_TEMPLATE[:2]) / (_BOX_IN_TEMPLATE[2:] - _BOX_IN_TEMPLATE[:2])  # (5, 2)
    return boxes[:, None, :2] + share * (boxes[:, None, 2:] - boxes[:, None, :2])


def _around(landmarks: np.ndarray) -> np.ndarray:
    matrices = [similarity(five, TEMPLATE) for five in landmarks]
    left, top, right, bottom = _BOX_IN_TEMPLATE
    outline = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    corners = [
        five if matrix is None else transform(outline, inverse(matrix))
        for five, matrix in zip(landmarks, matrices, strict=True)
    ]
    return np.array([[*four.min(0), *four.max(0)] for four in corners]).reshape(-1, 4)
