"""What was done to each photo and face, as data for people and for JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from tempfile import TemporaryFile
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from ..store.files import atomic_path, put_new, spelt

Status = Literal["restored", "unchanged", "complete", "left out", "failed", "planned"]
"""`complete` is a result that an earlier run, or one beside this, wrote with the same settings; `left out` is a file
with more than one picture; `planned` is what a dry run would restore."""


class Outcome(str, Enum):
    """What became of a face; `LARGE` is one with more detail than the model gives."""

    RESTORED = "restored"
    GOOD = "good already"
    UNWANTED = "not asked for"
    SMALL = "too small"
    LARGE = "too large"
    NO_FACE = "no face"
    NOT_SQUARE = "not square"
    FAILED = "failed"


@dataclass
class FaceReport:
    """One face, counted from left to right."""

    index: int
    box: list[float]
    """Left, top, right, bottom in the photo's pixels."""
    side: float
    """Side of the aligned square in the photo's pixels."""
    detail: float | None = None
    """Effective resolution, to compare with the model's: how many pixels a side its detail needs. None where it was not
    measured: with `force`, and in squares of hardly more pixels than the model's."""
    outcome: Outcome = Outcome.RESTORED
    skipped: str = ""
    """Why the face was left alone, for people; empty where it was restored."""
    quality: float | str | None = None
    """What was asked of the model; with "match", the level that fits the photo."""
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    """Metric -> score of the aligned face before and after, and the quality they stand for where the model knows it."""
    identity: float | None = None
    """Cosine between the embeddings of the face before and after, where an embedder was given."""
    note: str = ""
    """What was done differently from what was asked, and why."""
    seconds: float = 0.0
    """Its share of the batch, and its pasting."""


@dataclass
class PhotoReport:
    """One picture file."""

    source: str
    output: str
    status: Status
    note: str = ""
    """Why it failed or was left out, or what could not be kept."""
    width: int = 0
    height: int = 0
    faces: list[FaceReport] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def restored(self) -> int:
        """How many faces were restored."""
        return sum(face.outcome is Outcome.RESTORED for face in self.faces)

    @property
    def failures(self) -> list[str]:
        """A line for all that failed: the photo, or a face of it, which was left as it was."""
        failed = [face for face in self.faces if face.outcome is Outcome.FAILED]
        of_photo = [self.note] if self.status == "failed" else []
        return of_photo + [f"{self.source}, face {face.index}: {face.skipped}" for face in failed]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PhotoReport:
        """A report from what JSON holds.

        Raises:
            ValueError, TypeError, KeyError: for what is no report.
        """
        faces = [checked(FaceReport, face | {"outcome": Outcome(face["outcome"])}) for face in values["faces"]]
        return checked(cls, values | {"faces": faces})


Made = TypeVar("Made")


def checked(kind: type[Made], values: dict[str, Any]) -> Made:
    """A dataclass of the values of its fields, which come from elsewhere.

    Raises:
        TypeError: where a value is missing, not of its field's type, or of no field.
    """
    hints = get_type_hints(kind)
    wrong = [name for name, value in values.items() if name not in hints or not _fits(value, hints[name])]
    if wrong:
        raise TypeError(f"{', '.join(wrong)}: not what a {kind.__name__} holds")
    return kind(**values)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type: a class, a Literal, a union, a list or a dictionary by text."""
    of, inner = get_origin(hint), get_args(hint)
    if of is Literal:
        return value in inner
    if of is UnionType:
        return any(_fits(value, each) for each in inner)
    if of is list:
        return isinstance(value, list) and all(_fits(each, inner[0]) for each in value)
    if of is dict:
        return isinstance(value, dict) and all(_fits(each, inner[1]) for each in value.values())
    return isinstance(value, (int, float) if hint is float else hint) and not isinstance(value, bool)


_TOOL = "iqp restore"


def write_report(path: Path, photos: Iterable[PhotoReport], settings: dict[str, Any]) -> None:
    """Writes the whole run as JSON in UTF-8, in the place of an earlier report but of no other file.

    Raises:
        FileExistsError: where the path holds something else.
        OSError: where it cannot be written.
    """
    check_report(path)
    content = {"tool": _TOOL, "settings": settings, "photos": [asdict(photo) for photo in photos]}
    with atomic_path(path, os.replace if path.exists() else put_new) as partial:
        partial.write_text(json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def check_report(path: Path) -> None:
    """Refuses a path that holds anything but a report, or that no file can be written to.

    Raises:
        FileExistsError, OSError: in one line.
    """
    if os.path.lexists(path) and not _is_report(path):
        raise FileExistsError(f"{path} exists and is no report of `{_TOOL}`; name another file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} into; make it first")
    try:
        TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise OSError(f"{path.parent} takes no report ({error.strerror}); name a file in another folder") from error


def _is_report(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    try:
        return json.loads(path.read_text(encoding="utf-8"))["tool"] == _TOOL
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _plain(value: Any) -> Any:
    """What every reader of JSON takes: names in UTF-8, and null for numbers that are none."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return spelt(value) if isinstance(value, str) else value
