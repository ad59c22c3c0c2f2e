"""`iqp bench` as a module: to run it from the repository, or in several processes by accelerate.

python -m benchmarks.launch --model tiny --hq FACES/val -o OUT
accelerate launch --num_processes 2 -m benchmarks.launch --model tiny --hq FACES/val -o OUT      (one for each GPU)
torchrun --nproc-per-node 2 -m benchmarks.launch --model tiny --hq FACES/val -o OUT              (on the CPU)
"""

from __future__ import annotations

import sys

from iqp_adapter.cli import app

if __name__ == "__main__":
    app(["bench", *sys.argv[1:]])
