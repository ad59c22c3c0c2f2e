"""Steady faces: each crop is averaged with those of the frames around it, where they show the same.

Fresh noise in every frame makes a restorer see other details in each, which flicker. The average of crops has less
noise, so that the details that are restored stay, and are nearer to the truth. What is restored is averaged once more,
since a restorer makes other details even of a face that moves by a part of a pixel. Crops are aligned, which undoes the
movement of the head; where lips or eyes move, a crop that differs counts less.

Source: the averaging of a pixel's past and future by similarity is a bilateral filter in time (Bennett, 2005).
"""

from __future__ import annotations

from collections.abc import Sequence

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


def steadied(crops: Sequence[Tensor], own: Tensor) -> Tensor:
    """(3, R, R) one of the crops, or of pictures of them, averaged with the others where they show the same."""
    total, weights = torch.zeros_like(own), torch.zeros_like(own[:1])
    for crop in crops:
        weight = torch.ones_like(weights) if crop is own else _likeness(crop - own)
        total += weight * crop
        weights += weight
    return total / weights


def _likeness(difference: Tensor) -> Tensor:
    """(1, R, R) in [0, 1], of a difference (3, R, R): 1 where it is noise."""
    import cv2

    grey = difference.mean(0).numpy()
    side = max(3, round(len(grey) * WINDOW))
    broad = np.abs(cv2.blur(grey, (side, side), borderType=cv2.BORDER_REFLECT_101))
    usual = np.median(broad).clip(LEAST, MOST)
    return torch.from_numpy(np.exp(-0.5 * np.square(broad / (TOLERANCE * usual))))[None]  # (R, R) -> (1, R, R)
