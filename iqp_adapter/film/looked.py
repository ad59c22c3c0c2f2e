"""What was seen of a film, in files of some looks each, so that a run that was killed does not look at all again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..photo.detect import Faces
from ..store.files import atomic_path
from ..store.reading import json_file
from ..store.words import message_of
from .looking import Look, Seen

LOOKS = 100
"""In a file; the last one of a film has fewer."""


class Looked:
    """What was seen of a film so far.

    Args:
        folder: of the files, from which what earlier runs saw is read.

    Attributes:
        looks: in the order of their frames.
        times: of all frames up to the last look.
        is_whole: whether the film was looked at to its end.

    Raises:
        ValueError: for a file that is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.looks: list[Look] = []
        self.times: list[int] = []
        self.is_whole = False
        self._folder = folder
        while not self.is_whole and self._file().exists():
            self._add(_read(self._file()))

    def go_on(self, coming: Iterator[Seen]) -> Iterator[int]:
        """Adds all further looks, and writes them; the number of frames that were seen so far, after each."""
        while not self.is_whole:
            seen, known = [], len(self.times)
            for each in islice(coming, LOOKS):
                seen.append(each)
                known += len(each.times)
                yield known
            with atomic_path(self._file()) as partial:
                partial.write_text(json.dumps([_values(each) for each in seen]), encoding="utf-8")
            self._add(seen)

    def _file(self) -> Path:
        return self._folder / f"looks-{len(self.looks) // LOOKS:05}.json"

    def _add(self, seen: list[Seen]) -> None:
        for each in seen:
            self.looks.append(each.look)
            self.times += each.times
        self.is_whole = len(seen) < LOOKS


def _read(path: Path) -> list[Seen]:
    try:
        return [_seen(values) for values in json_file(path, list)]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({message_of(error):.120}); remove it, and the film is looked at again"
        ) from error


def _values(seen: Seen) -> dict[str, Any]:
    look = seen.look
    return {
        "frame": look.frame,
        "shot": look.shot,
        "before": look.before,
        "steps": [None if step is None else step.tolist() for step in look.steps],
        "boxes": look.faces.boxes.tolist(),
        "scores": look.faces.scores.tolist(),
        "landmarks": look.faces.landmarks.tolist(),
        "times": seen.times,
    }


def _seen(values: dict[str, Any]) -> Seen:
    boxes, scores = np.array(values["boxes"], float).reshape(-1, 4), np.array(values["scores"], float)
    faces = Faces(boxes, scores, np.array(values["landmarks"], float).reshape(-1, 5, 2))
    steps = [None if step is None else np.array(step) for step in values["steps"]]
    look = Look(values["frame"], values["shot"], faces, values["before"], steps)
    return Seen(look, values["times"])
