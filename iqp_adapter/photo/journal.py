"""The journal of an output folder: one line of JSON per file, written just before the file takes its name.

A file there may be replaced only where its content is one that the journal has under that name and kind, that is,
where it is an earlier result. A line that cannot be read stands for nothing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from ..store.files import put_new, sha256_of
from .outcomes import PhotoReport, checked

RECORD = ".iqp-restore.jsonl"
LONGEST = 1 << 24
"""Bytes of a line; a longer one is damaged."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """A file of this tool, by its place below the folder, and the hash of its content."""

    output: str
    sha256: str


@dataclass(frozen=True)
class Comparison(Written):
    """A photo before and after."""


@dataclass(frozen=True)
class Result(Written):
    """A restored photo, with all that it depends on.

    Attributes:
        settings: hash of what the run was asked for.
        source: sha256 of the picture file that was restored.
        report: what was done to it.
        batch: faces restored at once, on which the last bits of a result may depend.
    """

    settings: str
    source: str
    report: PhotoReport
    batch: int = 0


Kind = TypeVar("Kind", bound=Written)


class Journal:
    """What this tool wrote to a folder, by this run, by earlier ones and by those that run beside it.

    Args:
        path: of the file; without one, only this run is remembered.
        alone: keeps other runs from writing at the same time: over a network, lines that two machines add are mixed.

    Raises:
        OSError: where the path is a link, a folder or anything else than a file.
    """

    def __init__(self, path: Path | None, alone: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self.path = path
        self._alone = alone
        self._files: dict[str, dict[str, Written]] = {}
        self._read = 0
        self._has_warned = False
        if path is not None and os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
            raise OSError(
                f"{path} is a link or no file, so no journal is kept there; move it, or choose another output"
            )

    def name_of(self, target: Path) -> str:
        """What a file is called here: its place below the folder of the journal."""
        return target.name if self.path is None else target.relative_to(self.path.parent).as_posix()

    def of(self, target: Path, kind: type[Kind]) -> Kind | None:
        """The entry of a file of that kind that is there, whole and unchanged."""
        self._read_on()
        known = self._files.get(self.name_of(target))
        if not known or target.is_symlink():
            return None
        with contextlib.suppress(OSError):  # what cannot be read is no unchanged file
            entry = known.get(sha256_of(target))
            return entry if isinstance(entry, kind) else None
        return None

    def refuse_foreign(self, target: Path, kind: type[Written]) -> None:
        """Raises FileExistsError where the target is anything but an unchanged file of this kind and tool."""
        if os.path.lexists(target) and self.of(target, kind) is None:
            raise FileExistsError(
                f"{target} exists and is no unchanged result of an earlier run; move it, or choose another output"
            )

    def put(self, partial: Path, target: Path, entry: Written) -> None:
        """Notes a complete file and gives it its name; replaces nothing but an earlier file of its kind.

        Raises:
            FileExistsError: where another file has the name, perhaps since a moment.
            OSError: where either cannot be written.
        """
        self._add(entry)
        try:
            put_new(partial, target)
        except FileExistsError:
            self.refuse_foreign(target, type(entry))
            os.replace(partial, target)

    def _add(self, entry: Written) -> None:
        self._remember(entry)
        if self.path is None:
            return
        # one write, so that lines of two runs do not mix; a line break before, as the last line may have been cut short
        line = f"\n{json.dumps(asdict(entry))}\n".encode()
        with self._alone(), open(self.path, "ab", buffering=0, opener=_no_link) as file:
            if file.write(line) < len(line):
                raise OSError(f"{self.path} cannot be written whole; is the disk full?")
            os.fsync(file.fileno())

    def _remember(self, entry: Written) -> None:
        self._files.setdefault(entry.output, {})[entry.sha256] = entry

    def _read_on(self) -> None:
        """Takes in the lines that are new since the last time."""
        if self.path is None or not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            for line, place in _lines(file):
                if self._take(line):
                    self._read = place

    def _take(self, line: bytes) -> bool:
        """Remembers the entry of a line; false for a last line that may not be complete yet."""
        complete = line.endswith(b"\n")
        try:
            if line.strip():
                self._remember(_entry(line))
        except (ValueError, TypeError, KeyError, RecursionError):
            if complete and not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "%s has damaged lines, which are skipped; what they stood for is not replaced", self.path
                )
        return complete


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Lines and where they end; of one that is too long only a part, which is no JSON."""
    while line := file.readline(LONGEST):
        while len(line) == LONGEST and not line.endswith(b"\n"):
            line = b"!" + file.readline(LONGEST - 1)
        yield line, file.tell()


def _entry(line: bytes) -> Written:
    """What a line says.

    Raises:
        ValueError, TypeError, KeyError, RecursionError: for a line that is damaged.
    """
    values = json.loads(line)
    if not isinstance(values, dict):
        raise TypeError("a line holds an object")
    if "report" not in values:
        return checked(Comparison, values)
    return checked(Result, values | {"report": PhotoReport.from_dict(values["report"])})


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
