"""What the full-size model costs: parameters by part, and time and memory of one forward and one backward at 512 px.

python -m benchmarks.native.paper_size --threads 2
"""

from __future__ import annotations

import os
import time
from typing import Any

import torch
import typer

from benchmarks.common.peak_memory import alone, peak_memory
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json
from iqp_adapter.native import IQPFR, Tokenizer, preset

PRESET = "paper"


def parameters(module: torch.nn.Module) -> dict[str, int]:
    """Numbers that each part stores, and all: weights, and the codebooks, which are buffers."""
    parts = {name: sum(x.numel() for x in part.state_dict().values()) for name, part in module.named_children()}
    return parts | {"all": sum(x.numel() for x in module.state_dict().values())}


def restore(model: IQPFR, lq: torch.Tensor) -> None:
    model.restore(lq, quality=0.9)


def train(model: IQPFR, lq: torch.Tensor) -> None:
    """One forward and one backward through everything that stage 2 trains."""
    restored, logits = model(lq, quality=torch.tensor([0.9]), fidelity=1.0)
    (restored.square().mean() + sum(x.logsumexp(-1).mean() for x in logits)).backward()


RUNS = {"restore": restore, "forward and backward": train}


def measure(run: str, threads: int) -> dict[str, float]:
    """One run in a separate process: seconds of clock and of processors, and peak memory before and after it."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = IQPFR(preset(PRESET))
    lq = torch.rand(1, 3, model.resolution, model.resolution)
    before, started, worked = peak_memory(), time.perf_counter(), time.process_time()
    RUNS[run](model, lq)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_MiB": peak_memory(), "peak_MiB_before": before}


def main(threads: int = 2, out: OutOption = RESULTS / "native") -> None:
    """Batch 1, float32, CPU; the first call, which is the one that a single picture takes."""
    config, load = preset(PRESET), os.getloadavg()[0]
    runs: dict[str, Any] = {run: alone(measure, run, threads) for run in RUNS}
    content = {
        "preset": {"name": PRESET} | config.to_dict(),
        "parameters": {"IQPFR": parameters(IQPFR(config)), "Tokenizer": parameters(Tokenizer(config))},
        "threads": threads,
        "load_before": load,
        "runs": runs,
    }
    for run, facts in runs.items():
        typer.echo(f"{run}: {facts['seconds']:.1f} s, peak {facts['peak_MiB']:.0f} MiB")
    write_json(out / "paper_size.json", content | provenance(0))


if __name__ == "__main__":
    typer.run(main)
