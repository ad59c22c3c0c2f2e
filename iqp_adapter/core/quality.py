"""Quality: what people may ask for, what words for it mean, and the scales that turn raw scores into it and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor

from .metrics import as_saved, canonical, members
from .tracing import is_traced

BEST = 0.95
"""The quality that "best" stands for: a high quantile of the scores seen in training, never an extrapolation."""

ANY = math.nan
"""The quality that "any" stands for: no preference, which models learn as a condition of its own."""

MATCH = "match"
"""Asks a photo for the quality of what surrounds the face; means nothing to a model."""

WORDS = {"best": BEST, "any": ANY}
"""The words that stand for a quality."""

Quality = float | str | Tensor
"""What a caller may ask for: a number in [0, 1], "best", "any", or a tensor with one value per image (and metric)."""


class _Own(Enum):
    OWN = "the quality of the model itself"


OWN = _Own.OWN
"""Stands for the model's own quality, `model.quality`, where a call names none."""

Asked = Quality | Literal[_Own.OWN] | None
"""The `quality` of a call: what a caller asks for, the model's own, or None, which means that nothing is asked for."""


@dataclass(frozen=True)
class ScoreScale:
    """Turns the scores of one metric into quality and back; quality 1 is best whatever the metric's direction.

    Quality is the empirical distribution function of the training scores, linear between the stored quantiles:
    quality 0.7 is better than 70 % of the training images.

    Args:
        metric: name of the metric, as `Scorer` takes it; kept as its canonical name, with the version.
        lower_better: True where a lower score is a better image (NIQE, PIQE).
        quantiles: raw scores from worst to best, two or more.
        shares: of the training set, one for each quantile: how much of it is no better, from 0 to 1, each above the one
            before. By default they are equally spaced; if they are given and equally spaced, they are kept as `()`.
        members: of an ensemble, the scales on which its members are scored, in the order of its name. By default those
            that the library stores.
        side: pixels a side to which larger pictures were reduced before they were scored; None scores them as they are.

    Raises:
        ValueError: for quantiles or shares in another order or number, and for scales of other members.
    """

    metric: str
    lower_better: bool
    quantiles: tuple[float, ...]
    shares: tuple[float, ...] = ()
    members: tuple[ScoreScale, ...] = ()
    side: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "metric", canonical(self.metric))
        rising = self._oriented(torch.tensor(self.quantiles, dtype=torch.float64, device="cpu"))
        if len(self.quantiles) < 2 or not bool((rising.diff() >= 0).all()):
            raise ValueError(
                f"quantiles of {self.metric} must run from worst to best, two or more values; use ScoreScale.fit"
            )
        self._check_shares()
        names = tuple(member.metric for member in self.members)
        if names and names != members(self.metric):
            raise ValueError(f"the scale of {self.metric} has scales of {', '.join(names)}; give one for each member")

    @classmethod
    def fit(cls, metric: str, lower_better: bool, scores: Tensor | Sequence[float], count: int = 101) -> ScoreScale:
        """Stores `count` quantiles of the training scores (N,), N at least 2; with 2, the minimum and the maximum."""
        values = torch.as_tensor(scores, dtype=torch.float64)
        if values.ndim != 1 or len(values) < 2 or not bool(values.isfinite().all()):
            raise ValueError(
                f"scores of {metric} must be a list of two or more finite numbers, got {tuple(values.shape)}"
            )
        shares = torch.linspace(1, 0, count) if lower_better else torch.linspace(0, 1, count)
        return cls(metric, lower_better, tuple(values.quantile(shares.double()).tolist()))

    @classmethod
    def mixture(cls, scales: Sequence[ScoreScale], shares: Sequence[float], count: int = 101) -> ScoreScale:
        """The scale of several training sets together: their distribution functions, mixed by the sets' shares.

        Args:
            scales: of one metric.
            shares: of the sets, one for each scale and above 0; only their proportions count.

        Returns:
            `count` quantiles; where all scales are equal, the first of them as it is.

        Raises:
            ValueError: for scales of several metrics, and for other shares.
        """
        _check_mixture(scales, shares)
        first = scales[0]
        if all(scale == first for scale in scales):
            return first
        knots = torch.cat([scale._oriented(scale._knots(_DOUBLE)) for scale in scales]).unique()
        limits = torch.stack([scale._limits(knots) for scale in scales])  # (sets, 2 K), below and at every knot
        weights = torch.tensor(shares, dtype=torch.float64)
        mixed = (weights / weights.sum() @ limits).cummax(0).values
        levels = torch.linspace(0, 1, count, dtype=torch.float64)
        quantiles = _interpolated(levels, mixed, knots.repeat_interleave(2)).cummax(0).values
        return replace(first, quantiles=tuple(first._oriented(quantiles).tolist()), shares=())

    def quality(self, scores: Tensor) -> Tensor:
        """Raw scores, any shape -> quality in [0, 1], same shape; differentiable inside the training range."""
        return _interpolated(self._oriented(scores), self._oriented(self._knots(scores)), self._levels(scores))

    def score(self, quality: Tensor) -> Tensor:
        """Quality in [0, 1], any shape -> the raw score of that quality, same shape."""
        return _interpolated(quality, self._levels(quality), self._knots(quality))

    def ends(self) -> ScoreScale:
        """The scale between the same worst and best score that is a straight line: (score - min) / (max - min)."""
        return replace(self, quantiles=(self.quantiles[0], self.quantiles[-1]), shares=())

    @property
    def spread(self) -> float:
        """Between the scores of the worst and of the best quality."""
        worst, best = self.score(torch.tensor([0.0, 1.0]))
        return float((best - worst).abs())

    def position(self, scores: Tensor) -> Tensor:
        """Raw scores, any shape -> 0 for the worst and 1 for the best quality, evenly between and beyond."""
        worst, best = self.quantiles[0], self.quantiles[-1]
        return (scores - worst) / (best - worst)

    def of_positions(self) -> ScoreScale:
        """The scale of the positions of these scores, for a model that takes a score from 0 to 1."""
        positions = self.position(torch.tensor(self.quantiles, dtype=torch.float64)).tolist()
        return replace(self, lower_better=False, quantiles=tuple(positions))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a config; what is as by default is left out."""
        values = {"metric": self.metric, "lower_better": self.lower_better, "quantiles": list(self.quantiles)}
        further = {"shares": list(self.shares), "members": [one.to_dict() for one in self.members], "side": self.side}
        return values | {name: value for name, value in further.items() if value}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ScoreScale:
        """What `to_dict` gave; a metric without a version is the first one, since earlier releases named none."""
        shares, parts = tuple(data.get("shares", ())), tuple(map(cls.from_dict, data.get("members", ())))
        metric, quantiles = as_saved(data["metric"]), tuple(data["quantiles"])
        return cls(metric, data["lower_better"], quantiles, shares, parts, data.get("side"))

    def _limits(self, oriented: Tensor) -> Tensor:
        """Oriented scores (K,) -> the distribution function just below and at each of them, (2 K,)."""
        shares = tuple(1 - share for share in self.shares[::-1])
        reversed_scale = replace(
            self, lower_better=not self.lower_better, quantiles=self.quantiles[::-1], shares=shares
        )
        scores = self._oriented(oriented)
        return torch.stack([self.quality(scores), 1 - reversed_scale.quality(scores)], -1).flatten()  # (K, 2) -> (2 K,)

    def _oriented(self, values: Tensor) -> Tensor:
        return -values if self.lower_better else values

    def _knots(self, like: Tensor) -> Tensor:
        return torch.tensor(self.quantiles, device=like.device, dtype=like.dtype)

    def _levels(self, like: Tensor) -> Tensor:
        """The shares of the knots, equally spaced or not."""
        if self.shares:
            return torch.tensor(self.shares, device=like.device, dtype=like.dtype)
        return torch.linspace(0, 1, len(self.quantiles), device=like.device, dtype=like.dtype)

    def _check_shares(self) -> None:
        """Equally spaced shares are kept as none, so that equal scales are equal."""
        if not self.shares:
            return
        steps = len(self.quantiles) - 1
        rising = all(low < high for low, high in pairwise(self.shares))
        if len(self.shares) != steps + 1 or (self.shares[0], self.shares[-1]) != (0, 1) or not rising:
            raise ValueError(
                f"shares of {self.metric} must rise from 0 to 1, one for each of {steps + 1} quantiles; "
                f"got {len(self.shares)} from {self.shares[0]:g} to {self.shares[-1]:g}"
            )
        if all(abs(share - place / steps) < 1e-6 for place, share in enumerate(self.shares)):
            object.__setattr__(self, "shares", ())


SET_SCALES = "set_scales"
"""Entry of a config for the scale of each training set by its name, where a model was trained on several."""


def set_scales_entry(scales: Mapping[str, ScoreScale]) -> dict[str, Any]:
    """That entry; without scales there is none, so that the config is as it always was."""
    return {SET_SCALES: {name: scale.to_dict() for name, scale in scales.items()}} if scales else {}


_DOUBLE = torch.empty(0, dtype=torch.float64)


def _check_mixture(scales: Sequence[ScoreScale], shares: Sequence[float]) -> None:
    kinds = {(scale.metric, scale.lower_better, scale.members, scale.side) for scale in scales}
    if len(kinds) != 1:
        metrics = ", ".join(sorted({scale.metric for scale in scales})) or "none"
        raise ValueError(
            f"scales of {metrics} cannot be mixed; give scales of one metric and one direction, on equal members and "
            "sides"
        )
    if len(shares) != len(scales) or not all(0 < share < math.inf for share in shares):
        raise ValueError(f"shares are {list(shares)} for {len(scales)} scales; give a number above 0 for each")


def _interpolated(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The value at each place, any shape, of the line through the points (x, y), (K,) each; x rises, y stays beyond."""
    right = torch.searchsorted(x, at.detach().contiguous()).clamp(1, len(x) - 1)
    low, high = x[right - 1], x[right]
    return torch.lerp(y[right - 1], y[right], ((at - low) / (high - low).clamp_min(1e-12)).clamp(0, 1))


