"""Trains an adapter on a small host that `benchmarks.hosts.train` has made.

python -m benchmarks.hosts.adapt --run RUN --hq FACES/train --watch FACES/dev --config examples/adapter.yaml
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from torch import nn

from benchmarks.hosts import small
from iqp_adapter import checkpoint
from iqp_adapter.cli.train import training_progress
from iqp_adapter.training.adapter import AdapterTraining
from iqp_adapter.training.config import AdapterConfig


def load_host(name: str, run: Path) -> nn.Module:
    """A trained small host, in eval mode."""
    host = getattr(small, name)()
    _, state = checkpoint.load(run / name / "model")
    checkpoint.load_strict(host, state, source=str(run))
    return host.eval()


def main(
    run: Annotated[Path, typer.Option(help="folder of the host's run; the adapter's goes into it")],
    hq: Annotated[Path, typer.Option(help="folder of good, aligned faces")],
    config: Annotated[Path, typer.Option(help="settings of the adapter's run")],
    host: str = "restoreformer",
    watch: Path | None = None,
) -> None:
    settings = AdapterConfig.load(config)
    training = AdapterTraining(settings, load_host(host, run), hq, run / f"{host}-adapter", watch)
    with training_progress("adapter", settings.stage.steps) as progress:
        typer.echo(training.run(progress))


if __name__ == "__main__":
    typer.run(main)
