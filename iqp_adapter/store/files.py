"""Files: written whole or not at all, hashed, found by folder, glob or name, and named in messages."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from glob import escape, glob, has_magic
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from .temporary import remove_strays_once, temporary_name

HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
RAW_SUFFIXES = frozenset({".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2"})
RAW_SUFFIXES |= {".srw"}

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff"})
IMAGE_SUFFIXES |= {".avif"} if find_spec("PIL._avif") else set()
IMAGE_SUFFIXES |= HEIF_SUFFIXES if find_spec("pillow_heif") else set()

OTHER_SUFFIXES = frozenset({".avif", ".gif", ".ico", ".jp2", ".jxl", ".mpo", ".psd", ".svg", ".tga", ".xcf"})
OTHER_SUFFIXES |= {".apng", ".dib", ".exr", ".hdr", ".j2k", ".jxr", ".pbm", ".pgm", ".pnm", ".ppm"}
OTHER_SUFFIXES |= HEIF_SUFFIXES | RAW_SUFFIXES
"""Of files that people call pictures, too, and that are not restored."""


@contextmanager
def atomic_path(path: str | Path, put: Callable[[Path, Path], None] = os.replace) -> Iterator[Path]:
    """Gives a temporary path in the same folder, and moves the file to `path` once it is complete.

    On an error, or if the process dies, `path` stays unchanged. The temporary name is hidden and has the same suffix,
    since many writers choose the format by it. What a killed process left in the folder is removed.

    Args:
        put: gives the complete file (first argument) its name; `put_new` replaces no file.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} into; make it first")
    remove_strays_once(path.parent.resolve())
    partial = path.with_name(temporary_name(path.name))
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        put(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def put_new(partial: Path, path: Path) -> None:
    """Gives a file its name unless a file has that name already: in one step, where the file system knows hard links.

    Raises:
        FileExistsError: where one has.
    """
    try:
        os.link(partial, path)
    except FileExistsError:
        raise FileExistsError(f"{path} exists; name a new file") from None
    except OSError:
        if os.path.lexists(path):
            raise FileExistsError(f"{path} exists; name a new file") from None
        partial.rename(path)
    else:
        partial.unlink()


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
        matches = {path} if path.is_file() else set(filter(_is_image, inside(path)))
        if not matches:
            advice = left_out([path]) or ["give an image, a folder of images or a glob in quotes"]
            raise FileNotFoundError(f"no image at {path}; {'; '.join(advice)}")
        found |= matches
    return sorted(found)


def left_out(paths: Iterable[str | Path]) -> list[str]:
    """A line for all that `list_images` passes over and that people may have meant: subfolders, and other formats."""
    lines = []
    for path in map(Path, paths):
        below = _picture_below(path) if path.is_dir() else None
        if below is not None:
            everything = shlex.quote(str(Path(escape(str(path)), "**", "*")))
            lines.append(f"{path} has subfolders with pictures, such as {below}; to take those, give {everything}")
        unread = OTHER_SUFFIXES - IMAGE_SUFFIXES
        others = [] if path.is_file() else [each.name for each in inside(path) if _has_suffix(each, unread)]
        if others:
            lines.append(
                f"{path} has files of kinds that are not read: {some_of(sorted(others))}; save them as PNG or JPEG"
            )
    return lines


def inside(path: Path) -> Iterable[Path]:
    """What is in a folder, or what a glob matches."""
    if path.is_dir():
        return path.iterdir()
    return map(Path, glob(str(path), recursive=True)) if has_magic(str(path)) else []


def _picture_below(folder: Path) -> Path | None:
    """A picture in some subfolder; a search that would take long is given up."""
    for place, folders, names in islice(os.walk(folder), _MOST_FOLDERS):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        found = next((name for name in sorted(names) if _is_image(Path(place, name))), None)
        if found is not None and Path(place) != folder:
            return Path(place, found)
    return None


_MOST_FOLDERS = 1000


def _is_image(path: Path) -> bool:
    return _has_suffix(path, IMAGE_SUFFIXES)


def _has_suffix(path: Path, suffixes: frozenset[str]) -> bool:
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()


def mend(path: str | Path) -> str:
    """What to do about a damaged file, for a message; the cache of the Hub's client tells where a file came from."""
    found = re.search(r"(datasets|models)--([^/]+)--([^/]+)/snapshots/[^/]+/(.+)", Path(path).absolute().as_posix())
    if not found:
        return "fetch or save it again"
    kind, owner, name, file = found.groups()
    whole = kind == "models" and file == "model.safetensors"
    address = f"{owner}/{name}" if whole else f"{'datasets/' * (kind == 'datasets')}{owner}/{name}/{file}"
    return f"fetch it again by 'iqp fetch --force {address}'"


def some_of(names: Iterable[str]) -> str:
    """The number of names and the first three of them, for a message."""
    names = list(names)
    return f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else "0"


def spelt(text: str) -> str:
    """The text as UTF-8 can hold it: the odd bytes of a name that is no UTF-8 are spelt out, such as `\\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
