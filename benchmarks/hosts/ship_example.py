"""Puts a small host and its adapter beside the examples, in half precision, with a face to try them on.

python -m benchmarks.hosts.ship_example --run RUN --host restoreformer --adapter reward-0/reward/model
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import save
from torchvision.utils import save_image

import iqp_adapter as iqp
from benchmarks.hosts import small
from iqp_adapter.store.files import atomic_path

EXAMPLES = Path(__file__).parents[2] / "examples"


def main(
    run: Annotated[Path, typer.Option(help="folder of the host's run")],
    adapter: Annotated[Path, typer.Option(help="folder of the adapter in the run")],
    host: str = "restoreformer",
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the examples")] = EXAMPLES,
) -> None:
    """Writes `HOST/host.safetensors`, `HOST/adapter/` and `HOST/face.png`, scikit-image's astronaut, degraded."""
    folder = out / host
    folder.mkdir(parents=True, exist_ok=True)
    trained = small.load_host(host, run)
    iqp.wrap(trained, adapter=run / adapter).save_pretrained(
        folder / "adapter", dtype=torch.float16, licence="CC BY 4.0"
    )
    with atomic_path(folder / "host.safetensors") as path:
        path.write_bytes(save({key: value.half().contiguous() for key, value in trained.state_dict().items()}))
    with atomic_path(folder / "face.png") as path:
        save_image(small.astronaut()["degraded"], path, format="png")


if __name__ == "__main__":
    typer.run(main)
