"""What an update costs at full size, 512 px, on this machine's GPU: seconds and memory, beside what was counted for it.

python -m benchmarks.hosts.training_gpu

The same networks, recipes and updates as in `benchmarks.hosts.gpu_estimate`, in bf16. Weights and pictures are random,
which changes no cost. Updates are timed one by one, each until the GPU is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.common.one_update import one_update
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json, write_text
from benchmarks.common.timing import seconds
from benchmarks.hosts.gpu_estimate import WAYS, Work
from benchmarks.wrap.full_size import ALL, HostOption, pictures
from iqp_adapter.bench.text import table

WARM_UP = 3
"""Updates that are not timed."""


def step_of(work: Work, batch: int, device: torch.device) -> Callable[[], None]:
    """An update in bf16; it returns when the device is done."""
    for network in work.networks:
        network.to(device)
    update = one_update(work.stage, (pictures(batch) / 2 + 0.5).to(device))

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            update()
        torch.accelerator.synchronize(device)

    return step


def measured(name: str, way: str, batch: int, rounds: int, device: torch.device) -> dict[str, Any]:
    """Median seconds of an update, the middle half of them, and the most memory that tensors took, in GiB."""
    step = step_of(WAYS[way](name), batch, device)
    for _ in range(WARM_UP):
        step()
    torch.cuda.reset_peak_memory_stats(device)
    times = [seconds(step) for _ in range(rounds)]
    low, median, high = np.quantile(times, (0.25, 0.5, 0.75)).tolist()
    return {"seconds": median, "middle half": [low, high], "GiB": torch.cuda.max_memory_allocated(device) / 2**30}


def rows_of(facts: dict[str, dict[str, dict[str, Any]]], batch: int, samples: int) -> Iterator[list[str]]:
    yield ["host", "what learns", "seconds an update", "pictures a second", "GiB", "hours"]
    for name, ways in facts.items():
        for way, one in ways.items():
            hours = one["seconds"] / batch * samples / 3600
            cells = (f"{one['seconds']:.3f}", f"{batch / one['seconds']:.0f}", f"{one['GiB']:.1f}", f"{hours:.2g}")
            yield [name, way, *cells]


def main(
    host: HostOption = ALL,
    steps: Annotated[int, typer.Option(min=1, help="updates of the training whose hours are told")] = 20_000,
    batch: Annotated[int, typer.Option(min=1, help="pictures of an update of it")] = 16,
    at_once: Annotated[int, typer.Option(min=1, help="pictures on the GPU at once")] = 4,
    rounds: Annotated[int, typer.Option(min=1)] = 20,
    out: OutOption = RESULTS / "hosts",
) -> None:
    """Measures, and writes what it measured."""
    if not torch.cuda.is_available():
        raise typer.BadParameter("this machine has no CUDA device; benchmarks.hosts.gpu_estimate needs none")
    device = torch.device("cuda")
    facts = {name: {way: measured(name, way, at_once, rounds, device) for way in WAYS} for name in host}
    gpu = torch.cuda.get_device_name(device)
    settings = {"steps": steps, "batch": batch, "at once": at_once, "rounds": rounds, "precision": "bf16", "gpu": gpu}
    note = (
        f"Medians of {rounds} updates of {at_once} pictures of 512 px in bf16 on one {gpu}. Hours are those of "
        f"{steps:,} updates of {batch} pictures at this pace; reading pictures and evaluation come on top."
    )
    write_json(out / "training_gpu.json", {"settings": settings, "hosts": facts} | provenance(0))
    rows = table(list(rows_of(facts, at_once, steps * batch)))
    write_text(out / "training_gpu.md", f"# Training at full size on one GPU, measured\n\n{note}\n\n{rows}\n")


if __name__ == "__main__":
    typer.run(main)
