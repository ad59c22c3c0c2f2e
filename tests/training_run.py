"""A native training run small enough for tests: `python training_run.py FACES RUN BATCH STAGE...` is what is killed."""

import sys
from pathlib import Path

import torch

from iqp_adapter.training.config import StageConfig, TrainConfig
from iqp_adapter.training.native import NativeTraining

SMALL = {
    "resolution": 64, "patch": 4, "widths": (16, 24, 32), "common_codes": 16, "plus_codes": 8, "code_dim": 8,
    "dim": 32, "layers": 1, "heads": 4, "token_dim": 16,
}  # fmt: skip


def config(steps: int = 12, batch: int = 2, **changes) -> TrainConfig:
    stages = (
        StageConfig(steps, batch, rate=1e-3, warmup=2, options={"adversarial_from": 6, "revive_every": 4}),
        StageConfig(steps, batch, rate=1e-3, warmup=2, options={"pictures": batch}),
        StageConfig(steps, batch, rate=1e-3, warmup=2),
    )
    settings = {"preset": "tiny", "stages": stages, "changes": SMALL, "precision": "fp32", "save_every": 2} | changes
    return TrainConfig(**{"watch_every": 1000} | settings)


def main(faces: str, run: str, batch: str, *stages: str) -> None:
    torch.set_num_threads(1)
    training = NativeTraining(config(batch=int(batch)), Path(faces), Path(run))
    for stage in stages:
        training.run(int(stage))


if __name__ == "__main__":
    main(*sys.argv[1:])
