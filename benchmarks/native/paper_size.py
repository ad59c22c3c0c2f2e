"""What the full-size models cost at 512 px beside stock CodeFormer: parameters, a restoration, and a step of training.

python -m benchmarks.native.paper_size --threads 1

`paper` is the model of the paper's authors, whose trunk is CodeFormer's; `iqpfr-512` is ours of that size. Weights and
pictures are random, which changes no cost. Needs the extra `spandrel`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn

from benchmarks.common.one_update import one_update
from benchmarks.common.peak_memory import alone, peak_memory
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json, write_text
from benchmarks.wrap.full_size import build, pictures
from iqp_adapter.bench.text import table
from iqp_adapter.core.codes import Codes
from iqp_adapter.hosts.codes import HostCodes
from iqp_adapter.hosts.registry import hosts
from iqp_adapter.native import IQPFR, IQPIR, Tokenizer, preset
from iqp_adapter.native.iqpir import IQPIRTokenizer
from iqp_adapter.scoring.perceptual import perceptual_distance
from iqp_adapter.scoring.scales import lite_scale
from iqp_adapter.scoring.scorer import Scorer
from iqp_adapter.training import losses
from iqp_adapter.training.config import StageConfig
from iqp_adapter.training.stages import Batch, PredictionStage, ScorePredictionStage, Stage, SummedCodebookStage, Terms
from iqp_adapter.training.target_codes import TargetCodes

STOCK, PAPER, OURS = "CodeFormer", "paper", "iqpfr-512"
SETTINGS = StageConfig(steps=2, batch=1, rate=1e-4, options={})

Seconds = list[float]
Work = Callable[[], Any]


class StockPrediction(Stage):
    """Stage II of CodeFormer: encoder and Transformer learn the codes of the target, which are given."""

    def __init__(self, host: nn.Module, codes: Tensor):
        super().__init__(SETTINGS, nn.Identity())
        self.host, self.codes, self.spec = host, codes, hosts()["codeformer"]
        for frozen in (host.generator, host.quantize, host.fuse_convs_dict):
            frozen.requires_grad_(False)

    def models(self) -> dict[str, nn.Module]:
        return {"host": self.host}

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        assert self.spec.codes is not None
        access = self.spec.codes(self.host)
        assert access is not None
        logits = HostCodes(self.host, access, partial(self.spec.restore, self.host, batch.lq)).logits()
        yield "host", {"code": losses.code_cross_entropy(logits, self.codes)}


class GivenCodes(TargetCodes):
    """The codes of the target as they are read from disk, where each was computed once."""

    def __init__(self, codes: Codes):
        self.codes = codes

    def __call__(self, hq: Tensor) -> Codes:
        return self.codes


def stock() -> Work:
    """As IQPIR is called: without the fidelity path."""
    return partial(torch.no_grad()(build("codeformer")), pictures(), weight=0)


def paper() -> Work:
    return partial(IQPIR(preset("paper")).eval().restore, pictures() / 2 + 0.5, quality="best")


def ours() -> Work:
    return partial(IQPFR(preset("iqpfr-512")).eval().restore, pictures() / 2 + 0.5, quality="best")


def stock_step() -> Work:
    [codes] = drawn_codes(1)
    return step_of(StockPrediction(build("codeformer"), codes))


def paper_step(quality: bool = False) -> Work:
    settings = StageConfig(2, 1, 1e-4, options={"quality_from": 0 if quality else 1e9})
    model, codes = IQPIR(preset("paper")), GivenCodes(drawn_codes(2))
    return step_of(ScorePredictionStage(settings, nn.Identity(), model, codes, Scorer("iqp-lite")))


def ours_step() -> Work:
    size = preset("iqpfr-512")
    tokenizer, model = Tokenizer(size), IQPFR(size, lite_scale())
    return step_of(PredictionStage(SETTINGS, perceptual_distance("lite0"), model, tokenizer))


def first_step() -> Work:
    settings = StageConfig(2, 1, 1e-4, options={"adversarial_from": 0})
    return step_of(SummedCodebookStage(settings, perceptual_distance("lite0"), IQPIRTokenizer(preset("paper"))))


RESTORATIONS: dict[str, Callable[[], Work]] = {STOCK: stock, PAPER: paper, OURS: ours}
STEPS: dict[str, Callable[[], Work]] = {
    STOCK: stock_step,
    PAPER: paper_step,
    f"{PAPER}, with the quality term": partial(paper_step, quality=True),
    OURS: ours_step,
    f"{PAPER}, stage 1": first_step,
}
"""One step of the stage that predicts codes, and one of stage 1 with its discriminator."""

KINDS = {"restoration": RESTORATIONS, "training step": STEPS}


def drawn_codes(books: int) -> Codes:
    return tuple(torch.randint(1024, (1, 256)) for _ in range(books))


def step_of(stage: Stage) -> Work:
    return one_update(stage, pictures() / 2 + 0.5)


def parameters(module: nn.Module) -> dict[str, int]:
    """Numbers that each part stores, and all: weights, and the codebooks, which may be buffers."""
    state = {name: value.numel() for name, value in module.state_dict().items()}
    parts: dict[str, int] = {}
    for name, count in state.items():
        parts[name.split(".")[0]] = parts.get(name.split(".")[0], 0) + count
    return parts | {"all": sum(state.values())}


def measure(kind: str, way: str, rounds: int, threads: int) -> tuple[Seconds, float]:
    """Seconds of processor of each round but the first, which is not counted, and the peak of memory in MiB."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    work, seconds = KINDS[kind][way](), []
    for _ in range(rounds + 1):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return seconds[1:], peak_memory()


