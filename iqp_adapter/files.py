"""Files: written whole or not at all, and found by folder, glob or name."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import glob, has_magic
from pathlib import Path

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Lends a temporary path in the same folder, which takes the place of `path` once it is written whole.

    On an error, or when the process dies, `path` stays as it was.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def sha256_of(path: str | Path) -> str:
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def list_images(paths: Iterable[str | Path]) -> list[Path]:
    """Image files of files, folders (not their subfolders) and globs, sorted, each once.

    Raises:
        FileNotFoundError: where one of `paths` matches nothing.
    """
    found: set[Path] = set()
    for path in map(Path, paths):
        matches = set(_images(path))
        if not matches:
            raise FileNotFoundError(f"no image at {path}; give an image, a folder of images or a glob in quotes")
        found |= matches
    return sorted(found)


def _images(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    inside = path.iterdir() if path.is_dir() else map(Path, glob(str(path))) if has_magic(str(path)) else []
    return (item for item in inside if item.suffix.lower() in IMAGE_SUFFIXES and item.is_file())
