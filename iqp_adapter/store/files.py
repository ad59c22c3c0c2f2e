"""Files: written whole or not at all, hashed, found by folder, glob or name, and named in messages."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import glob, has_magic
from pathlib import Path

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff"})


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path in the same folder, and moves the file to `path` once it is complete.

    On an error, or if the process dies, `path` stays unchanged. The temporary name is hidden and has the same suffix,
    since many writers choose the format by it.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} into; make it first")
    partial = path.with_name(f".{path.stem}.{secrets.token_hex(6)}{path.suffix}")
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
    """The image files that files, folders (without subfolders and hidden files) and globs name, sorted, each once.

    In folders and globs the suffix tells images from other files; a file that is named itself may have any suffix.

    Raises:
        FileNotFoundError: if one of `paths` matches nothing.
        TypeError: for a single path instead of a list.
    """
    if isinstance(paths, (str, Path)):
        raise TypeError(f"paths is {str(paths)!r}, expected a list of paths; put it in brackets")
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
    if path.is_dir():
        matches: Iterable[Path] = path.iterdir()
    else:
        matches = map(Path, glob(str(path), recursive=True)) if has_magic(str(path)) else []
    return (match for match in matches if _is_image(match))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def some_of(names: Iterable[str]) -> str:
    """The number of names and the first three of them, for a message."""
    names = list(names)
    return f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else "0"
