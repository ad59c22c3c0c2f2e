"""An adapter's training small enough for tests, in processes of its own: `python adapter_run.py FACES RUN BATCH STAGE`.

Under plain gradient descent, as in `training_run.py`, so that runs which ought to be equal can be compared closely.
"""

import sys
from pathlib import Path

import torch
from stand_ins import CodeFormer

from iqp_adapter.training.adapter_training import AdapterTraining
from iqp_adapter.training.config import AdapterConfig, StageConfig


def main(faces: str, run: str, batch: str, name: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.optim.AdamW = lambda groups, lr, **_: torch.optim.SGD(groups, lr)
    stage = StageConfig(steps=12, batch=int(batch), rate=0.5, warmup=2)
    config = AdapterConfig(**{name: stage}, precision="fp32", sites="codes")
    AdapterTraining(config, CodeFormer(2, 2), Path(faces), Path(run)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
