"""Runs that share an output and are killed at random moments: nothing is lost, restored twice, mixed or left over."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from benchmarks.faults.children import Ended, Kill, changes_of, iqp, run_all
from benchmarks.faults.kills import TEMPORARY, Files, Work, different, files_of, other_picture, photos_in, wrong
from iqp_adapter.photo.journal import RECORD

WORKERS = 3
MOST_IN_A_ROW = 3
"""Groups of workers of which some are killed, before one may end."""


def sharing(photos: Path) -> Work:
    """Photos in folders of two levels."""
    for place in ("a", "a/b", "c"):
        photos_in(photos / place, 3)

    def command(out: Path) -> Callable[[], object]:
        return iqp("restore", photos, "-o", out, "--batch", 2, "--device", "cpu", "--report", out.with_suffix(".json"))

    return Work("share", command, lambda out: files_of(out, lambda path: path.suffix == ".png"), other_picture)


def campaign(work: Work, kills: int, folder: Path, seed: int) -> Iterator[Counter[str]]:
    """Counts, each time more of them are known."""
    done, counts, rng = folder / "share-undisturbed", Counter[str](), Random(seed)
    undisturbed, changes = changes_of(work.command(done), folder / "share.log", done)
    if undisturbed.status != 0:
        raise RuntimeError(f"it fails without any kill: {undisturbed.output}")
    wanted = work.results(done)
    while counts["kills"] < kills:
        out = folder / "share-killed"
        shutil.rmtree(out, ignore_errors=True)
        counts += _round(work, out, wanted, rng, undisturbed.seconds, changes // WORKERS)
        yield counts


def _round(work: Work, out: Path, wanted: Files, rng: Random, seconds: float, changes: int) -> Counter[str]:
    """Groups of workers that are killed, then one that ends."""
    counts: Counter[str] = Counter()
    for _ in range(rng.randint(1, MOST_IN_A_ROW)):
        kills = [Kill.at_random(rng, seconds, changes) if rng.random() < 0.7 else Kill() for _ in range(WORKERS)]
        for ended, kill in zip(_group(work, out, kills), kills, strict=True):
            counts["kills"] += (ended.status or 0) < 0
            counts["ended before the kill"] += kill != Kill() and (ended.status or 0) >= 0
            counts["failed afterwards"] += (ended.status or 0) > 0
            counts += wrong(ended)
        counts["half-written"] += different(work, out, wanted)
    for ended in _group(work, out, [Kill(), Kill()]):
        counts["failed afterwards"] += ended.status != 0
        counts += wrong(ended)
    return counts + _judged(work, out, wanted, counts["kills"])


def _group(work: Work, out: Path, kills: list[Kill]) -> list[Ended]:
    logs = [out.parent / f"share-{place}.log" for place in range(len(kills))]
    return run_all([(work.command(out), log, kill) for log, kill in zip(logs, kills, strict=True)], out)


def _judged(work: Work, out: Path, wanted: Files, kills: int) -> Counter[str]:
    """What a round has left.

    A photo is restored twice where the journal has more results of it than one, and one for each kill, since a worker
    may be killed between the line and the file.
    """
    found = work.results(out)
    results = Counter(line["output"] for line in _lines(out / RECORD) if "report" in line)
    reported = json.loads(out.with_suffix(".json").read_text())["photos"]
    strays = [path for path in out.rglob("*") if TEMPORARY.match(path.name) or path.name.endswith(".leases")]
    return Counter(
        {
            "photos": len(wanted),
            "lost": len(wanted.keys() - found.keys()) + len(wanted) - len(reported),
            "wrong": different(work, out, wanted) + sum(one["status"] == "failed" for one in reported),
            "twice": max(0, results.total() - len(results) - kills),
            "left over": len(strays),
        }
    )


def _lines(journal: Path) -> list[dict[str, object]]:
    """The entries of a journal; of a line that a kill cut short there is none."""
    found = []
    for line in journal.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
