"""How certain a mean over test pictures is: bootstrap intervals over the people that the pictures show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

_BLOCK = 1_000
"""Draws that are multiplied at once, as floats: matrices of integers multiply slowly."""


class Interval(NamedTuple):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}]"


class People:
    """Draws people with replacement, with all their pictures: pictures of one person are not independent evidence.

    Args:
        people: who is on each picture (N,).
        draws: number of resamples.
        seed: of the draws; equal people and seeds give equal resamples, so that differences are paired.

    Raises:
        ValueError: when there is only one person.
    """

    def __init__(self, people: Sequence[str], draws: int = 10_000, seed: int = 0) -> None:
        names, owner, shown = np.unique(people, return_inverse=True, return_counts=True)
        if len(names) < 2:
            raise ValueError(f"all pictures show {names[0]}; an interval over people needs two or more")
        self.names: list[str] = names.tolist()
        self._by_person = np.argsort(owner, kind="stable")  # (N,)
        self._first = np.cumsum(shown) - shown  # (P,)
        self._drawn = _drawn(len(names), draws, np.random.default_rng(seed))  # (D, P)
        self._pictures = self._over_draws(shown)  # (D,)

    def means(self, values: np.ndarray) -> np.ndarray:
        """Values (..., N) -> their mean in every resample (..., D)."""
        sums = np.add.reduceat(values[..., self._by_person], self._first, axis=-1)  # (..., N) -> (..., P)
        return self._over_draws(sums) / self._pictures

    def interval(self, values: np.ndarray) -> Interval:
        """Mean of the values (N,) and its 95 % interval."""
        return interval(float(np.mean(values)), self.means(values))

    def _over_draws(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers of people (..., P) -> their sum in every resample (..., D)."""
        blocks = (self._drawn[start : start + _BLOCK] for start in range(0, len(self._drawn), _BLOCK))
        return np.concatenate([numbers @ block.T.astype(float) for block in blocks], axis=-1)


def _drawn(people: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """How often each draw has each person (D, P): whole numbers that need a quarter of the memory of floats."""
    shares = np.full(people, 1 / people)
    sizes = [min(_BLOCK, draws - start) for start in range(0, draws, _BLOCK)]
    return np.concatenate([rng.multinomial(people, shares, size).astype(np.uint16) for size in sizes])


def interval(estimate: float, resampled: np.ndarray) -> Interval:
    """An estimate with the middle 95 % of its resamples (D,)."""
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Interval(estimate, float(low), float(high))


def spearman(values: np.ndarray) -> np.ndarray:
    """Rank correlation of values (L, ...) with the order of their levels -> (...), in [-1, 1]; 0 where all tie."""
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=0)
    ranks = ranks - ranks.mean(0)
    levels = np.arange(len(values)) - (len(values) - 1) / 2
    norm = np.linalg.norm(ranks, axis=0) * np.linalg.norm(levels)
    return np.tensordot(levels, ranks, 1) / np.maximum(norm, 1e-12)


def person_of(path: Path) -> str:
    """Who is on a picture, by its name: `<person>_<take>`, as in `london_009_03`."""
    return path.stem.rpartition("_")[0] or path.stem
