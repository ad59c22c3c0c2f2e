"""Trains one variant of the native model, or continues its training.

python -m benchmarks.ablations.train_variant --run RUN --variant dual --seed 0 --hq FACES/train

Variants without their own codebooks start from those of `dual`, which are trained first where they are missing.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.ablations.variants import Variant, books_of, config_of
from benchmarks.common.filtering import FilteredPrediction
from iqp_adapter.cli.train import training_progress
from iqp_adapter.training.native_training import NativeTraining


class FilteredTraining(NativeTraining):
    prediction = FilteredPrediction


def trained(training: NativeTraining, stage: str) -> Path:
    """One stage, trained with a progress bar."""
    return training.run_stage(stage, lambda name, steps: training_progress(f"{training.folder.name} {name}", steps))


def adopt(model: Path, folder: Path) -> None:
    """A run goes on from the weights of a stage of another one."""
    shutil.copytree(model, folder / model.parent.name / "model", dirs_exist_ok=True)


def main(
    run: Annotated[Path, typer.Option(help="folder of the runs; every variant and seed has its own in it")],
    hq: Annotated[Path, typer.Option(help="folder of good, aligned faces")],
    variant: Variant = Variant.DUAL,
    seed: int = 0,
    watch: Path | None = None,
) -> None:
    kind = FilteredTraining if variant is Variant.FILTERED else NativeTraining
    source, folder = run / f"{books_of(variant)}-{seed}", run / f"{variant}-{seed}"
    books = trained(NativeTraining(config_of(books_of(variant), seed), hq, source, watch), "stage1")
    if source != folder:
        adopt(books, folder)
        shutil.copy(source / "score_scale.json", folder)
    trained(kind(config_of(variant, seed), hq, folder, watch), "stage2")


if __name__ == "__main__":
    typer.run(main)
