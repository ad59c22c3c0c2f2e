"""Steady faces: each crop is averaged with those of the frames around it, where they show the same.

Fresh noise in every frame makes a restorer see other details in each, which flicker. The average of crops has less
noise, so that the details that are restored stay, and are nearer to the truth. Crops are aligned, which undoes the
movement of the head; where lips or eyes move, a crop that differs counts less.

Source: the averaging of a pixel's past and future by similarity is a bilateral filter in time (Bennett, 2005).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

REACH = 4
"""Frames before and after a frame that are averaged with it."""

WINDOW = 1 / 32
"""Side of the square over which crops are compared, in units of the crop's side."""

TOLERANCE = 3.0
"""A difference of so many times the usual one counts as movement."""

LEAST, MOST = 1 / 255, 6 / 255
"""The usual difference is taken to be within these: less is rounding, more is no noise."""


def steadied(crops: Sequence[Tensor], own: Tensor) -> Tensor:
    """(3, R, R) one of the crops (3, R, R), averaged with the others where they show the same."""
    total, weights = torch.zeros_like(own), torch.zeros_like(own[:1])
    for crop in crops:
        weight = torch.ones_like(weights) if crop is own else _likeness(crop - own)
        total += weight * crop
        weights += weight
    return total / weights


def _likeness(difference: Tensor) -> Tensor:
    """(1, R, R) in [0, 1], of a difference (3, R, R): 1 where it is noise."""
    side = 2 * max(1, round(difference.shape[-1] * WINDOW / 2)) + 1
    broad = avg_pool2d(difference[None], side, 1, side // 2, count_include_pad=False)[0].abs().amax(0, keepdim=True)
    usual = broad.median().clamp(LEAST, MOST)
    return torch.exp(-0.5 * (broad / (TOLERANCE * usual)).square())
