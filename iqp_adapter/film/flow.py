"""Frames on their way: read in order, their faces cut out by the tracks, steadied, restored in batches, steadied."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TypeVar

import numpy as np
import torch

from ..photo.batch import FaceBatch
from ..photo.faces import Face, faces_of
from ..photo.options import Options
from ..photo.outcomes import Outcome
from .colour import Colours
from .reading import Frame
from .steady import REACH, Aligned, steadied
from .tracks import Track, faces_in

Item = TypeVar("Item")


@dataclass(eq=False)
class Shown:
    """A frame and its faces.

    Attributes:
        number: of the frame.
        pixels: (H, W, 3) upright.
        faces: by track.
        crops: as they were cut out, of the faces that wait for the model.
        pictures: as the model made them.
    """

    number: int
    frame: Frame
    pixels: np.ndarray
    faces: dict[Track, Face]
    crops: dict[Track, Aligned] = field(default_factory=dict)
    pictures: dict[Track, Aligned] = field(default_factory=dict)

    @property
    def waiting(self) -> list[Face]:
        """Faces that wait for the model."""
        return [face for face in self.faces.values() if face.outcome is None]


def shown(
    frames: Iterable[Frame], first: int, colours: Colours, tracks: Sequence[Track], options: Options, resolution: int
) -> Generator[Shown, None, None]:
    """Frames with their faces, the crops being steadied.

    Args:
        first: the number of the first frame.
    """
    cut = (_cut(frame, number, colours, tracks, options, resolution) for number, frame in enumerate(frames, first))
    for near, own in windows(cut, REACH):
        for track, crop in own.crops.items():
            own.faces[track].crop = steadied([each.crops[track] for each in near if track in each.crops], crop)
        yield own


def restored(shown: Iterable[Shown], batch: FaceBatch) -> Generator[Shown, None, None]:
    """The frames with their faces restored, what was made of them being steadied once more.

    Raises:
        ValueError: for a face that the model cannot restore, which would flash between its neighbours.
    """
    for near, own in windows(_batched(shown, batch), REACH):
        for track, picture in own.pictures.items():
            steady = steadied([each.pictures[track] for each in near if track in each.pictures], picture)
            own.faces[track].restored = np.ascontiguousarray(steady.permute(1, 2, 0).numpy())  # (3, R, R) -> (R, R, 3)
        yield own


def _batched(shown: Iterable[Shown], batch: FaceBatch) -> Iterator[Shown]:
    waiting: list[Shown] = []
    for each in shown:
        waiting.append(each)
        if max(len(waiting), sum(len(one.waiting) for one in waiting)) >= batch.size:
            yield from _restored(waiting, batch)
            waiting = []
    yield from _restored(waiting, batch)


def _restored(waiting: Sequence[Shown], batch: FaceBatch) -> Sequence[Shown]:
    faces = list(chain(*(each.waiting for each in waiting)))
    for start in range(0, len(faces), batch.size):
        batch.restore(faces[start : start + batch.size])
    for each in waiting:
        for track, face in each.faces.items():
            if face.outcome is Outcome.FAILED:
                raise ValueError(f"frame {each.number}: {face.why}; the same command goes on from here")
            if face.restored is not None:
                picture = torch.from_numpy(face.restored).permute(2, 0, 1).contiguous()  # (R, R, 3) -> (3, R, R)
                each.pictures[track] = Aligned.of(picture)
    return waiting


def windows(items: Iterable[Item], reach: int) -> Iterator[tuple[Sequence[Item], Item]]:
    """Each item, and all that are within so many of it, itself among them."""
    near: deque[Item] = deque()
    source, before = iter(items), 0
    near.extend(islice(source, reach + 1))
    while before < len(near):
        yield near, near[before]
        near.extend(islice(source, 1))
        if before == reach:
            near.popleft()
        else:
            before += 1


def _cut(
    frame: Frame, number: int, colours: Colours, tracks: Sequence[Track], options: Options, resolution: int
) -> Shown:
    here, seen = faces_in(tracks, number)
    pixels = np.ascontiguousarray(colours.rgb(frame.picture))
    faces = dict(zip(here, faces_of(pixels, options, seen, resolution), strict=True))
    crops = {track: Aligned.of(face.crop) for track, face in faces.items() if face.crop is not None}
    return Shown(number, frame, pixels, faces, crops)
