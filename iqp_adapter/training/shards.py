"""Tar shards as WebDataset has them: their pictures by place, without unpacking them."""

from __future__ import annotations

import logging
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from PIL.ContainerIO import ContainerIO

from ..store.files import IMAGE_SUFFIXES

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """A picture in a shard, which opens like a file.

    Attributes:
        name: in the shard, with its folders.
        size: in bytes.
    """

    shard: Path
    name: str
    start: int
    size: int

    def __str__(self) -> str:
        return f"{self.shard}/{self.name}"

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    def open(self, mode: Literal["rb"] = "rb") -> IO[bytes]:
        return ContainerIO(self.shard.open("rb"), self.start, self.size)


def members(paths: Sequence[Path]) -> list[Member]:
    """The pictures of shards, in the order of the files and of what is in them; what is no picture is passed over.

    Only the heads of the members are read.

    Raises:
        OSError: for a file that is no plain tar file, and where no shard holds a picture.
    """
    found = [member for path in paths for member in _members(path)]
    if not found:
        raise FileNotFoundError(f"no picture in {paths[0]}{', ...' if paths[1:] else ''}; pack PNG or JPEG files")
    return found


def _members(path: Path) -> Iterator[Member]:
    try:
        with tarfile.open(path, "r:") as shard:
            for each in shard:
                if each.isreg() and PurePosixPath(each.name).suffix.lower() in IMAGE_SUFFIXES:
                    yield Member(path, each.name, each.offset_data, each.size)
    except tarfile.TarError as error:
        raise OSError(f"{path}: not a plain tar file, or cut short ({error}); unpack it, or pack it again") from error