def parse_quality(text: str, words: Sequence[str] = (*WORDS, MATCH)) -> float | str:
    """What a person typed -> a word or a number.

    Raises:
        ValueError: for another word, and for a number outside [0, 1].
    """
    if text in words:
        return text
    try:
        number = float(text)
    except ValueError:
        number = math.inf
    if not 0 <= number <= 1:
        raise ValueError(f"quality is {text!r}; use a number in [0, 1], {_either(words)}")
    return number


def as_quality(quality: Quality, batch: int, metrics: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
    """What a caller asked for -> quality (B, S), one column per metric, NaN where there is no preference.

    Args:
        quality: a number in [0, 1], "best", "any", or a tensor (B,) or (B, S).
        batch: number of images B.
        metrics: names of the S metrics of the model, for the error's sake.

    Raises:
        ValueError: on another word, what is no number in [0, 1], or a tensor of another shape.
    """
    quality = _number(quality) if isinstance(quality, str) else _without_nan(quality)
    shape = (batch, len(metrics))
    values = torch.as_tensor(quality, dtype=torch.float32, device=device)
    if values.ndim == 1:
        values = values[:, None]  # (B,) -> (B, 1)
    if values.ndim and (values.ndim != 2 or values.shape[0] != batch or values.shape[1] not in (1, len(metrics))):
        raise ValueError(
            f"quality has shape {tuple(values.shape)}, expected {shape}: image by metric, {', '.join(metrics)}"
        )
    if not is_traced() and bool(((values < 0) | (values > 1)).any()):
        raise ValueError(f"quality must lie in [0, 1], got {values.flatten().tolist()}; 1 is the best seen in training")
    return values.expand(shape)


def as_rows(quality: Quality, metrics: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
    """What a caller asked for -> quality (1, S) for all images, or (B, S) where every image has its own.

    Raises:
        ValueError: as `as_quality`.
    """
    rows = quality.shape[0] if isinstance(quality, Tensor) and quality.ndim else 1
    return as_quality(quality, rows, metrics, device)


def _number(word: str) -> float:
    if word == MATCH:
        raise ValueError("quality 'match' compares a face with the photo around it; use restore_photo, or a number")
    if word not in WORDS:
        raise ValueError(f"quality is {word!r}; use a number in [0, 1], {_either(tuple(WORDS))}")
    return WORDS[word]


def _without_nan(quality: float | Tensor) -> float | Tensor:
    """The quality itself; in tensors NaN stands for no preference, alone it is a slip."""
    truth = quality.dtype == torch.bool if isinstance(quality, Tensor) else isinstance(quality, bool)
    if truth or (isinstance(quality, Real) and math.isnan(quality)):
        raise ValueError(f"quality is {quality}; use a number in [0, 1], {_either(tuple(WORDS))}")
    if not isinstance(quality, (Real, Sequence, Tensor)) and not hasattr(quality, "__array__"):
        raise ValueError(f"quality is a {type(quality).__name__}; use a number in [0, 1], {_either(tuple(WORDS))}")
    return quality


def _either(words: Sequence[str]) -> str:
    *others, last = map(repr, words)
    return f"{', '.join(others)} or {last}"
