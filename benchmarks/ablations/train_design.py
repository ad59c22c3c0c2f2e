"""Trains one design of the native model with one seed, or continues its training.

python -m benchmarks.ablations.train_design --run RUN --design map --seed 0 --hq FACES/train --hq PORTRAITS/train

A design has the stages before its first own one from the design that it differs from; they are trained first where they
are missing.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.ablations.designs import DESIGNS, FIRST, OURS, config_of
from benchmarks.ablations.train_variant import adopt, trained
from iqp_adapter.store.files import list_images
from iqp_adapter.training.base_run import SCALE
from iqp_adapter.training.native_training import NativeTraining


def train(run: Path, name: str, seed: int, hq: list[Path], until: int, longer: float = 1.0) -> Path:
    """Trains a design up to a stage, and returns the folder with the weights of that stage."""
    design, folder = DESIGNS[name], run / f"{name}-{seed}"
    done = folder / f"stage{until}" / "model"
    if done.exists():
        return done
    if design.own > FIRST:
        adopt(train(run, design.base, seed, hq, design.own - 1, longer), folder)
    if design.pooled:
        hq = [pooled(hq, run / "pooled")]
    else:
        share_scale(run, name, seed)
    training = NativeTraining(config_of(name, seed, longer), hq, folder)
    for stage in range(design.own, until + 1):
        trained(training, f"stage{stage}")
    return done


def pooled(folders: list[Path], folder: Path) -> Path:
    """A folder with links to all pictures of several."""
    folder.mkdir(parents=True, exist_ok=True)
    for picture in list_images(folders):
        link = folder / picture.name
        if not link.is_symlink():
            link.symlink_to(picture.resolve())
    return folder


def share_scale(run: Path, name: str, seed: int) -> None:
    """Fitting the score scale takes a while; with one seed it is the same for all designs that fit it alike."""
    source, folder = run / f"{OURS}-{seed}" / SCALE, run / f"{name}-{seed}"
    mine, ours = config_of(name, seed), config_of(OURS, seed)
    alike = (mine.metric, mine.scale_knots) == (ours.metric, ours.scale_knots)
    if alike and name != OURS and source.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder)


def main(
    run: Annotated[Path, typer.Option(help="folder of the runs; every design and seed has its own in it")],
    hq: Annotated[list[Path], typer.Option(help="folder of good, aligned faces; give several as sets")],
    design: Annotated[str, typer.Option(help=", ".join(DESIGNS))] = OURS,
    seed: int = 0,
    longer: Annotated[float, typer.Option(help="factor of the steps of every stage")] = 1.0,
) -> None:
    """Trains the stages of a design."""
    if design not in DESIGNS:
        raise typer.BadParameter(f"there is no design {design!r}; choose from {', '.join(DESIGNS)}")
    train(run, design, seed, hq, DESIGNS[design].last, longer)


if __name__ == "__main__":
    typer.run(main)
