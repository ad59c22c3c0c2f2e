"""Packages that hold files of the same names: the one that is installed later overwrites the other's.

Some of those that the full set needs do so: two wheels of OpenCV, and TensorBoard with its nightly build. It shows when
one is updated or removed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from importlib.metadata import distributions


@dataclass(frozen=True)
class Overlap:
    """Installed packages, by name and version, that all hold `files` files in one folder."""

    packages: tuple[str, ...]
    folder: str
    files: int

    def __str__(self) -> str:
        repair = f"pip install --force-reinstall --no-deps {self.packages[-1].replace(' ', '==')}"
        return (
            f"{' and '.join(self.packages)} hold the same {self.files} files in {self.folder}/; if it fails: {repair}"
        )


def overlaps() -> list[Overlap]:
    """Every group of installed packages whose modules overwrite each other; reads the list of files of each."""
    owners: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for found in distributions():
        place, name = str(found.locate_file("")), f"{found.name} {found.version}"
        for line in (found.read_text("RECORD") or "").splitlines():  # a path, its hash, its size
            folder, _, rest = line.rsplit(",", 2)[0].strip('"').partition("/")
            if rest.endswith((".py", ".so", ".pyd")) and folder != "..":
                owners[place, folder, rest].add(name)
    shared = Counter((tuple(sorted(names)), top) for (_, top, _), names in owners.items() if len(names) > 1)
    return [Overlap(packages, folder, files) for (packages, folder), files in sorted(shared.items())]
