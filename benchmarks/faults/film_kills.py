"""Kills of runs at one film, on one machine and on several: it is there when it is whole, and nothing else stays.

Parts and files of looks are shorter than usual, so that a film of two seconds has some of each. Where every run takes
itself for a machine of its own, nobody can ask whether the holder of a lease is alive: leases end when they are not
touched, after a second here.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from random import Random

import numpy as np

from benchmarks.faults.children import TOLD_TO_END, Ended, Kill, changes_of, iqp, run, run_all
from benchmarks.faults.film_forms import Form, film
from benchmarks.faults.films import seen, small_model
from benchmarks.faults.kills import MOST_IN_A_ROW, wrong

FILM = Form("mp4", frames=24)
LOOKS, PART_SECONDS, LIFETIME = 4, Fraction(2, 3), 1.0
WAITS, TAKEN = "another run is at", "exists; name a new file"
"""What a run says that leaves the film to another one, and one that finds it done."""

ALIKE = 1.0
"""Mean difference in levels: after a kill, faces are restored beside others than without."""


def campaign(kills: int, folder: Path, seed: int, machines: bool = False) -> Iterator[Counter[str]]:
    """Counts, each time more of them are known.

    Args:
        machines: every run takes itself for a machine of its own.
    """
    model, source, log = small_model(folder), folder / "film.mp4", folder / "film.log"
    made = run(lambda: film(source, FILM), log)
    if made.status != 0:
        raise RuntimeError(f"no film: {made.output}")

    def command(out: Path) -> Callable[[], object]:
        words = ("restore", source, "-o", out, "--device", "cpu", "--model", model, "--batch", 2)
        return lambda: _run(words, machines)

    whole, counts, rng = folder / "whole" / "film.mp4", Counter[str](), Random(seed)
    undisturbed, changes = changes_of(command(whole), log, whole.parent)
    if undisturbed.status != 0:
        raise RuntimeError(f"it fails without any kill: {undisturbed.output}")
    content = source.read_bytes()
    while counts["kills"] < kills:
        out = folder / "killed" / "film.mp4"
        shutil.rmtree(out.parent, ignore_errors=True)
        counts += _round(command(out), out, log, whole, rng, undisturbed.seconds, changes)
        counts["lost"] += source.read_bytes() != content
        yield counts


def _run(words: tuple[object, ...], machines: bool) -> None:
    from iqp_adapter.film import looked, restore
    from iqp_adapter.store import leases

    looked.LOOKS, restore.PART_SECONDS = LOOKS, PART_SECONDS
    if machines:
        leases.LIFETIME, leases._TOUCHED = LIFETIME, LIFETIME / 5
        name = f"machine-{os.getpid()}"
        socket.gethostname = lambda: name
    iqp(*words)()


def _round(
    work: Callable[[], object], out: Path, log: Path, whole: Path, rng: Random, seconds: float, changes: int
) -> Counter[str]:
    """Runs, sometimes two at once, that are killed again and again, and then one that ends."""
    counts: Counter[str] = Counter()
    for _ in range(rng.randint(1, MOST_IN_A_ROW)):
        number = rng.choice((signal.SIGKILL, signal.SIGTERM))
        kills = [Kill.at_random(rng, seconds, changes, number)] + [Kill()] * (rng.random() < 0.25)
        logs = [log.with_name(f"film-{place}.log") for place in range(len(kills))]
        for ended in run_all([(work, own, kill) for own, kill in zip(logs, kills, strict=True)], out.parent):
            counts += _ended(ended)
        if out.exists():
            counts["half-written"] += _is_other(out, whole)
            break
    time.sleep(1.2 * LIFETIME)  # whatever the kind of machine
    counts += _ended(run(work, log))
    counts["lost"] += not out.exists()
    counts["wrong"] += out.exists() and _is_other(out, whole)
    counts["left over"] += sum(path != out for path in out.parent.iterdir())
    return counts


def _ended(ended: Ended) -> Counter[str]:
    """What became of a run."""
    killed = ended.status in (-signal.SIGKILL, *TOLD_TO_END)
    counts = wrong(ended) + Counter(kills=int(killed))
    counts["left to another run"] += WAITS in ended.output
    counts["found done"] += TAKEN in ended.output
    counts["ended whole"] += ended.status == 0
    counts["failed afterwards"] += not killed and ended.status != 0 and not _is_refusal(ended)
    return counts


def _is_refusal(ended: Ended) -> bool:
    return ended.status == 2 and (WAITS in ended.output or TAKEN in ended.output)


def _is_other(found: Path, wanted: Path) -> bool:
    """Whether a film is not whole or another one."""
    if found.read_bytes() == wanted.read_bytes():
        return False
    return run(lambda: _compare(found, wanted), found.parent.with_suffix(".compared")).status != 0


def _compare(found: Path, wanted: Path) -> None:
    one, other = seen(found), seen(wanted)
    differs = [np.abs(a - b).mean() > ALIKE for a, b in zip(one.pictures, other.pictures, strict=True)]
    if any(differs) or one.sound != other.sound or not np.array_equal(one.times, other.times):
        raise SystemExit(1)
