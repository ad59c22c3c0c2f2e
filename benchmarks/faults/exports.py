"""Whole exports of a small restorer, the ways to run one, and how that may end."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.common.results import ROOT
from benchmarks.faults.children import Ended, bound_memory, iqp, run
from benchmarks.faults.export_damages import PROGRAMS, Exports

FURTHER_BYTES = 3 * 2**30
"""More memory than any of these small programs may need."""

FAULTS = ("traces", "hangs", "crashes", "unnamed", "wrong", "half-written", "left over", "failed afterwards")


def exports_in(folder: Path) -> Exports:
    """Exports of a small restorer that has a dial."""

    def made() -> None:
        from iqp_adapter.engines.export import export

        for format in PROGRAMS:
            export(small(), folder / "exports" / format, format)
            export(small(seed=1), folder / "exports" / f"other {format}", format)

    ended = run(made, folder / "made.log")
    if ended.status != 0:
        raise RuntimeError(f"nothing to damage: {ended.output}")
    return {path.name: path for path in (folder / "exports").iterdir()}


def small(seed: int = 0) -> Any:
    """The restorer of the tests, a convolution."""
    sys.path.insert(0, str(ROOT / "tests"))
    from native_pieces import Plain

    return Plain(seed)


# -- ways to run an export


@dataclass(frozen=True)
class Door:
    """A way to run an export: the work, and what it made in a folder."""

    work: Callable[[Path, Path], Callable[[], object]]
    made: Callable[[Path], np.ndarray | None]


def loading() -> Door:
    def work(place: Path, out: Path) -> Callable[[], object]:
        return lambda: load(place, out)

    return Door(work, lambda out: np.load(out / "restored.npy"))


def load(place: Path, out: Path) -> None:
    """Restores seeded pictures by `load`, and ends as the commands do."""
    import iqp_adapter
    from iqp_adapter.cli.terminal import say
    from iqp_adapter.store.words import USER_ERRORS

    bound_memory(FURTHER_BYTES)
    try:
        lq = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        restored = iqp_adapter.load(place).restore(lq, quality=0.5, scale=1.0)
    except USER_ERRORS as error:
        say(f"iqp: {error}", error=True)
        raise SystemExit(2) from None
    out.mkdir()
    np.save(out / "restored.npy", restored.numpy())


def restoring(faces: Path) -> Door:
    def work(place: Path, out: Path) -> Callable[[], object]:
        asked = ("--quality", 0.5, "--scale", 1, "--aligned", "--device", "cpu")
        return iqp("restore", faces, "-o", out, "--model", place, *asked)

    return Door(work, lambda out: np.stack([np.asarray(Image.open(path)) for path in sorted(out.glob("*.png"))]))


def benchmarking(faces: Path) -> Door:
    def work(place: Path, out: Path) -> Callable[[], object]:
        asked = ("--hq", faces, "--size", 64, "--quality", 0.5, "-m", "psnr", "--device", "cpu", "--no-pictures")
        return iqp("bench", *asked, "--model", place, "-o", out)

    def made(out: Path) -> np.ndarray:
        report = json.loads((out / "report.json").read_text())
        return np.array([value for row in report["values"] for value in _numbers_in(row)])

    return Door(work, made)


def _numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, (int, float)):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _numbers_in(inner)


def judged(ended: Ended, named: str) -> Counter[str]:
    """How a command ended: a refusal is one line with the name of what is refused."""
    counts = Counter(traces=int(ended.traced), hangs=int(ended.status is None), crashes=int((ended.status or 0) < 0))
    counts["exports run"] += ended.status == 0
    counts["exports that failed on pictures"] += ended.status == 1
    if ended.status == 2:
        counts["exports refused"] += 1
        counts["unnamed"] += len(ended.output.strip().splitlines()) != 1 or named not in ended.output
        counts["traces"] += "\x1b" in ended.output or len(ended.output) > 2000
    return counts
