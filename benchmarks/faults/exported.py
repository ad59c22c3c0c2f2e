"""Damaged exports: they restore as they did, or are refused in one line, and no engine crashes on them.

Where an odd tool or an attacker made the checksums fit again, the picture may be another one; nothing else may happen.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np

from benchmarks.faults import exporting
from benchmarks.faults.children import run
from benchmarks.faults.export_damages import DAMAGES, PROGRAMS, SEALED, Exports
from benchmarks.faults.exports import FAULTS, Door, benchmarking, exports_in, judged, loading, restoring
from benchmarks.faults.kills import faces_in


def campaign(number: int, kills: int, folder: Path, seed: int) -> Iterator[Counter[str]]:
    """Counts, each time more of them are known: of damaged exports, then of exporting that is disturbed."""
    exports, faces = exports_in(folder), faces_in(folder / "faces", 2)
    doors = [loading(), restoring(faces), loading(), restoring(faces), loading(), benchmarking(faces)]
    wanted = [_wanted(door, exports, folder) for door in doors]
    damages, counts = list(DAMAGES.items()), Counter[str]()
    for position in range(number):
        rng = Random(f"{seed} {position}")
        format, (name, damage) = rng.choice(list(PROGRAMS)), damages[position % len(damages)]
        place, turn = folder / "damaged-export", position % len(doors) if position >= len(damages) else 0
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(exports[format], place)
        damage.change(place, format, exports, rng)
        counts += _tried(doors[turn], place, folder, wanted[turn][format], damage.picture, name)
        yield counts
    for found in exporting.campaign(kills, exports, doors[0], folder, seed):
        counts += found
        yield counts


def _wanted(door: Door, exports: Exports, folder: Path) -> dict[str, np.ndarray]:
    found = {}
    for format in PROGRAMS:
        out = folder / "wanted"
        shutil.rmtree(out, ignore_errors=True)
        ended = run(door.work(exports[format], out), folder / "wanted.log")
        if ended.status != 0:
            raise RuntimeError(f"it fails without damage: {ended.output}")
        found[format] = door.made(out)
    return found


def _tried(door: Door, place: Path, folder: Path, wanted: np.ndarray, picture: str, name: str) -> Counter[str]:
    out, log = folder / "out", folder / "exported.log"
    shutil.rmtree(out, ignore_errors=True)
    ended = run(door.work(place, out), log)
    counts = judged(ended, place.name) + Counter(files=1)
    if ended.status == 0 and picture == SEALED:
        found = door.made(out)
        counts["wrong"] += found.shape != wanted.shape or not np.allclose(found, wanted, atol=1e-5)
    elif ended.status == 1 and picture == SEALED:  # some picture failed, so that the damage was not seen at first
        counts["wrong"] += 1
    if any(counts[fault] for fault in FAULTS):
        kept = folder / f"fault of {name}"
        shutil.copytree(place, kept, symlinks=True, dirs_exist_ok=True)
        shutil.copy(log, kept / "log")
    return counts
