"""Trains the head of iqp-judge: another backbone, and other distortions than those of iqp-lite.

python -m benchmarks.scorer.train_judge --faces FACES --faces PORTRAITS --output iqp_adapter/weights/iqp-judge-1

Nothing may ever learn from its scores: it is there to judge what learned from iqp-lite.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.common.results import provenance, write_json
from benchmarks.scorer.distortions import UNSEEN
from benchmarks.scorer.groups import Groups
from benchmarks.scorer.heads import Target, fit_groups, grades
from benchmarks.scorer.measuring import OUT
from benchmarks.scorer.train_lite import FacesOption, Shape
from iqp_adapter.store.checkpoint import save

SHAPE = Shape("lite2", where="whole")
GROUPS = 450


def main(
    faces: FacesOption,
    output: Annotated[Path, typer.Option(help="folder for config.json and model.safetensors")],
    seed: int = 0,
) -> None:
    torch.set_num_threads(1)  # the order of sums is part of the seed
    train, dev = ([folder / part for folder in faces] for part in ("train", "dev"))
    learned = Groups(train, train[0], UNSEEN, (SHAPE.backbone,), GROUPS, 2).measured("judge-train")
    judged = Groups(dev, dev[0], UNSEEN, ("lite0", "lite1", "lite2"), 70, 3).measured("judge-dev")
    target, nothing = Target(learned), torch.empty(0)
    head = fit_groups(SHAPE.of(learned), target(learned), nothing, nothing, width=SHAPE.width, seed=seed)
    save(output, head.state_dict(), {"scorer": "iqp-judge", "version": 1, **SHAPE.config})
    content = {"groups": GROUPS, "dev": grades(head, SHAPE.of(judged), target(judged))}
    write_json(OUT / "train_judge.json", content | provenance(seed, train))


if __name__ == "__main__":
    typer.run(main)
