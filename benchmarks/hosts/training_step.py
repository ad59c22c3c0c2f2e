"""What a training step costs at full size: an adapter on a frozen CodeFormer against fine-tuning all of it.

python -m benchmarks.hosts.training_step --threads 2

Both learn the codes of the same VQGAN from the same pictures; weights are random, which changes no cost.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import nn

import iqp_adapter as iqp
from benchmarks.common.one_update import one_update
from benchmarks.common.peak_memory import alone, peak_memory
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json
from benchmarks.common.timing import in_turn, ratio
from benchmarks.hosts.adapt import FineTuning
from benchmarks.wrap.full_size import build, pictures
from iqp_adapter.hosts.registry import hosts
from iqp_adapter.scoring.scorer import Scorer
from iqp_adapter.training.config import StageConfig
from iqp_adapter.training.guard import Guard
from iqp_adapter.training.stages import CodeImitation, Stage

HOST = "codeformer"
SETTINGS = StageConfig(steps=1, batch=1, rate=1e-4)
ADAPTER, FULL = "adapter", "full fine-tuning"


def stage_of(way: str) -> Stage:
    host = build(HOST)
    teacher = deepcopy(host).requires_grad_(False)
    if way == FULL:
        return FineTuning(SETTINGS, nn.Identity(), host, hosts()[HOST], teacher)
    return CodeImitation(SETTINGS, nn.Identity(), iqp.wrap(host, sites="codes"), Guard(Scorer(), []), teacher)


def step_of(way: str, batch: int) -> Callable[[], None]:
    return one_update(stage_of(way), pictures(batch) / 2 + 0.5)


def time_steps(batch: int, rounds: int) -> dict[str, Any]:
    times = in_turn({way: step_of(way, batch) for way in (ADAPTER, FULL)}, rounds)
    medians = {way: float(np.median(values)) for way, values in times.items()}
    return {"seconds": medians, "adapter over full": ratio(times[ADAPTER], times[FULL])}


def peak_of(way: str, batch: int, threads: int) -> float:
    """MiB after three steps."""
    torch.set_num_threads(threads)
    update = step_of(way, batch)
    for _ in range(3):
        update()
    return peak_memory()


def learning_of(way: str) -> int:
    [learning] = stage_of(way).models().values()
    return sum(parameter.numel() for parameter in learning.parameters() if parameter.requires_grad)


def main(
    batch: Annotated[int, typer.Option(min=1)] = 1,
    rounds: Annotated[int, typer.Option(min=1)] = 15,
    threads: int = 2,
    out: OutOption = RESULTS / "hosts",
) -> None:
    """Measures, prints and writes."""
    torch.set_num_threads(threads)
    peaks = {way: alone(partial(peak_of, way, batch, threads)) for way in (ADAPTER, FULL)}
    facts: dict[str, Any] = {"batch": batch, "threads": threads, "rounds": rounds, "precision": "fp32"}
    facts |= {"parameters that learn": {way: learning_of(way) for way in (ADAPTER, FULL)}}
    facts |= {"peak MiB": peaks, "peak, adapter over full": peaks[ADAPTER] / peaks[FULL]} | time_steps(batch, rounds)
    typer.echo(f"adapter over full: {facts['adapter over full']['ratio']:.3f} of the time")
    typer.echo(f"and {facts['peak, adapter over full']:.3f} of the memory")
    write_json(out / "training_step.json", facts | provenance(0))


if __name__ == "__main__":
    typer.run(main)
