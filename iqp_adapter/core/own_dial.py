"""The dial that a model has itself: a score among the arguments of its call."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .quality import Quality, ScoreScale, as_rows


@dataclass(frozen=True)
class OwnDial:
    """The dial that a host has itself: a score of the wanted picture among the arguments of its call.

    Args:
        argument: its name in the host's call, which takes a tensor (B,).
        scale: of the score: its range, its direction, and the score of every quality. "best" is that of quality 0.95,
            as everywhere.
        any: the score that stands for no preference.
        required: whether the host cannot be called without a score; a call that asks for nothing is one for `any` then.
    """

    argument: str
    scale: ScoreScale
    any: float
    required: bool = False

    def score(self, quality: Quality) -> Tensor:
        """What was asked for -> the host's argument, (1,) for all pictures or (B,)."""
        [rows] = as_rows(quality, [self.scale.metric]).unbind(1)  # (B, 1) -> (B,)
        return torch.where(rows.isnan(), self.any, self.scale.score(rows.nan_to_num()))
