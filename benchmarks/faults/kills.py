"""Kills at random moments over restoring, training and benchmarking, each followed by the same command again."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from benchmarks.faults.children import Ended, Kill, changes_of, iqp, run

MOST_IN_A_ROW = 4
"""Kills of one piece of work before it may end."""

TEMPORARY = re.compile(r"\.iqp-[0-9a-f]{8}-\d+-")
"""Names of files that are being written."""

LEVELS = 4
"""By so many levels a face may differ where a run that went on restored it beside other faces than at first."""

Files = dict[str, Path]
"""Every file by its path in a folder."""


@dataclass(frozen=True)
class Work:
    """A command that writes into a folder, and which of the files there have to be equal after any number of kills."""

    name: str
    command: Callable[[Path], Callable[[], object]]
    results: Callable[[Path], Files]
    differs: Callable[[Path, Path], bool]
    """Whether a result, found and wanted, is not the same."""


def restoring(photos: Path) -> Work:
    def command(out: Path) -> Callable[[], object]:
        report = out.with_suffix(".json")
        return iqp("restore", photos, "-o", out, "--compare", "--batch", 2, "--device", "cpu", "--report", report)

    return Work("restore", command, lambda out: files_of(out, lambda path: path.suffix == ".png"), other_picture)


def training(faces: Path, config: Path) -> Work:
    config.write_text(TRAINING)
    return Work(
        "train",
        lambda out: iqp("train", "native", "--config", config, "--hq", faces, "-o", out),
        lambda out: files_of(out, lambda path: path.name in ("model.safetensors", "config.json")),
        lambda found, wanted: found.read_bytes() != wanted.read_bytes(),
    )


def benchmarking(faces: Path) -> Work:
    def command(out: Path) -> Callable[[], object]:
        words = ("--hq", faces, "--size", 64, "--quality", "best", "-m", "psnr", "-m", "iqp-lite", "--device", "cpu")
        return iqp("bench", *words, "-o", out)

    return Work("bench", command, lambda out: files_of(out, lambda path: path.name == "report.json"), _other_numbers)


def campaign(work: Work, kills: int, folder: Path, seed: int) -> Iterator[Counter[str]]:
    """Counts, each time more of them are known."""
    log, done = folder / f"{work.name}.log", folder / f"{work.name}-undisturbed"
    undisturbed, changes = changes_of(work.command(done), log, done)
    if undisturbed.status != 0:
        raise RuntimeError(f"{work.name} fails without any kill: {undisturbed.output}")
    wanted, counts, rng = work.results(done), Counter[str](), Random(seed)
    while counts["kills"] < kills:
        out = folder / f"{work.name}-killed"
        shutil.rmtree(out, ignore_errors=True)
        counts += _round(work, out, log, wanted, rng, undisturbed.seconds, changes)
        yield counts


def _round(work: Work, out: Path, log: Path, wanted: Files, rng: Random, seconds: float, changes: int) -> Counter[str]:
    """One piece of work that is killed again and again, and then ends."""
    counts: Counter[str] = Counter()
    foreign = out / "of-somebody-else.txt"
    for _ in range(rng.randint(1, MOST_IN_A_ROW)):
        ended = run(work.command(out), log, Kill.at_random(rng, seconds, changes), out)
        counts["kills" if (ended.status or 0) < 0 else "ended before the kill"] += 1
        counts += wrong(ended)
        if out.is_dir() and work.name == "restore":
            foreign.write_text("mine")
            counts["half-written"] += different(work, out, wanted)
    ended = run(work.command(out), log)
    counts += wrong(ended)
    found = work.results(out)
    counts["failed afterwards"] += ended.status != 0
    counts["lost"] += len(wanted.keys() - found.keys()) + (foreign.exists() and foreign.read_text() != "mine")
    counts["wrong"] += different(work, out, wanted)
    counts["left over"] += sum(TEMPORARY.match(path.name) is not None for path in out.rglob("*"))
    return counts


def wrong(ended: Ended) -> Counter[str]:
    return Counter(traces=int(ended.traced), hangs=int(ended.status is None))


def different(work: Work, out: Path, wanted: Files) -> int:
    found = work.results(out)
    return sum(work.differs(found[name], wanted[name]) for name in found.keys() & wanted.keys())


def other_picture(found: Path, wanted: Path) -> bool:
    """Whether a picture is another one, broken, or off by more than `LEVELS`."""
    try:
        pixels, right = (np.asarray(Image.open(path)).astype(int) for path in (found, wanted))
    except (OSError, SyntaxError):
        return True
    return pixels.shape != right.shape or int(np.abs(pixels - right).max()) > LEVELS


def _other_numbers(found: Path, wanted: Path) -> bool:
    """Whether the numbers of a report differ; its dates and times may."""
    first, second = (json.loads(path.read_text())["values"] for path in (found, wanted))
    return first != second


def files_of(folder: Path, counts: Callable[[Path], bool]) -> Files:
    files = (path for path in folder.rglob("*") if path.is_file() and counts(path))
    return {str(path.relative_to(folder)): path for path in files}


def photos_in(folder: Path, number: int) -> Path:
    """Small photos of one face each; no two have the same size."""
    from skimage.data import astronaut

    folder.mkdir(parents=True)
    for place in range(number):
        side = 300 + 8 * place
        cut = astronaut()[:side, 512 - side - 20 * (place % 3) :][:, :side]
        Image.fromarray(np.ascontiguousarray(cut)).resize((side // 2, side // 2)).save(folder / f"photo_{place}.png")
    return folder


def faces_in(folder: Path, number: int) -> Path:
    """Squares that stand for aligned faces."""
    from skimage.data import astronaut

    folder.mkdir(parents=True)
    for place in range(number):
        Image.fromarray(astronaut()[8 * place : 8 * place + 192, 140:332]).save(folder / f"p{place}_1.png")
    return folder


TRAINING = """\
preset: tiny-256
changes: {resolution: 64, patch: 4, widths: [16, 24, 32], common_codes: 16, plus_codes: 8, code_dim: 8, dim: 32,
          layers: 1, heads: 4, token_dim: 16}
precision: fp32
save_every: 2
watch_every: 1000
stages:
  1: {steps: 8, batch: 2, rate: 0.001, warmup: 2, options: {adversarial_from: 4, revive_every: 4}}
  2: {steps: 6, batch: 2, rate: 0.001, warmup: 2, options: {pictures: 2}}
"""
