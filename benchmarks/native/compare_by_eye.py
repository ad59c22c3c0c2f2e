"""Several models on the same faces, to look at: input, each model at three settings, and the original, as sheets.

    python -m benchmarks.native.compare_by_eye --model tiny --model NAME=FOLDER --faces FACES/dev \\
        --faces PORTRAITS/dev --photos PHOTOS/whole --photos OLD --crops PHOTOS/aligned -o OUTSIDE

Photos and crops are degraded already and have no original. The pipeline's guarantees, such as that for grey photos, are
off: shown is what the models make. Nothing is written into the repository, since the pictures are not ours to publish.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from torch import Tensor

from benchmarks.common.inputs import load_model, restore
from benchmarks.common.results import ROOT
from benchmarks.common.sets import (
    CropsOption,
    ModelsOption,
    PhotosOption,
    SetsOption,
    SideOption,
    check_sets,
    load_crops,
    load_photos,
    load_set,
    named,
    set_name,
)
from benchmarks.common.sheets import write_sheet
from iqp_adapter.native import IQPFR

SETTINGS: dict[str, dict[str, Any]] = {
    "best": {"quality": "best"},
    "any": {"quality": "any"},
    "fidelity 0": {"quality": "best", "fidelity": 0.0},
}
ROWS = 6
"""Faces on one sheet."""


def main(
    models: ModelsOption,
    out: Annotated[Path, typer.Option("-o", "--out", help="folder outside the repository")],
    faces: SetsOption = [],  # noqa: B006
    photos: PhotosOption = [],  # noqa: B006
    crops: CropsOption = [],  # noqa: B006
    count: Annotated[int, typer.Option(min=1, help="faces of each folder of `--faces`")] = 12,
    side: SideOption = None,
) -> None:
    """Sheets of every folder."""
    if out.resolve().is_relative_to(ROOT):
        raise typer.BadParameter(f"{out} is inside the repository; the pictures are not ours to publish, go elsewhere")
    check_sets([*faces, *photos, *crops])
    networks = {label: load_model(place) for label, place in named(models).items()}
    for folder in faces:
        pictures = load_set(folder, side, seeds=1)
        some = spread(len(pictures.people), count)
        originals = {"original": pictures.original[some]}
        write(out, folder, columns(pictures.degraded[some], networks) | originals)
    for folder in photos:
        write(out, folder, columns(load_photos(folder).degraded, networks))
    for folder in crops:
        write(out, folder, columns(load_crops(folder).degraded, networks))


def columns(lq: Tensor, models: Mapping[str, IQPFR]) -> dict[str, Tensor]:
    """The inputs (N, 3, R, R) and what every model makes of them, by caption."""
    restored = {
        f"{name}, {caption}": restore(model, lq, **dial)
        for name, model in models.items()
        for caption, dial in SETTINGS.items()
    }
    return {"input": lq} | restored


def spread(length: int, count: int) -> list[int]:
    """So many places, evenly from the first to the last: neighbours may show the same person."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(int)).tolist()


def write(out: Path, folder: Path, pictures: Mapping[str, Tensor]) -> None:
    """Sheets of some rows each, named after the folder."""
    length = len(pictures["input"])
    for number, start in enumerate(range(0, length, ROWS), start=1):
        path = out / f"{set_name(folder).replace('/', '-')}-{number}.png"
        write_sheet(path, {caption: of[start : start + ROWS] for caption, of in pictures.items()})
        typer.echo(f"wrote {path}")


if __name__ == "__main__":
    typer.run(main)
