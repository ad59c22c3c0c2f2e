"""What the pipeline hands out: a restored photo, to keep as it was given or to write."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..pictures import Photo, encode, one_line, target_format
from ..store.files import atomic_path, put_new
from .outcomes import FaceReport, Outcome


@dataclass(eq=False)
class Restored:
    """A photo with its faces restored, and what was done to each."""

    photo: Photo
    pixels: np.ndarray
    """(H, W, 3) upright RGB, of the photo's own type."""
    alpha: np.ndarray | None
    faces: list[FaceReport]
    changed: bool
    """False where the photo is what it was, to the pixel."""
    seconds: float
    """Reading, detection and pasting, and its faces' share of the batches."""
    failure: str = ""
    """Why its faces could not be looked for; empty where they were."""

    @property
    def failures(self) -> list[str]:
        """A line for all that failed: the search for faces, or the restoration of a face, which was left as it was."""
        failed = [face for face in self.faces if face.outcome is Outcome.FAILED]
        return [self.failure] * bool(self.failure) + [f"face {face.index}: {face.skipped}" for face in failed]

    @property
    def image(self) -> Any:
        """The picture as it was given: an array or a PIL image; for a file, a PIL image (16-bit colours: an array)."""
        return self.photo.form.build(self.pixels, self.alpha)

    def save(self, target: str | Path) -> None:
        """Writes the picture to a new file: the kind that its suffix says, with EXIF, profile and alpha of the source.

        Raises:
            FileExistsError: where the target exists.
            OSError, ValueError: where it cannot be written; nothing is left behind then.
        """
        target = Path(target)
        if target.exists():
            raise FileExistsError(f"{target} exists; name a new file")
        kind = target_format(self.photo, target)
        with atomic_path(target, put_new) as partial, one_line(target):
            self.encode(partial, kind)

    def encode(self, file: Path, kind: str) -> None:
        """Writes the picture as a file of that kind; one in which nothing changed is copied byte for byte."""
        source = self.photo.path
        if source is None or self.changed or kind != self.photo.format:
            encode(self.photo, self.pixels, self.alpha, file, kind)
        else:
            shutil.copyfile(source, file)
        if source is not None:
            shutil.copymode(source, file)
