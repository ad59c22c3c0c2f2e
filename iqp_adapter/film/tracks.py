"""Tracks: the same face from look to look of one shot, and where it is in every frame, without jitter.

Faces are followed by the overlap of their boxes. That is enough here: looks are an eighth of a second apart, the
movement between them is measured, a shot has few faces, and a face that is lost for a moment may go on as another
track, since all that a track decides is how its face is restored. Trackers that know people again would add nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..photo.align import TEMPLATE, inverse, similarity, transform
from ..photo.detect import Faces
from .looking import Look
from .smoothing import averaged, smoothed

LEAST_OVERLAP = 0.2
"""Of two boxes, as their intersection over their union, to be of one face."""

MOST_MISSED = 2
"""Looks in a row in which a face may be overlooked: what hides it for longer would be restored in its place."""

FEWEST = 2
"""Looks at a shot by which a face must be seen, so that what is taken for a face in one frame alone is left as it is;
a shot that was looked at once has to make do with that."""

SETTLED = 2.0
"""Seconds (standard deviation) over which landmarks are averaged, once the movement from look to look is taken out."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """A face in a look.

    Attributes:
        number: of the face in its look.
        box: (4,) left, top, right, bottom.
        landmarks: (5, 2)
        step: (2, 3) how the face moved here since its last sighting; None where that was not measured.
    """

    frame: int
    number: int
    box: np.ndarray
    landmarks: np.ndarray
    step: np.ndarray | None


class Track:
    """One face in one shot.

    Attributes:
        shot: its number.
        sightings: in the order of their frames.
        first, last: numbers of the frames between which the face is restored.
    """

    def __init__(self, shot: int, sighting: Sighting) -> None:
        self.shot = shot
        self.sightings = [sighting]
        self.first = self.last = sighting.frame
        self._landmarks = np.zeros((0, 5, 2))
        self._boxes = np.zeros((0, 4))

    def settle(self, every: int, rate: float, frames: range) -> None:
        """Knows from now on where the face is in each frame, from half a look before its first sighting on.

        Args:
            every, rate: as for `tracks_of`.
            frames: of its shot.
        """
        seen = np.array([sighting.frame for sighting in self.sightings])
        self.first, self.last = max(frames[0], seen[0] - every // 2), min(frames[-1], seen[-1] + every // 2)
        at = np.arange(self.first, self.last + 1).clip(seen[0], seen[-1])
        poses = self._poses(seen / rate)
        units = _units(np.exp(poses[:, 2].mean()))
        self._landmarks = np.array([_landmarks(pose) for pose in smoothed(seen, poses / units, at) * units])
        boxes = np.array([sighting.box for sighting in self.sightings])
        self._boxes = np.stack([np.interp(at, seen, edge) for edge in boxes.T], 1)

    def landmarks(self, frame: int) -> np.ndarray:
        """(5, 2) the points that bring the face of a frame to its place in the crop."""
        return self._landmarks[frame - self.first]

    def box(self, frame: int) -> np.ndarray:
        """(4,)"""
        return self._boxes[frame - self.first]

    def _poses(self, seconds: np.ndarray) -> np.ndarray:
        """(N, 4) at its sightings: moved by its steps, and brought to where the landmarks are over seconds."""
        marked = np.array([_pose(sighting.landmarks) for sighting in self.sightings])
        marked[:, 3] = np.unwrap(marked[:, 3])
        moved = [marked[0]]
        for (before, after), sighting in zip(pairwise(marked), self.sightings[1:], strict=True):
            moved.append(moved[-1] + after - before if sighting.step is None else _stepped(moved[-1], sighting.step))
        return np.array(moved) + averaged(seconds, marked - np.array(moved), SETTLED)


def tracks_of(looks: Sequence[Look], every: int, rate: float, frames: int) -> list[Track]:
    """The tracks of a film, in the order in which they begin.

    Args:
        looks: in the order of their frames, at the first and the last frame of each shot among others.
        every: frames from one look to the next.
        rate: frames per second.
        frames: number of the film's frames.
    """
    found: list[Track] = []
    alive: list[Track] = []
    for look in looks:
        alive = [t for t in alive if t.shot == look.shot and look.frame - t.last <= (MOST_MISSED + 1) * every]
        new = _follow(alive, look)
        alive += new
        found += new
    shots, number, kept = _shots(looks, frames), Counter(look.shot for look in looks), []
    for track in found:
        if len(track.sightings) >= min(FEWEST, number[track.shot]):
            track.settle(every, rate, shots[track.shot])
            kept.append(track)
    return kept


def faces_in(tracks: Sequence[Track], frame: int) -> tuple[list[Track], Faces]:
    """The tracks of a frame from left to right, and their faces as a detector would give them."""
    here = sorted((t for t in tracks if t.first <= frame <= t.last), key=lambda t: t.box(frame)[[0, 2]].sum())
    boxes = np.array([track.box(frame) for track in here]).reshape(-1, 4)
    landmarks = np.array([track.landmarks(frame) for track in here]).reshape(-1, 5, 2)
    return here, Faces(boxes, np.ones(len(here)), landmarks)


def _follow(alive: Sequence[Track], look: Look) -> list[Track]:
    """Adds what was seen to the tracks that it goes on; the new tracks of the rest."""
    from scipy.optimize import linear_sum_assignment

    steps = [_step(track, look) for track in alive]
    faces = [
        (number, box, landmarks)
        for number, (box, landmarks) in enumerate(zip(look.faces.boxes, look.faces.landmarks, strict=True))
        if similarity(landmarks, TEMPLATE) is not None
    ]
    overlap = np.array(
        [
            [_overlap(_moved_box(track, step), box) for _, box, _ in faces]
            for track, step in zip(alive, steps, strict=True)
        ]
    ).reshape(len(alive), len(faces))
    owners = {
        column: row
        for row, column in zip(*linear_sum_assignment(overlap, maximize=True), strict=True)
        if overlap[row, column] >= LEAST_OVERLAP
    }
    new = []
    for column, (number, box, landmarks) in enumerate(faces):
        row = owners.get(column)
        step = None if row is None else steps[row]
        sighting = Sighting(look.frame, number, box, landmarks, step)
        if row is None:
            new.append(Track(look.shot, sighting))
        else:
            alive[row].sightings.append(sighting)
            alive[row].last = look.frame
    return new


def _step(track: Track, look: Look) -> np.ndarray | None:
    """How its face moved to a look; None unless it was seen at the look before."""
    last = track.sightings[-1]
    return look.steps[last.number] if look.steps and last.frame == look.before else None


def _moved_box(track: Track, step: np.ndarray | None) -> np.ndarray:
    box = track.sightings[-1].box
    return box if step is None else transform(box.reshape(2, 2), step).reshape(4)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    shared = (np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])).clip(0).prod()
    both = (one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - shared
    return float(shared / both) if both > 0 else 0.0


def _shots(looks: Sequence[Look], frames: int) -> dict[int, range]:
    """The frames of each shot."""
    first: dict[int, int] = {}
    for look in looks:
        first.setdefault(look.shot, look.frame)
    ends = [*list(first.values())[1:], frames]
    return {shot: range(begin, end) for (shot, begin), end in zip(first.items(), ends, strict=True)}


# -- poses: centre of the face's square (x, y), logarithm of its side, and angle

_SIDE = 512


def _pose(landmarks: np.ndarray) -> np.ndarray:
    """(4,)"""
    matrix = similarity(landmarks, TEMPLATE)
    assert matrix is not None  # others are no sightings
    back = inverse(matrix)
    centre = transform(np.full(2, (_SIDE - 1) / 2), back)
    return np.array([*centre, *_size_and_turn(back)]) + [0, 0, np.log(_SIDE), 0]


def _stepped(pose: np.ndarray, step: np.ndarray) -> np.ndarray:
    """A pose (4,) after a movement (2, 3)."""
    return np.array([*transform(pose[:2], step), *(pose[2:] + _size_and_turn(step))])


def _size_and_turn(matrix: np.ndarray) -> np.ndarray:
    """Logarithm of the zoom of a similarity (2, 3), and its angle."""
    across, down = matrix[:, 0]
    return np.array([np.log(np.hypot(across, down)), np.arctan2(down, across)])


def _landmarks(pose: np.ndarray) -> np.ndarray:
    """The template's points (5, 2) in the place of a face of that pose."""
    zoom, angle = np.exp(pose[2]) / _SIDE, pose[3]
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (TEMPLATE - (_SIDE - 1) / 2) @ turn.T + pose[:2]


def _units(side: float) -> np.ndarray:
    """Brings the parts of a pose to one measure: how far the border of the square moves, in its sides."""
    return np.array([side, side, 2.0, 2.0])
