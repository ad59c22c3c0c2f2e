"""Libraries: which photos folders of folders, globs and lists name, where each result goes, and what is left out."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from glob import glob, has_magic
from itertools import takewhile
from pathlib import Path

from .journal import RECORD
from .kinds import counted_as, why_left_out


@dataclass
class Library:
    """What was found.

    Attributes:
        photos: each picture file and its place below the folder of results: folders keep their shape.
        left_out: all else that has a name of its own, and why it is left out.
        counted: how many files and folders were left out that nobody takes for photos, by kind.
        unread: a line for each name that leads to no photo.
    """

    photos: dict[Path, Path] = field(default_factory=dict)
    left_out: dict[Path, str] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """All that is left out, for people."""
        for path, why in sorted(self.left_out.items()):
            yield f"{path}: {why}"
        if self.counted:
            yield ", ".join(f"{number} {kind}" for kind, number in sorted(self.counted.items()))

    def add(self, other: Library) -> None:
        """Adds what another argument names; a photo that both name keeps its place."""
        self.photos = other.photos | self.photos
        self.left_out |= other.left_out
        self.counted += other.counted

    def take(self, path: Path, place: Path) -> None:
        """Adds a picture file, or says why it is none."""
        kind = counted_as(path.name)
        if kind is not None:
            self.counted[kind] += 1
        elif why := _why_no_file(path) or why_left_out(path.name):
            self.left_out[path] = why
        else:
            self.photos[path] = place


def find(names: Sequence[str], listed: str | None, output: Path) -> Library:
    """Finds what a command names: by photos, folders and globs, or by a list, whose folder may be named.

    Args:
        listed: a file with names, or `-` for the standard input, see `read_list`.
        output: the folder of results.

    Raises:
        ValueError: where nothing is named, or more than one folder for a list.
        OSError: where the list cannot be read.
    """
    if listed is None and not names:
        raise ValueError("nothing to restore; name photos, folders or globs, or try --demo")
    if listed is None:
        return find_photos(names, output)
    if len(names) > 1:
        raise ValueError(f"--list takes one folder, which holds all listed photos, and {len(names)} are given")
    return find_listed(read_list(listed), *map(Path, names))


def find_photos(names: Iterable[str | Path], output: Path | None = None) -> Library:
    """Finds the photos that files, folders with all their subfolders, and globs name.

    A result keeps the place that its photo has below the named folder, or below the part of a glob that has no
    wildcard. A file that is named itself may have any suffix. Links to files are followed, links to folders are not,
    so that none leads in a circle; the folder of results is left out.

    Args:
        output: the folder of results.
    """
    library = Library()
    for path in map(Path, names):
        try:
            found = _found(path, output)
        except OSError as error:
            library.unread.append(f"{path}: {error.strerror or error}")
            continue
        library.add(found)
        if not found.photos:
            library.unread.append(f"no image at {path}; give an image, a folder of images or a glob in quotes")
    library.photos = dict(sorted(library.photos.items()))
    return library


def find_listed(names: Iterable[str], root: Path | None = None) -> Library:
    """Finds the photos of a list of names; each result keeps the place that its photo has below a folder.

    Args:
        root: that folder, which holds all of them; by default the current one.

    Raises:
        ValueError: for a name outside of the folder.
    """
    library, base = Library(), os.path.abspath(root or "")
    for name in names:
        place = os.path.relpath(os.path.abspath(name), base)
        if place.split(os.sep)[0] == os.pardir:
            raise ValueError(f"{name} is not inside of {base}; name the folder that holds all photos of the list")
        if not os.path.lexists(name):
            library.unread.append(f"{name}: no such file")
        elif Path(name).is_dir():
            library.left_out[Path(name)] = "a folder; list the photos in it"
        else:
            library.take(Path(name), Path(place))
    return library


def read_list(source: str) -> list[str]:
    """The names in a file, or in the standard input for `-`: one a line, or separated by zeros.

    Raises:
        OSError: where the file cannot be read.
    """
    content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    separator = b"\0" if b"\0" in content else b"\n"
    return [os.fsdecode(name) for name in (line.rstrip(b"\r") for line in content.split(separator)) if name]


def _found(path: Path, output: Path | None) -> Library:
    """What one argument names.

    Raises:
        OSError: where a folder cannot be listed.
    """
    library = Library()
    if path.is_file():
        library.photos[path] = Path(path.name)
    elif path.is_dir():
        _walk(path, library, output)
    elif has_magic(str(path)):
        _match(path, library)
    return library


def _walk(root: Path, library: Library, output: Path | None) -> None:
    """Adds what a folder and its subfolders hold.

    Raises:
        OSError: where the folder itself cannot be listed; a subfolder is left out then.
    """
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if folder == root:
                raise
            library.left_out[folder] = f"cannot be listed ({error.strerror})"
            continue
        for entry in found:
            path = folder / entry.name
            if not os.path.isdir(path):
                library.take(path, path.relative_to(root))
            elif _is_taken(path, library, output):
                folders.append(path)


def _is_taken(folder: Path, library: Library, output: Path | None) -> bool:
    """Whether a subfolder is looked into; if not, that is said."""
    kind = counted_as(folder.name)
    if kind is not None:
        library.counted[kind] += 1
    elif output is not None and output.is_dir() and output.samefile(folder):
        library.left_out[folder] = "the folder of results"
    elif folder.is_symlink():
        library.left_out[folder] = "a link to a folder; to take that, name it itself"
    elif (folder / RECORD).exists():
        library.left_out[folder] = "results of an earlier run; to take them, name the folder itself"
    else:
        return True
    return False


def _match(pattern: Path, library: Library) -> None:
    """Adds the files that a glob matches."""
    fixed = Path(*takewhile(lambda part: not has_magic(part), pattern.parts))
    for name in sorted(glob(str(pattern), recursive=True)):
        path = Path(name)
        if not os.path.isdir(path):
            library.take(path, path.relative_to(fixed))


def _why_no_file(path: Path) -> str:
    if os.path.isfile(path):
        return ""
    return "a link that leads nowhere" if path.is_symlink() else "no file"
