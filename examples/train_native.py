"""Trains an IQPFR from a folder of good, aligned face pictures; the same call again resumes after an interruption.

    python examples/train_native.py examples/native_tiny.yaml path/to/faces runs/tiny

What `iqp train native` does, without the progress bar.
Several processes: `accelerate launch examples/train_native.py ...`.
"""

import sys
from pathlib import Path

from iqp_adapter.training.config import TrainConfig
from iqp_adapter.training.native import NativeTraining

config, hq, run = sys.argv[1:]
training = NativeTraining(TrainConfig.load(config), Path(hq), Path(run))
for stage in (1, 2, 3):
    print(f"stage {stage} is in", training.run(stage))
