"""Makes a run of a host that was trained elsewhere, so that adapters can be trained in it.

python -m benchmarks.hosts.take --host gfpgan --weights gfpgan.safetensors --hq FACES/train --hq PORTRAITS/train -o RUN
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.hosts import small
from benchmarks.hosts.train import settings_of
from iqp_adapter.hosts.loading import load_into
from iqp_adapter.store import checkpoint
from iqp_adapter.training.base_run import Run
from iqp_adapter.training.config import RunConfig


def main(
    weights: Annotated[Path, typer.Option(help="weight file of a small host")],
    hq: Annotated[list[Path], typer.Option(help="folder of good, aligned faces; may be repeated")],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the run")],
    host: Annotated[str, typer.Option(help=", ".join(small.HOSTS))] = "codeformer",
    side: Annotated[int, typer.Option(help="of the pictures, in pixels")] = small.RESOLUTION,
) -> None:
    network = load_into(small.HOSTS[host](side), weights)
    Run(RunConfig(**settings_of(hq)), side, hq, out)  # fits the score scale
    checkpoint.save(out / host / "model", network.state_dict(), {"host": host})


if __name__ == "__main__":
    typer.run(main)
