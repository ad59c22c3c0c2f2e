"""What benchmarks restore, and with which model: faces of known people under seeded degradations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from iqp_adapter.bench.intervals import person_of
from iqp_adapter.core.device import default_device
from iqp_adapter.degradations.face import Degradation
from iqp_adapter.degradations.ladder import Ladder
from iqp_adapter.hosts.wrapped import WrappedHost
from iqp_adapter.native import IQPFR
from iqp_adapter.training.dataset import FaceFolder

ModelOption = Annotated[str, typer.Option(help='"tiny", the folder of a model, or a Hub id')]
FacesOption = Annotated[Path, typer.Option(help="folder of aligned faces, named <person>_<take>")]
SeedsOption = Annotated[int, typer.Option(min=1, help="degradations of every picture")]


@dataclass(frozen=True)
class Pictures:
    """Every face under every degradation.

    Attributes:
        original, degraded: (N, 3, R, R) RGB in [0, 1].
        people: who is on each picture (N,).
    """

    original: Tensor
    degraded: Tensor
    people: list[str]


def load_pictures(
    faces: Path, resolution: int, seeds: int, ladder: Ladder | None = None, **degradation: Any
) -> Pictures:
    """The pictures of a folder, each degraded `seeds` times; a ladder varies the quality of the originals.

    The degradation is that of training at 256 px, but for the attributes that are given.
    """
    changes = Degradation.for_resolution(256, **degradation)
    return degraded_by(changes, faces, resolution, seeds, ladder)


def load_sets(folders: Sequence[Path], resolution: int, seeds: int) -> Pictures:
    """The pictures of several folders, one after the other."""
    parts = [load_pictures(folder, resolution, seeds) for folder in folders]
    return Pictures(
        torch.cat([part.original for part in parts]),
        torch.cat([part.degraded for part in parts]),
        [person for part in parts for person in part.people],
    )


def degraded_by(
    degradation: Callable[[np.ndarray, int], np.ndarray],
    faces: Path,
    resolution: int,
    seeds: int,
    ladder: Ladder | None = None,
) -> Pictures:
    """A folder's pictures under any degradation."""
    folder = FaceFolder(faces, resolution, degradation=degradation, ladder=ladder)
    samples = [folder[seed, index] for seed in range(seeds) for index in range(len(folder))]
    return Pictures(
        torch.stack([sample["hq"] for sample in samples]),
        torch.stack([sample["lq"] for sample in samples]),
        [person_of(folder.paths[sample["index"]]) for sample in samples],
    )


def load_model(name: str | Path) -> IQPFR:
    """A model ready to restore, on the accelerator where there is one."""
    return IQPFR.from_pretrained(name).to(memory_format=torch.channels_last).to(default_device())


def restore(model: IQPFR | WrappedHost, degraded: Tensor, batch: int = 10, **dial: Any) -> Tensor:
    """`model.restore` for any number of pictures (N, 3, R, R), on the CPU; `dial` is passed on."""
    return torch.cat([model.restore(part.to(model.device), **dial).cpu() for part in degraded.split(batch)])


def astronaut_face(size: int) -> np.ndarray:
    """Eileen Collins's face, aligned: (size, size, 3) float32 RGB in [0, 1]."""
    from skimage.data import astronaut

    return aligned_faces(astronaut(), size)[0]


def aligned_faces(photo: np.ndarray, size: int) -> list[np.ndarray]:
    """The faces that are found in a photo (H, W, 3) uint8, as the pipeline cuts them out.

    Returns:
        (size, size, 3) float32 RGB in [0, 1] each, ordered as the detector orders them.
    """
    from iqp_adapter.photo import CenterFace
    from iqp_adapter.photo.align import align, similarity, template

    matrices = [similarity(landmarks, template(size)) for landmarks in CenterFace()(photo).landmarks]
    faces = [align(photo, matrix, size) for matrix in matrices if matrix is not None]
    return [(face / 255).clip(0, 1) for face in faces if face is not None]


def as_batch(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()  # (H, W, 3) -> (1, 3, H, W)
