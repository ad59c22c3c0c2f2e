"""Checks the driving metric by metrics that training does not use, by identity, and by distance to the bare host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..scoring.scorer import Scorer

logger = logging.getLogger(__name__)

Embed = Callable[[Tensor], Tensor]
"""Faces (B, 3, H, W) in [0, 1] -> identity vectors (B, D)."""


class Guard:
    """Compares restorations with the bare host's, and warns if the driving metric improves alone.

    Args:
        driving: the metric of the condition.
        judges: metrics that training does not use.
        embed: gives identity vectors; without it the log has no identities.
    """

    def __init__(self, driving: Scorer, judges: Sequence[Scorer], embed: Embed | None = None):
        self.driving, self.judges, self.embed = driving, judges, embed

    def __call__(self, best: Tensor, bare: Tensor, hq: Tensor) -> dict[str, Tensor]:
        """Pictures (B, 3, R, R) in [0, 1] at "best", of the bare host and of the target -> means by name."""
        gains = {scorer.metric: self._gain(scorer, best, bare) for scorer in (self.driving, *self.judges)}
        self._warn(gains)
        results = {f"gain in {metric}": gain for metric, gain in gains.items()}
        results["from bare"] = (best - bare).abs().mean()
        if self.embed is not None:
            wanted = self.embed(hq)
            results |= {
                f"identity, {name}": torch.cosine_similarity(self.embed(pictures), wanted).mean()
                for name, pictures in (("best", best), ("bare", bare))
            }
        return results

    def _gain(self, scorer: Scorer, best: Tensor, bare: Tensor) -> Tensor:
        """By how much the first pictures are better, in points of the metric."""
        gain = (scorer(best) - scorer(bare)).mean()
        return -gain if scorer.lower_better else gain

    def _warn(self, gains: dict[str, Tensor]) -> None:
        driving, *judges = gains.values()
        if judges and driving > 0 and all(gain < 0 for gain in judges):
            numbers = ", ".join(f"{metric} {float(gain):+.3g}" for metric, gain in gains.items())
            logger.warning(
                "best gains by %s over the bare host and loses by every metric it does not learn from (%s)",
                self.driving.metric,
                numbers,
            )
