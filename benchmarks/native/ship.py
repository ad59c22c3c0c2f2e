"""Puts a finished training run into the package: its weights in half precision, and the record of how they were made.

python -m benchmarks.native.ship --run RUN --config examples/native_tiny.yaml --fidelity 0.5

Sample grids stay behind: they show the faces of the training set.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.native.record import keep_records
from benchmarks.native.report import RESULTS
from iqp_adapter.native import IQPFR
from iqp_adapter.store import hub


def main(
    run: Annotated[Path, typer.Option(help="folder of the run")],
    config: Annotated[Path, typer.Option(help="the configuration it was trained with")],
    fidelity: Annotated[float, typer.Option(help="default fidelity, as chosen on dev")],
    stage: Annotated[int, typer.Option(help="whose weights are shipped")] = 3,
    name: str = "tiny",
) -> None:
    model = IQPFR.from_pretrained(run / f"stage{stage}" / "model")
    model.fidelity = fidelity
    model.save_pretrained(hub.BUILTIN / f"iqpfr-{name}", dtype=torch.float16, license="CC BY 4.0")
    record = RESULTS / f"training-{name}"
    shutil.rmtree(record, ignore_errors=True)
    for number in range(1, stage + 1):
        keep_records(run / f"stage{number}", record / f"stage{number}")
    for file in (config, run / "score_scale.json"):
        shutil.copy(file, record / file.name)


if __name__ == "__main__":
    typer.run(main)
