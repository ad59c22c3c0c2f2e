"""Folders that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .temporary import remove_strays_once, temporary_name


@contextmanager
def atomic_folder(folder: str | Path) -> Iterator[Path]:
    """Gives a hidden folder beside it, which takes its name once it is complete.

    On an error, or if the process dies, there is no folder of that name. What a killed process left beside it is
    removed.

    Raises:
        FileExistsError: where there is something of that name already, but an empty folder.
    """
    folder = Path(folder)
    _refuse_existing(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_strays_once(folder.parent.resolve())
    partial = folder.with_name(temporary_name(folder.name))
    partial.mkdir()
    try:
        yield partial
        for file in partial.iterdir():
            _to_disk(file)
        _put(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put(partial: Path, folder: Path) -> None:
    try:
        os.replace(partial, folder)
    except OSError:
        _refuse_existing(folder)  # another process was faster
        raise


def _refuse_existing(folder: Path) -> None:
    if os.path.lexists(folder) and not _is_empty(folder):
        raise FileExistsError(f"{folder} exists and is not empty; name a new folder")


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _to_disk(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
