"""Runs over small folders of photos, for the tests of what they leave behind."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from photo_standins import FACE, Negative, photo
from PIL import Image

from iqp_adapter.photo import GivenFaces, restore_files
from iqp_adapter.photo.outcomes import PhotoReport
from iqp_adapter.store.files import list_images

NOBODY = GivenFaces(np.zeros((0, 5, 2)))


def three_photos(folder: Path, pixels: np.ndarray) -> Path:
    """A new folder with a photo in three kinds."""
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels[:, ::-1]).save(folder / "b.jpg", quality=90)
    Image.fromarray(pixels).convert("L").save(folder / "c.tif")
    return folder


def face() -> np.ndarray:
    """(96, 96, 3) uint8, aligned more or less: small, so that runs take no time."""
    return np.ascontiguousarray(photo()[72:168, 176:272])


def shifted_faces(folder: Path, count: int) -> Path:
    """A new folder of that many different faces, `00.png` and so on."""
    folder.mkdir()
    for number in range(count):
        Image.fromarray(np.roll(face(), number, 1)).save(folder / f"{number:02}.png")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def start(folder: Path, out: Path, model: Any = None, **options: Any) -> Generator[PhotoReport, None, None]:
    options = {"detector": FACE, **options}
    return restore_files(list_images([folder]), out, model or Negative(), **options)


def run(folder: Path, out: Path, model: Any = None, **options: Any) -> list[PhotoReport]:
    return list(start(folder, out, model, **options))


def statuses(reports: list[PhotoReport]) -> dict[str, str]:
    return {Path(report.source).name: report.status for report in reports}
