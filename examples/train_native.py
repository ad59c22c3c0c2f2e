"""Trains an IQPFR from one or several folders of good, aligned face pictures. The same call resumes.

    python examples/train_native.py examples/native_tiny.yaml path/to/faces [path/to/others ...] runs/tiny

Does the same as `iqp train native`, without the progress bar.
For several processes use `accelerate launch examples/train_native.py ...`.
"""

import sys
from pathlib import Path

from iqp_adapter.training.config import TrainConfig
from iqp_adapter.training.native_training import NativeTraining

config, *hq, run = sys.argv[1:]
training = NativeTraining(TrainConfig.load(config), [Path(folder) for folder in hq], Path(run))
print("the model is in", training.run())
