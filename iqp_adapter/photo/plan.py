"""Where the results of a run go, before any work is done: every file that is written has a name of its own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..store.files import IMAGE_SUFFIXES
from .journal import RECORD

LONGEST_NAME = 255
"""Bytes that file systems allow for a name."""


@dataclass(frozen=True)
class Task:
    """One picture file and where its result goes."""

    source: Path
    target: Path

    @property
    def comparison(self) -> Path:
        """Where before and after are shown: the result's whole name counts, since `a.jpg` and `a.png` are two."""
        return self.target.with_name(ending(self.target.name, ".compare.png"))


def plan(
    sources: Sequence[Path] | Mapping[Path, Path], out: Path, compare: bool = False, report: Path | None = None
) -> list[Task]:
    """Names the results.

    Args:
        sources: picture files, whose results lie side by side, or each with the place of its result below `out`.

    Raises:
        ValueError: where a result would take the place of a source, or lie outside of `out`; where two of the files
            that a run writes have the same name.
    """
    places = sources if isinstance(sources, Mapping) else {source: Path(source.name) for source in sources}
    for source, place in places.items():
        if place.is_absolute() or os.pardir in place.parts:
            raise ValueError(f"the result of {source} would be {place}, outside of {out}; give a place below it")
    tasks = [Task(source, out if is_file(sources, out) else out / place) for source, place in places.items()]
    taken: dict[Path, str] = {}
    real = lru_cache(maxsize=None)(Path.resolve)
    for path, owner in _written(tasks, out, compare, report):
        first = taken.setdefault(real(path.parent) / path.name, owner)
        if first != owner:
            raise ValueError(f"{first} and {owner} would both become {path}; choose another folder for one of them")
    for task in tasks:
        if task.target.exists() and task.target.samefile(task.source):
            raise ValueError(f"{task.source} would be overwritten by its own result; choose another output")
    return tasks


def is_file(sources: Collection[Path], out: Path) -> bool:
    """Whether the output names the one result itself, not a folder."""
    return len(sources) == 1 and out.suffix.lower() in IMAGE_SUFFIXES and not out.is_dir()


def leases_of(out: Path, is_one: bool) -> Path:
    """The folder in which runs share the work: in the folder of results, or beside the one result."""
    return out.with_name(ending(f".{out.name}", ".leases")) if is_one else out / ".iqp-restore.leases"


def ending(name: str, suffix: str) -> str:
    """The name with a suffix; where that is too long for a file, the name is cut and a hash of it tells it apart."""
    if len(os.fsencode(name + suffix)) <= LONGEST_NAME:
        return name + suffix
    marked = f"~{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}{suffix}"
    while len(os.fsencode(name + marked)) > LONGEST_NAME:
        name = name[:-1]
    return name + marked


def _written(tasks: Sequence[Task], out: Path, compare: bool, report: Path | None) -> Iterator[tuple[Path, str]]:
    """All files that a run writes, and what becomes each."""
    yield out / RECORD, "the journal"
    if report is not None:
        yield report, "the report"
    for task in tasks:
        yield task.target, str(task.source)
        if compare:
            yield task.comparison, f"the comparison of {task.source}"
