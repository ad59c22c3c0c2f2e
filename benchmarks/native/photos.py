"""Real degraded faces to look at: input and three qualities in one sheet, with a table of their scores.

python -m benchmarks.native.photos --model tiny --faces PHOTOS/aligned -o OUTSIDE
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from benchmarks.common.inputs import FacesOption, ModelOption, load_model, restore
from benchmarks.common.judges import panel_of
from benchmarks.common.results import ROOT, write_text
from benchmarks.common.sheets import write_sheet
from iqp_adapter.bench.text import table as markdown
from iqp_adapter.pictures import read_tensor, resize
from iqp_adapter.store.files import list_images

JUDGES = ("iqp-lite@1", "niqe", "piqe", "identity")
"""There is no original: identity is the distance to the input."""

QUALITIES = {"0.1": 0.1, "0.5": 0.5, "best": "best"}


def load(faces: Path, side: int) -> Tensor:
    """All pictures of a folder (N, 3, side, side) in [0, 1]."""
    pictures = [resize(read_tensor(path)[None], (side, side)) for path in list_images([faces])]
    return torch.cat(pictures).clamp(0, 1)


def main(
    model: ModelOption,
    faces: FacesOption,
    out: Annotated[Path, typer.Option("-o", "--out", help="folder outside the repository: rights are not ours")],
) -> None:
    """A sheet and a table of scores; nothing for the repository."""
    if out.resolve().is_relative_to(ROOT):
        raise typer.BadParameter(f"{out} is inside the repository; the pictures are not ours to publish, go elsewhere")
    network, panel = load_model(model), panel_of(JUDGES)
    lq = load(faces, network.resolution)
    images = {"input": lq} | {name: restore(network, lq, quality=quality) for name, quality in QUALITIES.items()}
    write_sheet(out / "photos.png", images)
    lines = [["picture", "quality", *map(panel.label, panel.judges)]]
    for name, image in images.items():
        scores = panel(image, lq)
        lines += [
            [path.stem, name, *(f"{scores[judge][i]:.3g}" for judge in panel.judges)]
            for i, path in enumerate(list_images([faces]))
        ]
    write_text(out / "photos.md", markdown([lines[0], *sorted(lines[1:], key=lambda cells: cells[0])]) + "\n")


if __name__ == "__main__":
    typer.run(main)
