"""What the dial costs in time: a call of the wrapped host over one of the bare host, one picture of 512 px.

python -m benchmarks.wrap.latency --threads 2

Bare, fixed quality and per-call quality in turn; ratios are medians over the rounds. Nothing else should run meanwhile.
"""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from random import Random
from typing import Annotated, Any

import torch
import typer

from benchmarks.common.results import RESULTS, OutOption, provenance, write_json
from benchmarks.common.timing import in_turn, ratio
from benchmarks.wrap.full_size import ALL, HOSTS, HostOption, build, pictures, wrapped

TARGETS = {"fixed quality": 1.02, "per-call quality": 1.03}


@torch.no_grad()
def measure(name: str, rounds: int) -> dict[str, Any]:
    bare = build(name)
    model = wrapped(copy.deepcopy(bare))
    model.quality = 0.9
    x, arguments, draw = pictures(), HOSTS[name].arguments, Random(0).random
    times = in_turn(
        {
            "bare": partial(bare, x, **arguments),
            "fixed quality": partial(model, x, **arguments),
            "per-call quality": lambda: model(x, **arguments, quality=draw()),
        },
        rounds,
    )
    ratios = {way: {**ratio(times[way], times["bare"]), "target": target} for way, target in TARGETS.items()}
    return {**ratios, "seconds": times}


def main(
    host: HostOption = ALL,
    rounds: Annotated[int, typer.Option(min=1, help="At least 15 for numbers that are kept.")] = 15,
    threads: int = 2,
    out: OutOption = RESULTS / "wrap",
) -> None:
    """Measures, prints and writes the ratios."""
    torch.set_num_threads(threads)
    results = {name: measure(name, rounds) for name in host}
    for name, result in results.items():
        for way, target in TARGETS.items():
            low, high = result[way]["interval"]
            typer.echo(f"{name}, {way}: {result[way]['ratio']:.4f} [{low:.4f}, {high:.4f}], target {target}")
    write_json(Path(out) / "latency.json", {"threads": threads, "hosts": results} | provenance(0))


if __name__ == "__main__":
    typer.run(main)
