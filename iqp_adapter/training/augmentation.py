"""Small random changes of pose and colour of a training picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..degradations.checks import check_range, check_share
from ..pictures import LUMA
from ..store.settings import check_types


@dataclass(frozen=True)
class Augmentation:
    """Small random changes of pose and colour.

    Attributes:
        flip: probability of mirroring left and right.
        rotation: largest angle in degrees, to either side.
        scale: range of magnification; 1 shows the whole picture.
        shift: largest shift in any direction, as a share of the picture's side.
        brightness, contrast, saturation: largest relative change, 0 for none.
        tint: largest relative change of a single channel.
        grey: probability that a sample has no colours, neither in its input nor in its target.
    """

    flip: float = 0.5
    rotation: float = 8.0
    scale: tuple[float, float] = (0.9, 1.15)
    shift: float = 0.04
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.3
    tint: float = 0.15
    grey: float = 0.0

    def __post_init__(self) -> None:
        check_types(self)
        check_range("scale", self.scale, 0.1, 10)
        check_share("flip", self.flip)
        check_share("grey", self.grey)

    @property
    def only_mirrors(self) -> bool:
        """Whether what it makes of a picture is the picture or its mirror image, and nothing else."""
        changes = (self.rotation, self.shift, self.brightness, self.contrast, self.saturation, self.tint, self.grey)
        return not any(changes) and tuple(self.scale) == (1, 1)

    def pose(self, rng: np.random.Generator) -> np.ndarray:
        """A random map from target to picture, (2, 3) float64, both in half sides from the centre."""
        angle = math.radians(rng.uniform(-self.rotation, self.rotation))
        zoom = 1 / rng.uniform(*self.scale)
        mirror = -1 if rng.uniform() < self.flip else 1
        cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
        shift_x, shift_y = rng.uniform(-2 * self.shift, 2 * self.shift, 2)
        return np.array([[mirror * cos, -mirror * sin, shift_x], [sin, cos, shift_y]])

    def colours(self, rng: np.random.Generator) -> np.ndarray:
        """A random change of colour, (3, 4) float32: (R, G, B, 1) -> RGB, with RGB in [0, 1]."""
        brightness, contrast, saturation = (
            1 + rng.uniform(-amount, amount) for amount in (self.brightness, self.contrast, self.saturation)
        )
        tint = 1 + rng.uniform(-self.tint, self.tint, (3, 1))
        matrix = saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), LUMA.astype(np.float32))
        offset = np.full((3, 1), 0.5 * (1 - contrast))
        return np.hstack([brightness * contrast * tint * matrix, offset]).astype(np.float32)