def facts_of(kind: str, turns: int, rounds: int, threads: int) -> dict[str, dict[str, float]]:
    """Medians by way, each in a process of its own; the ways take turns."""
    taken: dict[str, list[tuple[Seconds, float]]] = {way: [] for way in KINDS[kind]}
    for _ in range(turns):
        for way, measured in taken.items():
            measured.append(alone(measure, kind, way, rounds, threads))
            typer.echo(f"{kind}, {way}: {measured[-1]}")
    base = np.median([seconds for seconds, _ in taken[STOCK]])
    stock_peak = max(peak for _, peak in taken[STOCK])
    facts = {}
    for way, measured in taken.items():
        seconds, peak = float(np.median([one for one, _ in measured])), max(peak for _, peak in measured)
        ratios = {f"seconds over {STOCK}": seconds / base, f"peak over {STOCK}": peak / stock_peak}
        facts[way] = {"seconds": seconds, "peak_MiB": peak} | ratios
    return facts


def rows_of(kind: str, facts: dict[str, dict[str, float]]) -> list[list[str]]:
    return [
        [kind, way, f"{one['seconds']:.1f}", f"{one[f'seconds over {STOCK}']:.2f}", f"{one['peak_MiB']:.0f}"]
        + [f"{one[f'peak over {STOCK}']:.2f}"]
        for way, one in facts.items()
    ]


def main(
    turns: Annotated[int, typer.Option(min=1)] = 2,
    rounds: Annotated[int, typer.Option(min=1)] = 1,
    threads: int = 1,
    out: OutOption = RESULTS / "native",
) -> None:
    """Batch 1, float32, CPU. Seconds are of the processor, so that others on the machine hardly count."""
    load = os.getloadavg()[0]
    runs = {kind: facts_of(kind, turns, rounds, threads) for kind in KINDS}
    counts = {STOCK: build("codeformer"), PAPER: IQPIR(preset("paper")), OURS: IQPFR(preset("iqpfr-512"))}
    settings = {"batch": 1, "precision": "fp32", "threads": threads, "turns": turns, "rounds": rounds}
    content = settings | {"load_before": load, "parameters": {way: parameters(one) for way, one in counts.items()}}
    head = ["work", "model", "seconds", f"over {STOCK}", "peak MiB", f"over {STOCK}"]
    rows = [row for kind, facts in runs.items() for row in rows_of(kind, facts)]
    note = (
        f"One picture of 512 px, float32, threads of a CPU: {threads}. Medians of {turns * rounds} measurements in "
        "seconds of the processor, after one that is not counted. A training step is one of the stage that predicts "
        f"codes, with the codes of the target given ({OURS} computes them, and decodes for its fidelity path)."
    )
    write_json(out / "paper_size.json", content | {"runs": runs} | provenance(0))
    write_text(out / "paper_size.md", f"# Cost at full size\n\n{note}\n\n{table([head, *rows])}\n")


if __name__ == "__main__":
    typer.run(main)
