"""What several models are compared on: sets of faces, each at the size of its own files, real photos, and their names.

Every model gets the same inputs and is compared with the same originals, whatever size it works at: `restore` brings
a picture to the model's size and back, both bicubic. The originals' own size is taken for that. Above it the reference
would be an interpolation, which favours blur; below it the detail would be gone that a larger model adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.common.inputs import Pictures, aligned_faces, as_batch, degraded_by
from iqp_adapter.core.quality import WORDS
from iqp_adapter.degradations.face import Degradation
from iqp_adapter.native import IQPFR
from iqp_adapter.pictures import read_pixels, read_tensor, resize, size_of
from iqp_adapter.store.files import list_images

ModelsOption = Annotated[
    list[str],
    typer.Option("--model", help='"tiny", the folder of a model or a Hub id; NAME=FOLDER names it; may be repeated'),
]
SetsOption = Annotated[
    list[Path], typer.Option("--faces", help="folder of aligned faces, named <person>_<take>; may be repeated")
]
SideOption = Annotated[
    int | None, typer.Option(min=64, help="of the pictures that are degraded and compared; each set's own by default")
]
MildestOption = Annotated[
    float,
    typer.Option(min=0.001, max=1, help="strength of the mildest degradation; 1 always uses the full ranges"),
]
MILDEST = Degradation.strength[0]
"""As in training."""

PhotosOption = Annotated[
    list[Path], typer.Option("--photos", help="folder of degraded photos, whose faces are cut out; may be repeated")
]
CropsOption = Annotated[list[Path], typer.Option("--crops", help="folder of degraded aligned faces; may be repeated")]
CROP = 512
"""Side in pixels of faces that have no original."""

QUALITY = 'a number in [0, 1], "best" or "any"'


def named(models: Iterable[str]) -> dict[str, str]:
    """Models as they are given -> name -> "tiny", folder or id.

    Raises:
        typer.BadParameter: where two have one name.
    """
    found: dict[str, str] = {}
    for given in models:
        name, _, place = given.rpartition("=")
        name = name or Path(place).name
        if name in found:
            raise typer.BadParameter(f"two models are called {name!r}; name them: --model NAME={place}")
        found[name] = place
    return found


def described(models: Mapping[str, IQPFR], fidelity: float | None = None) -> dict[str, dict[str, Any]]:
    """Size and fidelity of each model, ready for JSON."""
    return {
        name: {"resolution": model.resolution, "fidelity": model.own_fidelity if fidelity is None else fidelity}
        for name, model in models.items()
    }


def quality_of(text: str) -> float | str:
    """A quality as people write it.

    Raises:
        typer.BadParameter: for another word.
    """
    if text in WORDS:
        return text
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"quality is {text!r}; give {QUALITY}") from None


def set_name(folder: Path) -> str:
    """`faces/dev`: a set and its part."""
    return "/".join(folder.resolve().parts[-2:])


def side_of(folder: Path, side: int | None) -> int:
    """The side that was asked for, or that of the folder's smallest picture."""
    return side or min(min(size_of(file)) for file in list_images([folder]))


def load_set(
    folder: Path,
    side: int | None,
    seeds: int,
    change: Callable[[np.ndarray], np.ndarray] | None = None,
    **degradation: Any,
) -> Pictures:
    """The pictures of a folder under the degradation of training for their size, but for the attributes given.

    Args:
        change: of every original (H, W, 3) beforehand; what is drawn for the degradation stays the same.
    """
    at = side_of(folder, side)
    degrade = Degradation.for_resolution(at, **degradation)
    if change is None:
        return degraded_by(degrade, folder, at, seeds)
    pictures = degraded_by(lambda hq, seed: degrade(change(hq), seed), folder, at, seeds)
    changed = [as_batch(change(original.permute(1, 2, 0).numpy())) for original in pictures.original]
    return replace(pictures, original=torch.cat(changed))


def load_photos(folder: Path) -> Pictures:
    """The faces in degraded photos, cut out and aligned; each counts as a person of its own.

    Raises:
        typer.BadParameter: where no face is found.
    """
    found = [
        (f"{file.stem} {place}", as_batch(face))
        for file in list_images([folder])
        for place, face in enumerate(aligned_faces(read_pixels(file), CROP))
    ]
    if not found:
        raise typer.BadParameter(f"no face is found in the photos of {folder}; give aligned faces as --crops")
    people, faces = zip(*found, strict=True)
    return _without_originals(torch.cat(faces), people)


def load_crops(folder: Path) -> Pictures:
    """Degraded aligned faces."""
    files = list_images([folder])
    faces = [resize(read_tensor(file)[None], (CROP, CROP)) for file in files]
    return _without_originals(torch.cat(faces).clamp(0, 1), [file.stem for file in files])


def _without_originals(faces: Tensor, people: Sequence[str]) -> Pictures:
    """What is all that is known of them is what they are compared with."""
    return Pictures(faces, faces, list(people))


def check_sets(folders: Sequence[Path]) -> None:
    """Refuses no folder at all, and two of one name, whose results could not be told apart.

    Raises:
        typer.BadParameter: says what to give.
    """
    if not folders:
        raise typer.BadParameter("there is nothing to look at; give a folder of faces, photos or crops")
    names = [set_name(folder) for folder in folders]
    if len(set(names)) < len(names):
        raise typer.BadParameter(f"two folders are called {max(names, key=names.count)}; give each set once")
