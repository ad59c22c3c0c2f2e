"""Trains an adapter for a small host, or the host itself without a condition, for equally many steps.

python -m benchmarks.hosts.adapt --run RUN --host codeformer --variant adapter --seed 0 --hq FACES/train

The variants: `adapter` learns on the frozen host from the metric, `imitating` from targets at their quality.
`finetuned` trains the bare host further on targets, `filtered` on the better half of twice as many. Each variant and
seed has its own folder in the host's run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import nn

from benchmarks.common.filtering import BetterHalf
from benchmarks.hosts import small
from benchmarks.hosts.stages import HostStage
from iqp_adapter.cli.train import training_progress
from iqp_adapter.hosts.codes import HostCodes
from iqp_adapter.hosts.registry import hosts
from iqp_adapter.hosts.spec import HostSpec
from iqp_adapter.store import checkpoint
from iqp_adapter.training import losses
from iqp_adapter.training.adapter_training import AdapterTraining, with_vqgan
from iqp_adapter.training.base_run import Run
from iqp_adapter.training.config import AdapterConfig, RunConfig, StageConfig
from iqp_adapter.training.stages import Batch, Terms
from iqp_adapter.training.stages.imitation import codes_of

STEPS = 160
TARGETS = {"l1": 1.0, "perceptual": 0.3}
HELD = {**TARGETS, "from_bare": 0.0, "kl": 0.0}
REWARD = StageConfig(steps=STEPS, batch=8, rate=1e-3, warmup=20, ema=0.98, weights={"quality": 0.6, **HELD})
IMITATION = replace(REWARD, weights={**TARGETS, "code": 1.0})
FINETUNED = replace(IMITATION, rate=2e-4)


class Variant(str, Enum):
    __str__ = str.__str__  # the value, as of `StrEnum`, which needs Python 3.11

    ADAPTER = "adapter"
    IMITATING = "imitating"
    FINETUNED = "finetuned"
    FILTERED = "filtered"


ADAPTED = {Variant.ADAPTER: {"reward": REWARD}, Variant.IMITATING: {"imitation": IMITATION}}


class FineTuning(HostStage):
    """Trains the bare host further on targets, without a condition. Terms: code, or l1 and perceptual.

    Args:
        teacher: of a code host, as for `CodeImitation`; without one the host learns from pictures.
    """

    term_names = ("l1", "perceptual", "code")

    def __init__(
        self, config: StageConfig, perceptual: nn.Module, host: nn.Module, spec: HostSpec, teacher: nn.Module | None
    ):
        super().__init__(config, perceptual, host)
        self.spec, self.teacher = spec, teacher

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        run = partial(self.spec.restore, self.host, batch.lq)
        if self.spec.codes is None or self.teacher is None:
            yield "host", self.pictures(2 * run() - 1, batch.hq)
        else:
            logits = HostCodes(self.host, self.spec.codes(self.host), run).logits()
            wanted = codes_of(self.spec, self.teacher, batch.hq)
            yield "host", {"code": losses.code_cross_entropy(logits, wanted, smoothing=0.1)}


class Filtering(BetterHalf, FineTuning):
    """The same on the better half of every batch, which is twice as large."""


def load_host(name: str, run: Path, folder: str = "", side: int = small.RESOLUTION) -> nn.Module:
    """A trained small host, in eval mode and rounded to half precision; with `folder`, the host of a variant."""
    host = getattr(small, name)(*(() if side == small.RESOLUTION else (side,)))
    _, state = checkpoint.load(run / (folder or name) / "model")
    checkpoint.load_strict(host, {key: value.float() for key, value in state.items()}, source=str(run))
    return host.half().float().eval()


def side_of(name: str, host: nn.Module) -> int:
    """Of a host's pictures, in pixels."""
    side = hosts()[name].resolution(host)
    assert side is not None
    return side


def vqgan_of(run: Path) -> Path | None:
    """The VQGAN that a code host started from; None for other hosts."""
    path = run / "dictionary" / "model" / "model.safetensors"
    return path if path.exists() else None


def train_host(kind: type[FineTuning], training: Run, host: nn.Module, spec: HostSpec, vqgan: Path | None) -> None:
    teacher = None if vqgan is None else with_vqgan(spec, host, vqgan).to(training.device)

    def stage() -> FineTuning:
        return kind(FINETUNED, training.perceptual(), host, spec, teacher)

    with training_progress(kind.__name__, STEPS) as progress:
        network = training.train("host", 0, stage, progress)
    checkpoint.save(training.folder / "model", network.state_dict(), {"host": spec.name})


def main(
    run: Annotated[Path, typer.Option(help="folder of the host's run; the variant's goes into it")],
    hq: Annotated[Path, typer.Option(help="folder of good, aligned faces")],
    host: str = "restoreformer",
    variant: Variant = Variant.ADAPTER,
    seed: int = 0,
    side: Annotated[int, typer.Option(help="of the host's pictures, in pixels")] = small.RESOLUTION,
    watch: Path | None = None,
) -> None:
    network, out, vqgan = load_host(host, run, side=side), run / f"{variant}-{seed}", vqgan_of(run)
    settings: dict[str, Any] = {"seed": seed, "degradation": small.DEGRADATION}
    if variant in ADAPTED:
        config = AdapterConfig(**settings, judges=("niqe", "piqe"), **ADAPTED[variant])
        AdapterTraining(config, network, hq, out, watch, vqgan=vqgan).run(training_progress)
    else:
        kind = FineTuning if variant is Variant.FINETUNED else Filtering
        training = Run(RunConfig(**settings), side_of(host, network), hq, out, watch)
        train_host(kind, training, network, hosts()[host], vqgan)


if __name__ == "__main__":
    typer.run(main)
