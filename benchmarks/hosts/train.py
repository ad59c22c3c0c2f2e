"""Trains a small host of a real class on targets of mixed quality, as real training sets have them.

python -m benchmarks.hosts.train --host codeformer --hq FACES/train --watch FACES/dev -o RUN

Differs from the papers: there is no adversary, and a RestoreFormer learns in one stage from scratch instead of from a
dictionary of good faces. So each host takes half an hour on two cores. The same command continues an interrupted run.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from torch import nn

from benchmarks.hosts import small
from benchmarks.hosts.stages import Dictionary, Fusion, Prediction, Quantising, Steered, start_from_codes
from iqp_adapter.cli.train import training_progress
from iqp_adapter.store import checkpoint
from iqp_adapter.training.base_run import Run
from iqp_adapter.training.config import RunConfig, StageConfig
from iqp_adapter.training.stages import Stage

PICTURES = {"l1": 10.0, "perceptual": 0.15}
SCRATCH = StageConfig(steps=1400, batch=8, rate=5e-4, ema=0.998, weights={**PICTURES, "codebook": 0.25})
STEERED = StageConfig(steps=1400, batch=8, rate=5e-4, ema=0.998, weights={**PICTURES, "pyramid": 5.0})
DICTIONARY = StageConfig(steps=900, batch=8, rate=5e-4, ema=0.995, weights={**PICTURES, "codebook": 1.0})
PREDICTION = StageConfig(steps=800, batch=8, rate=3e-4, ema=0.995, weights={"feature": 1.0, "right": 0.0})
FUSION = StageConfig(steps=300, batch=8, rate=5e-4, warmup=20, ema=0.98, weights=PICTURES)


@dataclass(frozen=True)
class Course:
    """A run, and how much longer and in which batches its stages learn than they do by default."""

    run: Run
    longer: float
    batch: int

    def learned(self, name: str, config: StageConfig, stage: Callable[[StageConfig, nn.Module], Stage]) -> nn.Module:
        config = replace(config, steps=round(self.longer * config.steps), batch=self.batch)
        with training_progress(name, config.steps) as progress:
            return self.run.train(name, 0, lambda: stage(config, self.run.perceptual()), progress)

    @property
    def side(self) -> int:
        return self.run.resolution


def restoreformer(course: Course) -> nn.Module:
    return course.learned("scratch", SCRATCH, lambda *given: Quantising(*given, small.restoreformer(course.side)))


def gfpgan(course: Course) -> nn.Module:
    return course.learned("scratch", STEERED, lambda *given: Steered(*given, small.gfpgan(course.side)))


def codeformer(course: Course) -> nn.Module:
    host = course.learned("dictionary", DICTIONARY, lambda *given: Dictionary(*given, small.codeformer(course.side)))
    learned_parts = {key: value for key, value in host.state_dict().items() if key.startswith(Dictionary.learning)}
    checkpoint.save(course.run.folder / "dictionary" / "model", learned_parts, {"host": "codeformer"})
    encoder = deepcopy(host.encoder)
    start_from_codes(host)
    host = course.learned("prediction", PREDICTION, partial(Prediction, host=host, encoder=encoder))
    return course.learned("fusion", FUSION, partial(Fusion, host=host))


HOSTS = {"restoreformer": restoreformer, "codeformer": codeformer, "gfpgan": gfpgan}


def main(
    hq: Annotated[Path, typer.Option(help="folder of good, aligned faces")],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the run")],
    host: Annotated[str, typer.Option(help=", ".join(HOSTS))] = "restoreformer",
    watch: Path | None = None,
    seed: int = 0,
    side: Annotated[int, typer.Option(help="of the pictures, in pixels")] = small.RESOLUTION,
    longer: Annotated[float, typer.Option(help="factor of the steps of every stage")] = 1.0,
    batch: int = 8,
    workers: Annotated[int, typer.Option(help="processes that prepare pictures")] = 0,
    precision: str = "bf16",
) -> None:
    config = RunConfig(seed=seed, degradation=small.DEGRADATION, workers=workers, precision=precision)
    run = Run(config, side, hq, out, watch)
    network = HOSTS[host](Course(run, longer, batch))
    checkpoint.save(out / host / "model", network.state_dict(), {"host": host})


if __name__ == "__main__":
    typer.run(main)
