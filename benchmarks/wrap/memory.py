"""What the dial costs in memory: the peak of a process that calls the wrapped host, over one that calls the bare host.

python -m benchmarks.wrap.memory --threads 2
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.common.peak_memory import alone, peak_memory
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json
from benchmarks.wrap.full_size import ALL, HOSTS, HostOption, build, pictures, wrapped

WAYS: dict[str, dict[str, float] | None] = {"bare": None, "fixed quality": {}, "per-call quality": {"quality": 0.5}}
"""The arguments of each call; the bare host takes none."""

TARGET = 1.05


@torch.no_grad()
def measure(name: str, way: str, threads: int) -> dict[str, float]:
    """MiB before the first call, and the peak after two, in one process."""
    torch.set_num_threads(threads)
    model: Any = build(name)
    if WAYS[way] is not None:
        model = wrapped(model)
        model.quality = 0.9
    before = peak_memory()
    for _ in range(2):
        model(pictures(), **HOSTS[name].arguments, **(WAYS[way] or {}))
    return {"before_MiB": before, "peak_MiB": peak_memory()}


def compare(name: str, rounds: int, threads: int) -> dict[str, Any]:
    """Medians over rounds, the ways in turn, and their peaks over that of the bare host."""
    runs = [{way: alone(measure, name, way, threads) for way in WAYS} for _ in range(rounds)]
    median = {way: {key: float(np.median([run[way][key] for run in runs])) for key in runs[0][way]} for way in WAYS}
    for facts in median.values():
        facts["ratio"] = facts["peak_MiB"] / median["bare"]["peak_MiB"]
    return median


def main(
    host: HostOption = ALL,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    threads: int = 2,
    out: OutOption = RESULTS / "wrap",
) -> None:
    """Measures, prints and writes the peaks."""
    results = {name: compare(name, rounds, threads) for name in host}
    for name, result in results.items():
        for way, facts in result.items():
            typer.echo(f"{name}, {way}: {facts['peak_MiB']:.0f} MiB, {facts['ratio']:.3f} of bare, target {TARGET}")
    write_json(out / "memory.json", {"threads": threads, "target": TARGET, "hosts": results} | provenance(0))


if __name__ == "__main__":
    typer.run(main)
