"""Restorers, scorers and photos for the tests of photos: small, exact, and quick."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from skimage.data import astronaut
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.photo import GivenFaces
from iqp_adapter.pictures import encode, read_photo, target_format
from iqp_adapter.restorer import Restorer

LANDMARKS = np.array([[203.0, 98.5], [247.0, 102.0], [223.0, 122.5], [201.5, 142.5], [241.0, 145.5]])
"""The astronaut's eyes, nose and mouth corners."""

BOX = np.array([180.0, 64.0, 270.0, 176.0])

FACE = GivenFaces(LANDMARKS[None], BOX[None])
"""Stands for a detector on the astronaut."""


def photo() -> np.ndarray:
    """(512, 512, 3) uint8."""
    return astronaut()


class Echo(Restorer, nn.Module):
    """Gives back what it gets, and remembers the size of each batch."""

    def __init__(self, resolution: int = 256) -> None:
        super().__init__()
        self.side = resolution
        self.batches: list[int] = []
        self.asked: list[dict[str, Any]] = []

    @property
    def resolution(self) -> int:
        return self.side

    def restore(self, lq: Tensor, **asked: Any) -> Tensor:
        self.batches.append(len(lq))
        self.asked.append(asked)
        return lq


class Negative(Echo):
    """Changes every pixel beyond doubt."""

    def restore(self, lq: Tensor, **asked: Any) -> Tensor:
        return 1 - super().restore(lq, **asked)


class Dial(Echo):
    """The lower the quality, the softer the face."""

    def restore(self, lq: Tensor, **asked: Any) -> Tensor:
        width = 1 + 2 * round(6 * (1 - asked["quality"]))
        return avg_pool2d(super().restore(lq, **asked), width, 1, width // 2, count_include_pad=False)


class Faithful(Echo):
    """Has a weight between detail and likeness."""

    own_fidelity = 0.25


class Plain(Echo):
    """Restores as it always does."""

    takes_quality = False


class Stranger(Echo):
    """Makes somebody else of a face, the more so the larger the scale, up to its negative."""

    decides_codes = True

    def restore(self, lq: Tensor, **asked: Any) -> Tensor:
        return (lq + asked["scale"] * (1 - 2 * super().restore(lq, **asked))).clamp(0, 1)

    def optimise(self, lq: Tensor, steps: int, **asked: Any) -> Tensor:
        self.asked.append({"steps": steps, **asked})
        return 1 - lq


class Brightness:
    """A metric whose score is the mean brightness in [0, 100]."""

    metric = "brightness"
    lower_better = False
    scale = ScoreScale("brightness", False, tuple(float(score) for score in range(101)))

    def __call__(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3)) * 100


class Scored(Negative):
    """A restorer that knows the scale of its metric."""

    score_scale = Brightness.scale


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Of pictures in [0, 255]."""
    error = np.square(one.astype(np.float64) - other.astype(np.float64)).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-12)))


def embed(images: Tensor) -> Tensor:
    """An embedder: the picture in 8 x 8 pixels."""
    return torch.nn.functional.adaptive_avg_pool2d(images, 8).flatten(1)


def again(path: Path, target: Path) -> Image.Image:
    """Reads a file and writes it once more with its own, unchanged pixels."""
    given = read_photo(path)
    encode(given, given.pixels, given.alpha, target, target_format(given, target))
    written = Image.open(target)
    written.load()
    return written
