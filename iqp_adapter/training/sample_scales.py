"""The score scale of each sample of a batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.quality import ScoreScale


class SampleScales(NamedTuple):
    """Scales of sets, of which each sample has the one of its own set: quality is that within the set.

    Attributes:
        scales: one for each set, of one metric.
        sets: (B,) int64, the place among `scales` of each sample's.
    """

    scales: tuple[ScoreScale, ...]
    sets: Tensor

    def quality(self, scores: Tensor) -> Tensor:
        """Raw scores (B,) -> quality (B,) in [0, 1]."""
        return self._own([scale.quality(scores) for scale in self.scales])

    def score(self, quality: Tensor) -> Tensor:
        """Quality (B,) in [0, 1] -> raw scores (B,)."""
        return self._own([scale.score(quality) for scale in self.scales])

    def position(self, scores: Tensor) -> Tensor:
        """Raw scores (B,) -> 0 for the worst and 1 for the best of the set, evenly between and beyond."""
        return self._own([scale.position(scores) for scale in self.scales])

    @property
    def spread(self) -> Tensor:
        """Between the scores of the worst and of the best quality, (B,)."""
        return torch.tensor([scale.spread for scale in self.scales], device=self.sets.device)[self.sets]

    def _own(self, values: list[Tensor]) -> Tensor:
        return torch.stack(values).gather(0, self.sets[None])[0]  # (sets, B) -> (B,)
