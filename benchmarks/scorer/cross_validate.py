"""Fairness on the training people: everybody is scored by a single head that learned from others.

python -m benchmarks.scorer.cross_validate --faces FACES --faces PORTRAITS --run codeformer:128:RUN
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.common.results import provenance, write_json
from benchmarks.scorer.fairness import Person, Regression, described, people_of
from benchmarks.scorer.groups import statistics
from benchmarks.scorer.heads import of_levels
from benchmarks.scorer.measuring import OUT, Samples, kept
from benchmarks.scorer.train_lite import LITE, SHIPPED, FacesOption, Material, RunOption, Shape

FOLDS = 5


def statistics_of(people: Sequence[Person], backbone: str) -> Tensor:
    """Statistics of everybody under every recipe (N, R, C), from the store where they are there already."""

    def make() -> Samples:
        found = described([one.image for one in people], lambda pictures: statistics(backbone, pictures), "everybody")
        return {"statistics": found}

    return kept(f"people-{backbone}-{len(people)}", make)["statistics"]


@torch.no_grad()
def left_out(material: Material, shape: Shape, people: Sequence[Person]) -> np.ndarray:
    """Mean score of every picture over the recipes (N,), by the head that did not learn from its person."""
    inputs = of_levels(statistics_of(people, shape.backbone), shape.levels, shape.backbone, shape.where)
    numbers = torch.tensor([one.number for one in people])
    scores = torch.empty(inputs.shape[:2])
    for fold in range(FOLDS):
        with torch.enable_grad():
            head = material.fit(shape, seed=fold, keep=lambda person, fold=fold: person % FOLDS != fold, **SHIPPED)
        own = numbers % FOLDS == fold
        scores[own] = head(inputs[own].flatten(0, 1)).reshape(-1, inputs.shape[1])
    return scores.mean(1).double().numpy()


def main(faces: FacesOption, run: RunOption) -> None:
    torch.set_num_threads(1)
    material, shape = Material(faces, run), replace(LITE, heads=1)
    material.recall()
    people = people_of([f"{folder.name}={folder / 'train'}" for folder in faces])
    spans = Regression(people).spans(left_out(material, shape, people))
    content = {"folds": FOLDS, "pictures": len(people), "spans": spans}
    write_json(OUT / "cross_validate.json", content | provenance(0, material.train))


if __name__ == "__main__":
    typer.run(main)
