"""The table of engines that ships: which passed the guard, the fastest first.

python -m benchmarks.engines.make_table

Reads what `benchmarks.engines.guard` and `benchmarks.engines.speed` have written. A kind of restorer whose full size
was timed is ordered by that, any other by the seconds of the guard. A way that is no faster than exact torch is left
out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.common.results import RESULTS, ROOT, write_json

EXACT = "torch fp32"


def seconds_of(name: str, guard: Mapping[str, Any], speed: Mapping[str, Any]) -> dict[str, float]:
    """By way, for one face."""
    timed = speed["subjects"].get(TIMED_AS.get(name, name))
    if timed is None:
        return {way: found["seconds"] for way, found in guard["subjects"][name]["ways"].items()}
    return {way: float(np.median(found["seconds"])) for way, found in timed.items()}


TIMED_AS = {"IQPFR": "tiny"}
"""Names of restorers whose speed was measured under another one."""


def ways_of(name: str, guard: Mapping[str, Any], speed: Mapping[str, Any]) -> list[list[str]]:
    """Engines and precisions that passed, the fastest first; the last one is exact torch."""
    found, seconds = guard["subjects"][name]["ways"], seconds_of(name, guard, speed)
    passed = [way for way in found if found[way]["passed"] and seconds.get(way, np.inf) <= seconds[EXACT]]
    return [way.split() for way in sorted(passed, key=seconds.__getitem__)]


def main(
    results: Annotated[Path, typer.Option(help="folder of guard.json and speed.json")] = RESULTS / "engines",
    out: Annotated[Path, typer.Option("-o", "--out")] = ROOT / "iqp_adapter" / "engines" / "passed.json",
) -> None:
    guard, speed = (json.loads((results / name).read_text()) for name in ("guard.json", "speed.json"))
    write_json(out, {name: ways_of(name, guard, speed) for name in guard["subjects"]})


if __name__ == "__main__":
    typer.run(main)
