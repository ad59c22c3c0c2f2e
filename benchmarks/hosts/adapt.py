"""Trains on top of a small host: its adapter, or the host itself without a condition, for equally many steps.

python -m benchmarks.hosts.adapt --run RUN --host codeformer --variant adapter --seed 0 --hq FACES/train

The variants: `adapter` learns on the frozen host, at the targets' quality; `finetuned` is the bare host that learns on
by the same objective; `filtered` does so from the better half of twice as many targets. Each goes into a folder of its
own in the host's run.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor, nn

from benchmarks.hosts import small
from benchmarks.hosts.stages import HostStage
from iqp_adapter import checkpoint
from iqp_adapter.cli.train import training_progress
from iqp_adapter.host import HostSpec
from iqp_adapter.host_codes import HostCodes
from iqp_adapter.registry import hosts
from iqp_adapter.training import losses
from iqp_adapter.training.adapter import AdapterTraining
from iqp_adapter.training.config import AdapterConfig, StageConfig
from iqp_adapter.training.run import Run
from iqp_adapter.training.stages import Batch, Terms

OBJECTIVE = {"l1": 2.0, "perceptual": 0.15, "code": 1.0}
STEPS = 400
ADAPTER = StageConfig(steps=STEPS, batch=8, rate=1e-3, warmup=50, ema=0.99, weights=OBJECTIVE)
FINETUNED = StageConfig(steps=STEPS, batch=8, rate=2e-4, warmup=50, ema=0.99, weights=OBJECTIVE)


class Variant(StrEnum):
    ADAPTER = "adapter"
    FINETUNED = "finetuned"
    FILTERED = "filtered"


class FineTuning(HostStage):
    """The bare host learns on by its adapter's objective, without a condition. Terms: code, or l1 and perceptual."""

    def __init__(self, config: StageConfig, perceptual: nn.Module, host: nn.Module, spec: HostSpec):
        super().__init__(config, perceptual, host)
        self.spec, self.before = spec, deepcopy(host).requires_grad_(False)

    def turns(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        if self.spec.codes is None:
            yield "host", self.pictures(2 * self.spec.restore(self.host, batch.lq) - 1, batch.hq)
        else:
            logits, wanted = self.codes(self.host, batch.lq).logits(), self.codes(self.before, batch.hq).nearest()
            yield "host", {"code": losses.code_cross_entropy(logits, wanted, smoothing=0.1)}

    def codes(self, host: nn.Module, pictures: Tensor) -> HostCodes:
        assert self.spec.codes is not None
        return HostCodes(host, self.spec.codes(host), partial(self.spec.restore, host, pictures))


class Filtering(FineTuning):
    """The same on the better half of every batch, which is twice as large."""

    def __init__(self, config: StageConfig, perceptual: nn.Module, host: nn.Module, spec: HostSpec):
        super().__init__(replace(config, batch=2 * config.batch), perceptual, host, spec)

    def turns(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        good = batch.quality.topk(len(batch.quality) // 2).indices
        kept = Batch(batch.hq[good], batch.lq[good], batch.quality[good], [batch.keys[index] for index in good])
        yield from super().turns(kept, step)


def load_host(name: str, run: Path, folder: str = "") -> nn.Module:
    """A trained small host, in eval mode; of a variant's folder, the host that learned on."""
    host = getattr(small, name)()
    _, state = checkpoint.load(run / (folder or name) / "model")
    checkpoint.load_strict(host, state, source=str(run))
    return host.eval()


def train_adapter(config: AdapterConfig, host: nn.Module, hq: Path, out: Path, watch: Path | None) -> None:
    training = AdapterTraining(config, host, hq, out, watch)
    with training_progress("adapter", config.stage.steps) as progress:
        training.run(progress)


def train_host(
    kind: type[FineTuning], config: AdapterConfig, host: nn.Module, spec: HostSpec, hq: Path, out: Path, watch: Path
) -> None:
    run = Run(config, small.RESOLUTION, hq, out, watch)
    with training_progress(out.name, config.stage.steps) as progress:
        network = run.train("host", 0, lambda: kind(config.stage, run.perceptual(), host, spec), progress)
    checkpoint.save(out / "model", network.state_dict(), {"host": spec.name})


def main(
    run: Annotated[Path, typer.Option(help="folder of the host's run; the variant's goes into it")],
    hq: Annotated[Path, typer.Option(help="folder of good, aligned faces")],
    host: str = "restoreformer",
    variant: Variant = Variant.ADAPTER,
    seed: int = 0,
    watch: Path | None = None,
) -> None:
    torch.manual_seed(seed)
    network, out = load_host(host, run), run / f"{variant}-{seed}"
    config = partial(AdapterConfig, seed=seed, degradation=small.DEGRADATION)
    if variant is Variant.ADAPTER:
        train_adapter(config(stage=ADAPTER), network, hq, out, watch)
    else:
        kind = FineTuning if variant is Variant.FINETUNED else Filtering
        train_host(kind, config(stage=FINETUNED), network, hosts()[host], hq, out, watch or hq)


if __name__ == "__main__":
    typer.run(main)
