"""What was done to each photo and face, as data for people and for JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from ..store.files import atomic_path

Status = Literal["restored", "unchanged", "complete", "failed"]
"""`complete` is a result that an earlier run wrote with the same settings."""


class Outcome(str, Enum):
    """What became of a face."""

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
    """Side of the aligned square in the photo's pixels, to compare with the model's resolution."""
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
    """Why it failed, or what could not be kept."""
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
        faces = [FaceReport(**face | {"outcome": Outcome(face["outcome"])}) for face in values["faces"]]
        return cls(**values | {"faces": faces})


_TOOL = "iqp restore"


def write_report(path: Path, photos: Iterable[PhotoReport], settings: dict[str, Any]) -> None:
    """Writes the whole run as JSON, in the place of an earlier report but of no other file.

    Raises:
        FileExistsError: where the path holds something else.
    """
    check_report(path)
    content = {"tool": _TOOL, "settings": settings, "photos": [asdict(photo) for photo in photos]}
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


def check_report(path: Path) -> None:
    """Refuses a path that holds anything but a report."""
    if path.exists() and not _is_report(path):
        raise FileExistsError(f"{path} exists and is no report of `{_TOOL}`; name another file")


def _is_report(path: Path) -> bool:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["tool"] == _TOOL
    except (ValueError, KeyError, TypeError):
        return False
