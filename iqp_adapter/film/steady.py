"""Steady faces: each crop is averaged with those of the frames around it, where they show the same.

Fresh noise in every frame makes a restorer see other details in each, which flicker. The average of crops has less
noise, so that the details that are restored stay, and are nearer to the truth. What is restored is averaged once more,
since a restorer makes other details even of a face that moves by a part of a pixel. Crops are aligned, which undoes the
movement of the head; where lips or eyes move, a crop that differs counts less.

Source: the averaging of a pixel's past and future by similarity is a bilateral filter in time (Bennett, 2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

REACH = 6
"""Frames before and after a frame that are averaged with it."""

WINDOW = 1 / 32
"""Side of the square over which crops are compared, in units of the crop's side."""

TOLERANCE = 3.0
"""A difference of so many times the usual one counts as movement."""

LEAST, MOST = 0.5 / 255, 6 / 255
"""The usual difference is taken to be within these: less is rounding, more is no noise."""


@dataclass(frozen=True, eq=False)
class Aligned:
    """A crop, or what was restored of it.

    Attributes:
        picture: (3, R, R).
        broad: (R, R) its grey, averaged over a square, by which it is compared with others.
    """

    picture: Tensor
    broad: Tensor

    @classmethod
    def of(cls, picture: Tensor) -> Aligned:
        import cv2

        grey = picture.mean(0).numpy()
        side = _window(grey)
        return cls(picture, torch.from_numpy(cv2.blur(grey, (side, side), borderType=cv2.BORDER_REFLECT_101)))


def steadied(near: Sequence[Aligned], own: Aligned) -> Tensor:
    """(3, R, R) the picture of one, averaged with the others where they show the same."""
    total, weights = torch.zeros_like(own.picture), torch.zeros_like(own.picture[:1])
    for other in near:
        weight = torch.ones_like(weights) if other is own else _likeness(other.broad - own.broad)
        total.addcmul_(weight, other.picture)
        weights += weight
    return total / weights


def _likeness(difference: Tensor) -> Tensor:
    """(1, R, R) in [0, 1], of a difference (R, R) of averages: 1 where it is noise."""
    apart = max(1, _window(difference) // 2)  # averages of places that are nearer are nearly equal
    usual = difference[::apart, ::apart].abs().median().clamp(LEAST, MOST)
    return torch.exp(-0.5 * (difference / (TOLERANCE * usual)).square())[None]  # (R, R) -> (1, R, R)


def _window(grey: np.ndarray | Tensor) -> int:
    return max(3, round(len(grey) * WINDOW))
