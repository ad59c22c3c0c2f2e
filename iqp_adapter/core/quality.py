"""Score scales: raw NR-IQA scores <-> the quality in [0, 1] that people ask for; nothing else knows the difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

BEST = 0.95
"""The quality that "best" stands for: a high quantile of the scores seen in training, never an extrapolation."""

ANY = math.nan
"""The quality that "any" stands for: no preference, which models learn as a condition of its own."""

_NAMES = {"best": BEST, "any": ANY}

Quality = float | str | Tensor
"""What a caller may ask for: a number in [0, 1], "best", "any", or a tensor with one value per image (and metric)."""


@dataclass(frozen=True)
class ScoreScale:
    """Turns the scores of one metric into quality and back; quality 1 is best whatever the metric's direction.

    Quality is the empirical distribution function of the training scores, linear between the stored quantiles:
    quality 0.7 is better than 70 % of the training images.

    Args:
        metric: name of the metric, as `Scorer` takes it.
        lower_better: True where a lower score is a better image (NIQE, PIQE).
        quantiles: raw scores from worst to best at equally spaced shares of the training set, two or more.
    """

    metric: str
    lower_better: bool
    quantiles: tuple[float, ...]

    def __post_init__(self) -> None:
        rising = self._oriented(torch.tensor(self.quantiles, dtype=torch.float64))
        if len(self.quantiles) < 2 or not bool((rising.diff() >= 0).all()):
            raise ValueError(
                f"quantiles of {self.metric} must run from worst to best, two or more values; use ScoreScale.fit"
            )

    @classmethod
    def fit(cls, metric: str, lower_better: bool, scores: Tensor | Sequence[float], count: int = 101) -> ScoreScale:
        """Stores `count` quantiles of the training scores (N,), N at least 2."""
        values = torch.as_tensor(scores, dtype=torch.float64)
        if values.ndim != 1 or len(values) < 2 or not bool(values.isfinite().all()):
            raise ValueError(
                f"scores of {metric} must be a list of two or more finite numbers, got {tuple(values.shape)}"
            )
        shares = torch.linspace(1, 0, count) if lower_better else torch.linspace(0, 1, count)
        return cls(metric, lower_better, tuple(values.quantile(shares.double()).tolist()))

    def quality(self, scores: Tensor) -> Tensor:
        """Raw scores, any shape -> quality in [0, 1], same shape; differentiable inside the training range."""
        knots = self._oriented(self._knots(scores))
        values = self._oriented(scores)
        right = torch.searchsorted(knots, values.detach().contiguous()).clamp(1, len(knots) - 1)
        low, high = knots[right - 1], knots[right]
        share = ((values - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
        return (right - 1 + share) / (len(knots) - 1)

    def score(self, quality: Tensor) -> Tensor:
        """Quality in [0, 1], any shape -> the raw score of that quality, same shape."""
        knots = self._knots(quality)
        position = quality.clamp(0, 1) * (len(knots) - 1)
        left = position.floor().long().clamp_max(len(knots) - 2)
        return torch.lerp(knots[left], knots[left + 1], position - left)

    @property
    def spread(self) -> float:
        """Between the scores of the worst and of the best quality."""
        worst, best = self.score(torch.tensor([0.0, 1.0]))
        return float((best - worst).abs())

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"quantiles": list(self.quantiles)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ScoreScale:
        return cls(data["metric"], data["lower_better"], tuple(data["quantiles"]))

    def _oriented(self, values: Tensor) -> Tensor:
        return -values if self.lower_better else values

    def _knots(self, like: Tensor) -> Tensor:
        return torch.tensor(self.quantiles, device=like.device, dtype=like.dtype)


def as_quality(quality: Quality, batch: int, metrics: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
    """What a caller asked for -> quality (B, S), one column per metric, NaN where there is no preference.

    Args:
        quality: a number in [0, 1], "best", "any", or a tensor (B,) or (B, S).
        batch: number of images B.
        metrics: names of the S metrics of the model, for the error's sake.

    Raises:
        ValueError: on another word, a number outside [0, 1] or a tensor of another shape.
    """
    if isinstance(quality, str):
        if quality == "match":
            raise ValueError("quality 'match' compares a face with the photo around it; use restore_photo, or a number")
        if quality not in _NAMES:
            raise ValueError(f"quality is {quality!r}; use a number in [0, 1], {' or '.join(map(repr, _NAMES))}")
        quality = _NAMES[quality]
    shape = (batch, len(metrics))
    values = torch.as_tensor(quality, dtype=torch.float32, device=device)
    if values.ndim == 1:
        values = values[:, None]  # (B,) -> (B, 1)
    if values.ndim and (values.ndim != 2 or values.shape[0] != batch or values.shape[1] not in (1, len(metrics))):
        raise ValueError(
            f"quality has shape {tuple(values.shape)}, expected {shape}: image by metric, {', '.join(metrics)}"
        )
    if bool(((values < 0) | (values > 1)).any()):
        raise ValueError(f"quality must lie in [0, 1], got {values.flatten().tolist()}; 1 is the best seen in training")
    return values.expand(shape)
