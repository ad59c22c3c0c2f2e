"""Looking for faces: the detector sees every few frames of a shot, and the first and the last one.

Its landmarks err by another way in each frame, and lean with the pose. So the movement of a face from look to look is
also measured by the flow of points on it, which is exact to a few hundredths of a pixel; landmarks only say where the
face is on the whole.

Source: the flow is that of Lucas and Kanade (1981) in pyramids, kept where it leads back to where it began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..photo.detect import Detector, Faces
from ..pictures import eight_bit
from .colour import Colours
from .reading import Frame

CUT = 0.1
"""A frame that differs so much from the one before, in units of full brightness, begins a new shot."""

LOOKS_A_SECOND = 8

_SMALL = 32
"""Side of the pictures by which frames are compared."""


@dataclass(frozen=True, eq=False)
class Look:
    """What the detector saw in a frame.

    Attributes:
        frame: its number.
        shot: the number of its shot; a cut begins the next one.
        before: the frame of the look before; None at the first look of a shot.
        steps: for each face of the look before, the similarity (2, 3) to here; None where it cannot be told.
    """

    frame: int
    shot: int
    faces: Faces
    before: int | None = None
    steps: list[np.ndarray | None] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Seen:
    """A look, and the times of the frames since the look before, its own being the last."""

    look: Look
    times: list[int]


def every(rate: float) -> int:
    """Frames from one look to the next."""
    return max(1, round(rate / LOOKS_A_SECOND))


class Looking:
    """Looks at the frames of a film.

    Args:
        last: the last look of an earlier run, at whose frame the frames begin.
    """

    def __init__(self, detector: Detector, colours: Colours, every: int, last: Look | None = None) -> None:
        self.detector = detector
        self.colours = colours
        self.every = every
        self._look = last
        self._grey: np.ndarray | None = None
        """The frame of the last look."""
        self._small: np.ndarray | None = None
        self._times: list[int] = []

    def over(self, frames: Iterable[Frame]) -> Iterator[Seen]:
        """All looks but that of an earlier run."""
        first, shot = (0, 0) if self._look is None else (self._look.frame, self._look.shot)
        number, before = first, None
        for number, frame in enumerate(frames, first):
            is_cut = self._is_cut(frame)
            if is_cut and before is not None and self._age(number - 1) > 0:
                yield self._see(number - 1, shot, before)
            shot += is_cut
            if self._age(number) == 0:  # seen by the earlier run
                self._grey = _grey(self._pixels(frame))
            else:
                self._times.append(frame.time)
                if is_cut or self._age(number) >= self.every:
                    yield self._see(number, shot, frame)
            before = frame
        if before is not None and self._age(number) > 0:
            yield self._see(number, shot, before)

    def _age(self, number: int) -> int:
        """Frames since the last look; as many as to the next where there was none."""
        return self.every if self._look is None else number - self._look.frame

    def _see(self, number: int, shot: int, frame: Frame) -> Seen:
        pixels = self._pixels(frame)
        grey, last = _grey(pixels), self._look
        self._look = Look(number, shot, self.detector(pixels))
        if last is not None and self._grey is not None and last.shot == shot:
            steps = [step(self._grey, grey, box) for box in last.faces.boxes]
            self._look = replace(self._look, before=last.frame, steps=steps)
        self._grey = grey
        seen, self._times = Seen(self._look, self._times), []
        return seen

    def _pixels(self, frame: Frame) -> np.ndarray:
        return np.ascontiguousarray(eight_bit(self.colours.rgb(frame.picture)))

    def _is_cut(self, frame: Frame) -> bool:
        small = frame.picture.reformat(_SMALL, _SMALL, "gray").to_ndarray().astype(np.float32) / 255
        small -= small.mean()  # a flash is no cut
        before, self._small = self._small, small
        return before is not None and bool(np.abs(small - before).mean() > CUT)


def _grey(pixels: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


_POINTS, _NEAR, _SPREAD = 200, 0.01, 3
"""Most points on a face, how weak they may be in units of the strongest, and pixels between them."""

_ERROR = 1.0
"""Pixels by which a point may miss where it began, and the common movement."""

_FEWEST = 8
"""Points by which a movement can be told."""


def step(before: np.ndarray, now: np.ndarray, box: Sequence[float] | np.ndarray) -> np.ndarray | None:
    """The similarity (2, 3) by which a face moves from one grey picture (H, W) to the next; None if none is seen.

    Args:
        box: left, top, right, bottom (4,) of the face in the first picture.
    """
    import cv2

    left, top, right, bottom = np.maximum(np.round(box), 0).astype(int)
    mask = np.zeros_like(before)
    mask[top:bottom, left:right] = 255
    points = cv2.goodFeaturesToTrack(before, _POINTS, _NEAR, _SPREAD, mask=mask)
    if points is None or len(points) < _FEWEST:
        return None
    flow: Any = cv2.calcOpticalFlowPyrLK
    moved, there, _ = flow(before, now, points, None)
    back, here, _ = flow(now, before, moved, None)
    kept = (there & here)[:, 0].astype(bool) & (np.abs(back - points).max((1, 2)) < _ERROR)
    if kept.sum() < _FEWEST:
        return None
    matrix, agree = cv2.estimateAffinePartial2D(points[kept], moved[kept], ransacReprojThreshold=_ERROR)
    return matrix if matrix is not None and agree.sum() >= max(_FEWEST, kept.sum() / 2) else None
