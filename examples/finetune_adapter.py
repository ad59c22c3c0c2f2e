"""Trains an adapter on a frozen host from a folder of good, aligned face pictures; the same call again resumes.

    python examples/finetune_adapter.py codeformer.pth examples/adapter.yaml path/to/faces runs/codeformer

What `iqp train adapter` does, without the progress bar, for every host: its differences live in its file in adapters/.
Several processes: `accelerate launch examples/finetune_adapter.py ...`.
"""

import sys
from pathlib import Path

from iqp_adapter.training.adapter_training import AdapterTraining
from iqp_adapter.training.config import AdapterConfig

host, config, hq, run = sys.argv[1:]
training = AdapterTraining(AdapterConfig.load(config), host, Path(hq), Path(run))
print("the adapter is in", training.run())
