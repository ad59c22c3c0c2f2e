"""The likeness of the NTIRE challenges: AdaFace embeddings of input and output, cut out by the same landmarks.

Source: NTIRE Real-World Face Restoration (face_alignment/inference.py).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...photo.align import template
from ...pictures import as_pixels, warp_affine
from .adaface import read_adaface
from .base import Download, Measure, Protocol

TEMPLATE = np.array(
    [[38.29459953, 51.69630051], [73.53179932, 51.50139999], [56.0252, 71.73660278], [41.54930115, 92.3655014],
     [70.72990036, 92.20410156]]
)  # fmt: skip
"""(5, 2) where AdaFace wants eye, eye, nose and mouth corners in a crop of 112 px."""

POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


def likeness(device: torch.device, files: Sequence[Path]) -> Measure:
    """Cosine of the embeddings of input and output.

    Args:
        files: AdaFace's weights, and where there is a second one, the challenge's CSV of landmarks, by file name in
            pixels of a 512 px picture; without it the five points of the template that test pictures are aligned to.
    """
    weights, *tables = files
    network, known = read_adaface(weights).to(device), read_landmarks(tables[0]) if tables else None

    @torch.no_grad()
    def embed(images: Tensor, names: Sequence[str]) -> Tensor:
        points = [landmarks_of(name, known) for name in names]
        crops = [ntire_crop(as_pixels(image), at) for image, at in zip(images, points, strict=True)]
        bgr = torch.from_numpy(np.stack(crops)[..., ::-1].copy()).permute(0, 3, 1, 2)  # (B, 112, 112, 3) -> (B, 3, ...)
        return normalize(network((bgr.contiguous() / 127.5 - 1).to(device))).cpu()

    return Measure(
        f"AdaFace IR-50, landmarks of {tables[0].name if tables else 'the template'}",
        lambda restored, given, names: (embed(restored, names) * embed(given, names)).sum(1),
    )


def read_landmarks(path: Path) -> dict[str, np.ndarray]:
    """The challenge's table: the first column names the picture, then x and y of five points -> (5, 2) each."""
    with path.open(newline="", encoding="utf-8") as stream:
        table = csv.DictReader(stream)
        key = (table.fieldnames or ["filename"])[0]
        try:
            return {
                row[key]: np.array([[float(row[f"{point}_{axis}"]) for axis in "xy"] for point in POINTS])
                for row in table
            }
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is no table of landmarks ({error}); it has columns left_eye_x ... mouth_right_y"
            ) from error


def landmarks_of(name: str, known: dict[str, np.ndarray] | None) -> np.ndarray:
    """(5, 2) in pixels of a 512 px picture."""
    if known is None:
        return template(512)
    if name not in known:
        raise ValueError(f"the landmarks have no {name!r}; give the table of this test set, or none")
    return known[name]


def ntire_crop(pixels: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """A picture (S, S, 3) -> (112, 112, 3), by the least-squares similarity from landmarks (5, 2) at 512 px."""
    scale = pixels.shape[0] / 512
    return warp_affine(pixels, least_squares(landmarks * scale, TEMPLATE), (112, 112))


def least_squares(points: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The similarity (2, 3) without reflection that brings points (N, 2) nearest to the wanted ones."""
    x, y = points.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])  # (2N, 4)
    a, b, right, down = np.linalg.lstsq(rows, wanted.T.reshape(-1), rcond=None)[0]
    return np.array([[a, -b, right], [b, a, down]])


ADAFACE = Download("adaface_ir50_ms1mv2.ckpt", "https://drive.google.com/file/d/1eUaSHG4pGlIZK7hBkqjyp2fc2epKoBvI/view")

PROTOCOLS = (
    Protocol(
        "identity/adaface-ir50@ntire",
        False,
        "input",
        likeness,
        download=(ADAFACE,),
        note="cosine of AdaFace IR-50 (MS1MV2) embeddings of input and output, cut out by five landmarks to 112 px, "
        "BGR in [-1, 1]; by the challenge's table of landmarks where it is given as a second file, else the template's",
    ),
)
