"""The README's picture: scikit-image's astronaut degraded with seed 0, restored at three qualities, and as she is.

python -m benchmarks.native.astronaut --model tiny
"""

from __future__ import annotations

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.native.pictures import ModelOption, load_model, restore
from benchmarks.native.report import RESULTS, OutOption, provenance, write_json
from benchmarks.native.sheet import write_sheet
from iqp_adapter.degradations.face import Degradation
from iqp_adapter.photo.align import align, similarity, template
from iqp_adapter.photo.detect import CenterFace

SEED = 0
QUALITIES = {"quality 0.1": 0.1, "quality 0.5": 0.5, 'quality "best"': "best"}


def astronaut_face(size: int) -> np.ndarray:
    """Eileen Collins's face, aligned: (size, size, 3) float32 RGB in [0, 1]."""
    from skimage.data import astronaut

    photo = astronaut()
    matrix = similarity(CenterFace()(photo).landmarks[0], template(size))
    assert matrix is not None
    face = align(photo, matrix, size)
    assert face is not None
    return (face / 255).clip(0, 1)


def main(model: ModelOption = "tiny", out: OutOption = RESULTS) -> None:
    """Degraded | quality 0.1 | 0.5 | best | original, first draw, unselected."""
    network = load_model(model)
    original = astronaut_face(network.resolution)
    degraded = as_batch(Degradation()(original, SEED))
    restored = {name: restore(network, degraded, quality=quality) for name, quality in QUALITIES.items()}
    write_sheet(out / "astronaut.png", {"degraded": degraded} | restored | {"original": as_batch(original)})
    write_json(out / "astronaut.json", {"picture": "astronaut.png"} | provenance(SEED, model=model))


def as_batch(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()  # (H, W, 3) -> (1, 3, H, W)


if __name__ == "__main__":
    typer.run(main)
