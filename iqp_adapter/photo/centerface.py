"""CenterFace: the default detector, whose weights ship with the library, so that it needs no download.

Source: CenterFace (arXiv 1911.03599, github.com/Star-Clouds/CenterFace, MIT).
"""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np

from ..store.hub import BUILTIN
from .align import TEMPLATE, align, inverse, similarity, transform
from .detect import Faces
from .second_look import second_look


class CenterFace:
    """Finds faces and their landmarks on the CPU.

    The photo is looked at as a whole in a 640 px frame, a large one once more in a 1280 px frame for its small faces.
    Each face is then looked at again, upright, at one size, and mirrored, and the landmarks are averaged: this halves
    the error of the crop's corners (from 15 to 7 of 512 pixels on the London set's development people). Where no face
    is found, the photo is looked at again in other views, see `second_look`.

    Differs from the source: a net for each size of frame (OpenCV 4 mixes up changing sizes), landmarks relative to the
    box before it is clipped to the photo, the second look, and a shift from CenterFace's points to the template's.

    Args:
        threshold: least confidence of a face; 0.35 begins to see faces where none are.
        smallest: least width and height of the faces that are wanted, in pixels. Where they are large, the frame is
            smaller, and smaller faces may be missed.
    """

    FRAME, LARGE_FRAME = 640, 1280

    SURE = 48
    """Faces of this many pixels in the frame are found, and aligned, as in the larger frames. Of those of 28 pixels
    one in 30 is missed, of 20 one in 6, of 16 one in 3 (London set's development people, 24 old photographs)."""

    def __init__(self, threshold: float = 0.5, smallest: float = 0) -> None:
        self.threshold = threshold
        self.smallest = smallest
        self._nets: dict[tuple[int, ...], Any] = {}

    def at_least(self, pixels: float) -> CenterFace:
        """The same detector for faces whose box is at least that wide and high."""
        other = copy(self)
        other.smallest = max(pixels, self.smallest)
        return other

    def __call__(self, rgb: np.ndarray) -> Faces:
        found = self._look(rgb)
        return found if len(found.scores) else second_look(rgb, self._look, self.threshold)

    def _look(self, rgb: np.ndarray) -> Faces:
        longest = max(rgb.shape[:2])
        enough = longest * self.SURE / self.smallest if self.smallest else np.inf
        found = self._detect(rgb, int(min(self.FRAME, -(-enough // _STRIDE) * _STRIDE)), self.threshold)
        if longest > 2 * self.FRAME and enough > self.FRAME:
            small = self._detect(rgb, self.LARGE_FRAME, self.threshold)
            found = _joined(found, small.take(_extent(small) < max(rgb.shape) / 10))
        found = found.take(_distinct(found)).ordered()
        landmarks = [self._look_again(rgb, points) for points in found.landmarks]
        return found._replace(landmarks=np.array(landmarks).reshape(-1, 5, 2))

    def _detect(self, rgb: np.ndarray, side: int, threshold: float) -> Faces:
        frame, zoom = _frame(rgb, side)
        heat, scale, offset, points = self._forward(frame)
        rows, columns = np.nonzero(heat[0, 0] > threshold)
        extent = np.exp(scale[0][:, rows, columns]).T * 4  # (N, 2) height, width
        centre = (np.stack([rows, columns]) + offset[0][:, rows, columns] + 0.5).T * 4  # (N, 2) y, x
        corner = centre - extent / 2
        relative = points[0][:, rows, columns].T.reshape(-1, 5, 2)  # (N, 5, 2) y, x, in units of the box
        landmarks = corner[:, None] + relative * extent[:, None]
        corners = np.stack([corner, corner + extent], 1)  # (N, 2, 2)
        boxes = (corners[..., ::-1] / zoom).reshape(-1, 4)  # (N, 4)
        return Faces(boxes, heat[0, 0, rows, columns], landmarks[..., ::-1] / zoom - 0.5)

    def _forward(self, frame: np.ndarray) -> tuple[np.ndarray, ...]:
        import cv2

        size = frame.shape[:2]
        net = self._nets.pop(size, None)  # out of the others' reach: two threads never share a net
        if net is None:
            net = cv2.dnn.readNetFromONNX(str(BUILTIN / "centerface" / "centerface.onnx"))
        net.setInput(cv2.dnn.blobFromImage(frame))
        found = tuple(net.forward(["537", "538", "539", "540"]))
        if len(self._nets) >= _MOST_NETS:
            self._nets.pop(next(iter(self._nets)), None)
        self._nets[size] = net
        return found

    def _look_again(self, rgb: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        matrix = similarity(landmarks, _LOOK_POINTS)
        look = None if matrix is None else align(rgb, matrix, _LOOK)
        if matrix is None or look is None:
            return landmarks
        plain, mirrored = self._best(look), self._best(look[:, ::-1])
        if mirrored is not None:
            mirrored = ([_LOOK - 1, 0] + mirrored * [-1, 1])[_MIRROR]
        seen = [points for points in (plain, mirrored) if points is not None]
        return transform(np.mean(seen, 0) + _TO_TEMPLATE, inverse(matrix)) if seen else landmarks

    def _best(self, look: np.ndarray) -> np.ndarray | None:
        found = self._detect(look.clip(0, 255).round().astype(np.uint8), _LOOK, threshold=0.2)
        return found.landmarks[found.scores.argmax()] if len(found.scores) else None


_MOST_NETS = 6
"""Nets kept for further photos of their size; each holds 30 to 340 MB."""

_STRIDE = 64
"""Frames are multiples of it, so that photos of about the same shape share a net."""

_LOOK = 192
_LOOK_POINTS = (TEMPLATE - 255.5) * (0.8 * _LOOK / 512) + (_LOOK - 1) / 2
_MIRROR = [1, 0, 2, 4, 3]
_TO_TEMPLATE = np.array([[0.5, -1.5], [0.5, -1.5], [1, -3.1], [-2.2, 0.7], [3.5, 0.7]]) * (0.8 * _LOOK / 512)


def _frame(rgb: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The photo in the upper left of a black frame whose longer side is given, and its zoom (x, y)."""
    import cv2

    height, width = rgb.shape[:2]
    zoom = side / max(height, width)
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    frame = np.zeros((-(-size[1] // _STRIDE) * _STRIDE, -(-size[0] // _STRIDE) * _STRIDE, 3), np.uint8)
    frame[: size[1], : size[0]] = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    return frame, np.array([size[0] / width, size[1] / height])


def _extent(faces: Faces) -> np.ndarray:
    return (faces.boxes[:, 2:] - faces.boxes[:, :2]).max(1)


def _joined(one: Faces, other: Faces) -> Faces:
    boxes, scores, landmarks = (np.concatenate(pair) for pair in zip(one[:3], other[:3], strict=True))
    return Faces(boxes, scores, landmarks)


def _distinct(faces: Faces, most: float = 0.4) -> np.ndarray:
    """Indices of the faces that no more confident face covers by more than `most` of the smaller of the two."""
    low, high = faces.boxes[:, None, :2], faces.boxes[:, None, 2:]
    shared = (np.minimum(high, high[:, 0]) - np.maximum(low, low[:, 0])).clip(0).prod(-1)  # (N, N)
    area = np.diagonal(shared)
    covered = shared > most * np.minimum(area, area[:, None])
    kept: list[int] = []
    for index in faces.scores.argsort()[::-1]:
        if not covered[index, kept].any():
            kept.append(int(index))
    return np.array(kept, int)
