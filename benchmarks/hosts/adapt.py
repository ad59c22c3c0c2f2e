"""Trains an adapter for a small host, or the host itself without a condition, for equally many steps.

python -m benchmarks.hosts.adapt --run RUN --host codeformer --variant distilled --block attention --seed 0 \
    --hq FACES/train --hq PORTRAITS/train --watch FACES/dev --steps 2000

`benchmarks.hosts.recipes` has the variants. Each variant, block, place and seed has its own folder in the run. The
codes that distillation finds are in `RUN/codes`; blocks share them. The same command continues an interrupted run.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from benchmarks.common.filtering import BetterHalf
from benchmarks.hosts import small
from benchmarks.hosts.recipes import RECIPES, Adapted, Further
from benchmarks.hosts.small import load_host
from benchmarks.hosts.stages import HostStage
from benchmarks.hosts.train import settings_of
from iqp_adapter.cli.train import training_progress
from iqp_adapter.hosts.codes import HostCodes
from iqp_adapter.hosts.registry import hosts
from iqp_adapter.hosts.spec import HostSpec
from iqp_adapter.hosts.unknown import Sizes, described, first_output
from iqp_adapter.store import checkpoint
from iqp_adapter.training import losses
from iqp_adapter.training.adapter_training import AdapterTraining, with_vqgan
from iqp_adapter.training.base_run import SCALE, Run
from iqp_adapter.training.config import AdapterConfig, RunConfig, StageConfig
from iqp_adapter.training.record import Record
from iqp_adapter.training.stages import Batch, Terms
from iqp_adapter.training.stages.imitation import codes_of

ATTENTION = "attention"
CODES, TIMES = "codes", "times"
"""Folder for the codes that distillation finds; log of how long the search of each start took."""


class FineTuning(HostStage):
    """Trains the bare host further on targets, without a condition. Terms: code, or l1 and perceptual.

    Args:
        teacher: of a code host, as for `CodeImitation`; without one the host learns from pictures.
    """

    term_names = ("l1", "perceptual", "code")
    memory_format = torch.contiguous_format  # as the pictures

    def __init__(
        self, config: StageConfig, perceptual: nn.Module, host: nn.Module, spec: HostSpec, teacher: nn.Module | None
    ):
        super().__init__(config, perceptual, host)
        self.spec, self.teacher = spec, teacher

    def made(self, host: nn.Module, batch: Batch) -> Tensor:
        return self.spec.restore(host, batch.lq)

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        run = partial(self.made, self.host, batch)
        if self.spec.codes is None or self.teacher is None:
            yield "host", self.pictures(run(), batch.hq)
        else:
            logits = HostCodes(self.host, self.spec.codes(self.host), run).logits()
            wanted = codes_of(self.spec, self.teacher, batch.hq)
            yield "host", {"code": losses.code_cross_entropy(logits, wanted, smoothing=0.1)}


class FineTuningRun(Run):
    """Its run, on pictures as adapters get them."""

    memory_format = AdapterTraining.memory_format


class Filtering(BetterHalf, FineTuning):
    """The same on the better half of every batch, which is twice as large."""


def spec_of(name: str, host: nn.Module, side: int) -> HostSpec:
    """What is known of a host; of one that no file describes, only the side at which it was trained."""
    return hosts()[name] if name in hosts() else described(host, first_output, Sizes(side))


def example_of(name: str, side: int) -> Tensor | None:
    """A picture for dry runs, for a host that no file describes."""
    return None if name in hosts() else torch.full((1, 3, side, side), 0.5)


def vqgan_of(run: Path) -> Path | None:
    """The VQGAN that a code host started from; None for other hosts."""
    path = run / "dictionary" / "model" / "model.safetensors"
    return path if path.exists() else None


def folder_of(variant: str, block: str, sites: str | None, seed: int) -> str:
    """Name of a variant's folder in the host's run; attention and the usual sites have no word of their own."""
    return "-".join([variant, *([block] if block != ATTENTION else []), *([sites] if sites else []), str(seed)])


def take_scale(run: Path, out: Path) -> None:
    """The score scale of the host's run, so that quality means the same in all of its variants."""
    out.mkdir(parents=True, exist_ok=True)
    if not (out / SCALE).exists():
        shutil.copy(run / SCALE, out / SCALE)


def train_host(kind: type[FineTuning], training: Run, host: nn.Module, spec: HostSpec, stage: StageConfig) -> None:
    path = vqgan_of(training.folder.parent)
    teacher = None if path is None else with_vqgan(spec, host, path).to(training.device)
    with training_progress(kind.__name__, stage.steps) as progress:
        network = training.train("host", 0, lambda: kind(stage, training.perceptual(), host, spec, teacher), progress)
    checkpoint.save(training.folder / "model", network.state_dict(), {"host": spec.name})


def main(
    run: Annotated[Path, typer.Option(help="folder of the host's run; the variant's goes into it")],
    hq: Annotated[list[Path], typer.Option(help="folder of good, aligned faces; may be repeated")],
    host: str = "codeformer",
    variant: Annotated[str, typer.Option(help=", ".join(RECIPES))] = "distilled",
    block: Annotated[str, typer.Option(help="of an adapter: attention, score_map, both")] = ATTENTION,
    sites: Annotated[str | None, typer.Option(help="codes for an adapter that steers these; else behind them")] = None,
    seed: int = 0,
    steps: Annotated[int, typer.Option(min=1, help="updates of each stage")] = 2000,
    batch: Annotated[int, typer.Option(min=1)] = 8,
    side: Annotated[int, typer.Option(help="of the host's pictures, in pixels")] = small.RESOLUTION,
    watch: Annotated[list[Path], typer.Option(help="folder of faces for the grids; may be repeated")] = [],  # noqa: B006
    workers: Annotated[int, typer.Option(help="processes that prepare pictures")] = 0,
    precision: str = "bf16",
) -> None:
    pace = {"steps": steps, "batch": batch}
    network, recipe, started = load_host(host, run, side=side), RECIPES[variant], time.perf_counter()
    out, spec = run / folder_of(variant, block, sites, seed), spec_of(host, network, side)
    take_scale(run, out)
    settings = settings_of(hq, seed=seed, workers=workers, precision=precision, watch_every=500)
    if isinstance(recipe, Adapted):
        features = spec.codes(network) if spec.codes else None
        more = recipe.settings(pace, block, sites, features and features.features)
        config = AdapterConfig(**settings, judges=("niqe", "piqe"), **more)
        vqgan = vqgan_of(run) if config.learns_codes else None
        given: dict[str, Any] = {"vqgan": vqgan, "codes": run / CODES, "example": example_of(host, side)}
        training = AdapterTraining(config, network, hq, out, watch or None, **given)
        training.prepare(list(recipe.stages)[0], training_progress)
        searched = time.perf_counter()
        training.run(training_progress)
    else:
        searched = started
        further(recipe, FineTuningRun(RunConfig(**settings), side, hq, out, watch or None), network, spec, pace)
    Record(out / TIMES).row(steps, {"searched": (searched - started) / 60})


def further(recipe: Further, training: Run, host: nn.Module, spec: HostSpec, pace: dict[str, int]) -> None:
    kind = Filtering if recipe.better else FineTuning
    train_host(kind, training, host, spec, replace(recipe.stage, **pace))


if __name__ == "__main__":
    typer.run(main)
