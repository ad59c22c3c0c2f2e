"""Puts a finished training run into the package: its weights in half precision.

python -m benchmarks.native.ship --run RUN --stage 4 --fidelity 1
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from iqp_adapter.native import IQPFR
from iqp_adapter.store import hub


def main(
    run: Annotated[Path, typer.Option(help="folder of the run")],
    fidelity: Annotated[float, typer.Option(help="default fidelity, as chosen on dev")],
    stage: Annotated[int, typer.Option(help="whose weights are shipped")] = 4,
    name: str = "tiny",
) -> None:
    model = IQPFR.from_pretrained(run / f"stage{stage}" / "model")
    model.fidelity = fidelity
    model.save_pretrained(hub.BUILTIN / f"iqpfr-{name}", dtype=torch.float16, licence="CC BY 4.0")


if __name__ == "__main__":
    typer.run(main)
