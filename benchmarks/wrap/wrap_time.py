"""How long wrapping itself takes, of a host that is in memory already, and unwrapping.

python -m benchmarks.wrap.wrap_time --threads 2
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import nn

import iqp_adapter as iqp
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json
from benchmarks.common.timing import in_turn, seconds
from benchmarks.wrap.full_size import ALL, HostOption, build

TARGET = 0.2
"""Seconds."""


class Wrapping:
    """Wraps a host and unwraps it again."""

    def __init__(self, host: nn.Module) -> None:
        self.host = host

    def wrap(self) -> None:
        self.model = iqp.wrap(self.host)

    def unwrap(self) -> None:
        self.model.unwrap()


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Seconds of the first time in this process, which reads the host files, and of later ones."""
    wrapping = Wrapping(build(name))
    first = seconds(wrapping.wrap)
    wrapping.unwrap()
    times = in_turn({"wrap": wrapping.wrap, "unwrap": wrapping.unwrap}, rounds)
    medians = {way: float(np.median(values)) for way, values in times.items()}
    return {"first": first, **medians, "target": TARGET, "seconds": times}


def main(
    host: HostOption = ALL,
    rounds: Annotated[int, typer.Option(min=1, help="At least 15 for numbers that are kept.")] = 25,
    threads: int = 2,
    out: OutOption = RESULTS / "wrap",
) -> None:
    """Measures, prints and writes."""
    torch.set_num_threads(threads)
    results = {name: measure(name, rounds) for name in host}
    for name, facts in results.items():
        typer.echo(f"{name}: first {facts['first']:.3f} s, then {facts['wrap']:.3f} s, target {TARGET} s")
    write_json(out / "wrap_time.json", {"threads": threads, "hosts": results} | provenance(0))


if __name__ == "__main__":
    typer.run(main)
