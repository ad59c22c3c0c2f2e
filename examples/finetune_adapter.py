"""Trains an adapter on a frozen host from a folder of good, aligned face pictures. The same call again resumes.

    python examples/finetune_adapter.py codeformer.pth examples/adapter.yaml path/to/faces runs/codeformer

Does the same as `iqp train adapter`, without the progress bar. It works for every host that has a file in adapters/.
For several processes use `accelerate launch examples/finetune_adapter.py ...`.
"""

import sys
from pathlib import Path

from iqp_adapter.training.adapter_training import AdapterTraining
from iqp_adapter.training.config import AdapterConfig

host, config, hq, run = sys.argv[1:]
training = AdapterTraining(AdapterConfig.load(config), host, Path(hq), Path(run))
print("the adapter is in", training.run())
