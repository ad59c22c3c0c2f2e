"""Trains a small host of a real class on targets of mixed quality, as real training sets have them.

python -m benchmarks.hosts.train --host codeformer --hq FACES/train --hq PORTRAITS/train --watch FACES/dev \
    --watch PORTRAITS/dev -o RUN

Each stage learns until its loss on the watched pictures has not improved for an hour of training. With `--start FILE`
the first stage goes on from weights of such a host: the only stage, or that of a dictionary. The same command continues
an interrupted run. Differs from the papers: there is no adversary, and a RestoreFormer learns in one stage from scratch
instead of from a dictionary of good faces.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from torch import nn

from benchmarks.hosts import small
from benchmarks.hosts.course import Course
from benchmarks.hosts.stages import (
    Dictionary,
    Fusion,
    HostStage,
    Plain,
    Prediction,
    Quantising,
    Steered,
    start_from_codes,
)
from iqp_adapter.hosts.loading import load_into
from iqp_adapter.store import checkpoint
from iqp_adapter.training.base_run import Run
from iqp_adapter.training.config import RunConfig, StageConfig, TrainConfig
from iqp_adapter.training.native_training import NativeTraining

PICTURES = {"l1": 10.0, "perceptual": 0.15}
SCRATCH = StageConfig(steps=1, batch=8, rate=5e-4, ema=0.998, weights={**PICTURES, "codebook": 0.25})
BOOK_STARTED: dict[str, dict[str, float]] = {
    "scratch": {"continuous": 0, "revive_until": 0},
    "dictionary": {"continuous": 0, "revive_until": 600},
}
"""Options of the stages with a codebook that go on from weights: it is there, and a dictionary may find new codes."""
STEERED = StageConfig(steps=1, batch=8, rate=5e-4, ema=0.998, weights={**PICTURES, "pyramid": 5.0})
PLAIN = StageConfig(steps=1, batch=8, rate=5e-4, ema=0.998, weights=PICTURES)
DICTIONARY = StageConfig(steps=1, batch=8, rate=5e-4, ema=0.995, weights={**PICTURES, "codebook": 1.0})
PREDICTION = StageConfig(steps=1, batch=8, rate=3e-4, ema=0.995, weights={"feature": 1.0, "right": 0.0})
FUSION = StageConfig(steps=1, batch=8, rate=5e-4, warmup=20, ema=0.98, weights=PICTURES)
NATIVE = {
    "stage1": StageConfig(
        steps=1, batch=8, rate=4e-4, ema=0.998, weights={"l1": 2.0, "perceptual": 0.15, "commitment": 0.25}
    ),
    "stage2": StageConfig(
        steps=1, batch=8, rate=4e-4, ema=0.998,
        weights={"common": 0.3, "plus": 0.3, "feature": 1.0, "l1": 2.0, "perceptual": 0.15},
    ),
}  # fmt: skip
"""How each stage learns; how long is the affair of the course."""

SHARES = {"faces/train": 0.4, "portraits/train": 0.6}
"""Of the samples, as for the shipped model; sets of other names have shares by their numbers of pictures."""

SettingsOf = dict[str, Any]


class Training(NamedTuple):
    """What every host is trained with: settings of the run, its pictures, and the course.

    Attributes:
        start: weight file that the first stage goes on from.
    """

    settings: SettingsOf
    hq: list[Path]
    watch: list[Path]
    out: Path
    side: int
    course: Course
    start: Path | None = None

    def run(self) -> Run:
        return Run(RunConfig(**self.settings), self.side, self.hq, self.out, self.watch)

    def alone(self, stage: type[HostStage], config: StageConfig, host: Callable[[int], nn.Module]) -> nn.Module:
        """A host that learns in one stage."""
        return self.first(self.run(), "scratch", stage, config, host)

    def first(
        self, run: Run, name: str, stage: type[HostStage], config: StageConfig, host: Callable[[int], nn.Module]
    ) -> nn.Module:
        """A host after its first stage: from scratch, or at a lower rate from the weights to start from."""
        if self.start is not None:
            options = BOOK_STARTED[name] if issubclass(stage, Quantising) else {}
            config = replace(config, rate=0.4 * config.rate, ema=0.98, options=options)
        return self.course.learned(run, name, lambda: stage(config, run.perceptual(), self.begun(host(self.side))))

    def begun(self, host: nn.Module) -> nn.Module:
        """A host with the weights to start from, or as it was made."""
        return host if self.start is None else load_into(host, self.start)


def restoreformer(training: Training) -> nn.Module:
    return training.alone(Quantising, SCRATCH, small.restoreformer)


def gfpgan(training: Training) -> nn.Module:
    return training.alone(Steered, STEERED, small.gfpgan)


def nafnet(training: Training) -> nn.Module:
    return training.alone(Plain, PLAIN, small.nafnet)


def codeformer(training: Training) -> nn.Module:
    run, learned = training.run(), training.course.learned
    host = training.first(run, "dictionary", Dictionary, DICTIONARY, small.codeformer)
    learned_parts = {key: value for key, value in host.state_dict().items() if key.startswith(Dictionary.learning)}
    checkpoint.save(run.folder / "dictionary" / "model", learned_parts, {"host": "codeformer"})
    encoder = deepcopy(host.encoder)
    start_from_codes(host)
    host = learned(run, "prediction", lambda: Prediction(PREDICTION, run.perceptual(), deepcopy(host), encoder))
    return learned(run, "fusion", lambda: Fusion(FUSION, run.perceptual(), deepcopy(host)))


def iqpfr(training: Training) -> nn.Module:
    settings = TrainConfig(preset="tiny-256", changes=small.UNCONDITIONED, stages=NATIVE, **training.settings)
    run = NativeTraining(settings, training.hq, training.out, training.watch)
    for name in NATIVE:
        model = training.course.learned(run, name, lambda name=name: run.stage(name))
        run.save(name, model, run.folder / name / "model")
    return model


TRAININGS = {
    "codeformer": codeformer,
    "restoreformer": restoreformer,
    "gfpgan": gfpgan,
    "iqpfr": iqpfr,
    "nafnet": nafnet,
}


def settings_of(hq: list[Path], **more: Any) -> SettingsOf:
    """What every run on these folders has in common, and more; of our own sets with their shares."""
    return {"degradation": small.DEGRADATION, "shares": _shares_of(hq)} | more


def _shares_of(hq: list[Path]) -> dict[str, float]:
    return SHARES if {"/".join(folder.resolve().parts[-2:]) for folder in hq} == SHARES.keys() else {}


def main(
    hq: Annotated[list[Path], typer.Option(help="folder of good, aligned faces; may be repeated")],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the run")],
    watch: Annotated[list[Path], typer.Option(help="folder of faces that say when to stop; may be repeated")],
    host: Annotated[str, typer.Option(help=", ".join(TRAININGS))] = "codeformer",
    seed: int = 0,
    side: Annotated[int, typer.Option(help="of the pictures, in pixels")] = small.RESOLUTION,
    every: Annotated[int, typer.Option(help="steps from one look at dev to the next; a multiple of 50")] = 250,
    patience: Annotated[float, typer.Option(help="minutes of training without improvement that end a stage")] = 60.0,
    budget: Annotated[float, typer.Option(help="minutes of training that end a stage anyway")] = 600.0,
    save: Annotated[int, typer.Option(help="steps from one checkpoint to the next; a multiple of 50")] = 50,
    batch: int = 8,
    start: Annotated[Path | None, typer.Option(help="weight file that the first stage goes on from")] = None,
    workers: Annotated[int, typer.Option(help="processes that prepare pictures")] = 0,
    precision: str = "bf16",
) -> None:
    if start is not None and host == "iqpfr":
        raise typer.BadParameter("an iqpfr learns from scratch; train it without --start")
    pace = {"save_every": save, "watch_every": every}
    settings = settings_of(hq, seed=seed, workers=workers, precision=precision, **pace)
    course = Course(every, patience, budget, batch)
    network = TRAININGS[host](Training(settings, hq, watch, out, side, course, start))
    checkpoint.save(out / host / "model", network.state_dict(), {"host": host})


if __name__ == "__main__":
    typer.run(main)
