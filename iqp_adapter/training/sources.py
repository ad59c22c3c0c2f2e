"""Where training pictures come from: a folder, tar shards as WebDataset has them, or a table of `datasets`.

    folder ── paths ────┐
    shards ── members ──┼── picture files, in a fixed order ── FaceFolder
    table ─── rows ─────┘

Every file can be read by its place, so that order, draws and resuming are the same whatever the source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ..pictures import PictureFile
from ..provenance import hash_of_all
from ..store.files import inside, list_images
from . import shards, tables
from .kept_hashes import content_hashes


class Source(Protocol):
    """Picture files, and what tells them from others."""

    @property
    def files(self) -> Sequence[PictureFile]:
        """The pictures, in the order that training draws from."""

    def sha256(self) -> str:
        """Of the contents; where these would take long to read, of the names and sizes."""


class Folder:
    """The pictures that a folder or a glob names."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = list_images([root])

    def __str__(self) -> str:
        return str(self.root)

    def sha256(self) -> str:
        return hash_of_all(content_hashes(self.root, self.files))


class Packed:
    """Pictures in larger files: the members of tar shards, or the rows of a table."""

    def __init__(self, name: str, files: Sequence[shards.Member] | Sequence[tables.Row]) -> None:
        self.name, self.files = name, files

    def __str__(self) -> str:
        return self.name

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.name} {file.size}\n".encode(errors="surrogatepass"))
        return digest.hexdigest()


def source_of(root: str | Path | Source) -> Source:
    """Finds the pictures that a name stands for.

    Args:
        root: a folder or glob of pictures; a tar file, a folder of them or a glob that ends in .tar;
            `datasets:OWNER/NAME` or another name as `tables.named` takes it; or a source, which is returned.

    Raises:
        OSError: where there is no picture, and for a shard that cannot be read.
        ValueError: for a table that cannot be loaded.
        ImportError: for a table without the package `datasets`.
    """
    if not isinstance(root, (str, Path)):
        return root
    name = Path(root).as_posix()
    if name.startswith(tables.PREFIX):
        return Packed(name, tables.named(name))
    path = Path(root)
    found = [path] if path.is_file() else sorted(inside(path))
    tars = [each for each in found if each.suffix == ".tar" and each.is_file()]
    return Packed(name, shards.members(tars)) if tars and len(tars) == len(found) else Folder(path)
