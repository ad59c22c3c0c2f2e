"""A native training run small enough for tests: `python training_run.py FACES RUN BATCH STAGE...` is what is killed.

With OPTIMISER=SGD in the environment weights follow gradients in proportion. Adam takes a step of full size even where
a gradient is rounding noise, so that runs which ought to be equal could only be compared loosely.
"""

import os
import sys
from pathlib import Path

import torch

from iqp_adapter.training.config import StageConfig, TrainConfig
from iqp_adapter.training.native_training import NativeTraining

SMALL = {
    "resolution": 64, "patch": 4, "widths": (16, 24, 32), "common_codes": 16, "plus_codes": 8, "code_dim": 8,
    "dim": 32, "layers": 1, "heads": 4, "token_dim": 16,
}  # fmt: skip


def config(steps: int = 12, batch: int = 2, rate: float = 1e-3, **changes) -> TrainConfig:
    stages = {
        "stage1": StageConfig(steps, batch, rate, warmup=2, options={"adversarial_from": 6, "revive_every": 4}),
        "stage2": StageConfig(steps, batch, rate, warmup=2, options={"pictures": batch, "adversarial_from": 6}),
        "stage3": StageConfig(steps, batch, rate, warmup=2),
    }
    settings = {
        "preset": "tiny-256",
        "stages": stages,
        "changes": SMALL,
        "precision": "fp32",
        "save_every": 2,
    } | changes
    return TrainConfig(**{"watch_every": 1000} | settings)


def main(faces: str, run: str, batch: str, *stages: str) -> None:
    torch.set_num_threads(1)
    plain = os.environ.get("OPTIMISER") == "SGD"
    if plain:
        torch.optim.AdamW = lambda groups, lr, **_: torch.optim.SGD(groups, lr)
    settings = config(batch=int(batch), rate=0.1 if plain else 1e-3)
    training = NativeTraining(settings, Path(faces), Path(run))
    for stage in stages:
        training.run_stage(f"stage{stage}")


if __name__ == "__main__":
    main(*sys.argv[1:])
