"""What two settings of glibc's allocator save a training step on a CPU: seconds, and the peak memory that they cost.

python -m benchmarks.native.allocator --threads 2

A step is one of the first stage of the native model, whose codebooks learn from pictures of 256 px. By default glibc
gives large blocks back to the system, and the next step asks for them again, page by page.
"""

from __future__ import annotations

import os
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import torch
import typer

from benchmarks.common.peak_memory import alone, peak_memory
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json
from benchmarks.common.timing import ratio, seconds
from iqp_adapter.native import Tokenizer, preset
from iqp_adapter.training import losses

KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"}
"""Blocks are never mapped one by one, and never given back."""

WAYS: dict[str, dict[str, str]] = {"default": {}, "kept": KEEP}


def steps(batch: int, count: int, threads: int) -> dict[str, Any]:
    """Seconds of so many steps after a first one, and the peak memory of the process in MiB."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    tokenizer = Tokenizer(preset("tiny-256")).to(memory_format=torch.channels_last)
    adam = torch.optim.AdamW(tokenizer.parameters())
    hq = torch.rand(batch, 3, 256, 256).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        losses.l1(tokenizer(hq, torch.ones(batch))[0], hq).backward()
        adam.step()
        adam.zero_grad()

    step()
    return {"seconds": [seconds(step) for _ in range(count)], "peak": peak_memory()}


def measured(way: str, batch: int, count: int, threads: int) -> dict[str, Any]:
    """In a process of its own, since the allocator reads its settings when a process starts."""
    with patch.dict(os.environ, WAYS[way]):
        return alone(steps, batch, count, threads)


def main(
    batch: Annotated[int, typer.Option(min=1)] = 8,
    count: Annotated[int, typer.Option(min=1, help="steps of a process")] = 3,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    threads: int = 2,
    out: OutOption = RESULTS / "native",
) -> None:
    """Measures, prints and writes."""
    runs = [{way: measured(way, batch, count, threads) for way in WAYS} for _ in range(rounds)]
    times = {way: np.array([np.median(run[way]["seconds"]) for run in runs]) for way in WAYS}
    peaks = {way: float(np.median([run[way]["peak"] for run in runs])) for way in WAYS}
    facts: dict[str, Any] = {"batch": batch, "steps": count, "rounds": rounds, "threads": threads, "settings": KEEP}
    facts |= {"seconds": {way: float(np.median(each)) for way, each in times.items()}, "peak MiB": peaks}
    facts |= {"kept over default": ratio(times["kept"], times["default"])}
    typer.echo(f"kept over default: {facts['kept over default']['ratio']:.2f} of the time, {peaks} MiB")
    write_json(out / "allocator.json", facts | provenance(0))


if __name__ == "__main__":
    typer.run(main)
