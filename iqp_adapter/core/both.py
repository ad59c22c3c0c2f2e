"""Both kinds of block at one site: cross-attention and a score map, whose sum is added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from .attention import GatedCrossAttention
from .block import Block, Kept
from .score_map import ScoreMap
from .sites import Site


class Both(Block):
    """Adds what the attention finds and what the map says; each starts at nothing and learns at its own rate.

        quality (B, S) ──┬─ tokens ── attention ──┐
                         └─────────── score map ──┴─ sum ──► + features (B, L, C)

    Sizes are those of both kinds.
    """

    sizes = {**GatedCrossAttention.sizes, **ScoreMap.sizes}
    rates = {**GatedCrossAttention.rates, **ScoreMap.rates}

    def __init__(self, attention: GatedCrossAttention, score_map: ScoreMap):
        super().__init__()
        self.attention, self.score_map = attention, score_map

    @classmethod
    def build(cls, site: Site, columns: int, sizes: Mapping[str, Any]) -> Both:
        return cls(GatedCrossAttention.build(site, columns, sizes), ScoreMap.build(site, columns, sizes))

    @classmethod
    def embedding(cls, columns: int, sizes: Mapping[str, Any]) -> nn.Module:
        return _Both(GatedCrossAttention.embedding(columns, sizes), ScoreMap.embedding(columns, sizes))

    @classmethod
    def settled(cls, sizes: Mapping[str, Any], positions: Callable[[str], int]) -> dict[str, Any]:
        return ScoreMap.settled(sizes, positions)

    def condition(self, embedded: Any) -> Kept:
        """What each kind's own embedding gave -> the map (B, L, C), and the attention's keys and values."""
        tokens, quality = embedded
        return (*self.score_map.condition(quality), *self.attention.condition(tokens))

    def delta(self, features: Tensor, kept: Kept, scale: float | Tensor = 1.0) -> Tensor:
        added, *attended = kept
        return self.score_map.delta(features, (added,), scale) + self.attention.delta(features, tuple(attended), scale)

    @property
    def learned(self) -> bool:
        return self.attention.learned or self.score_map.learned

    def summary(self) -> dict[str, str]:
        return {**self.attention.summary(), **self.score_map.summary()}


class _Both(nn.Module):
    """A quality (B, S) as each kind wants it."""

    def __init__(self, attention: nn.Module, score_map: nn.Module):
        super().__init__()
        self.attention, self.score_map = attention, score_map

    def forward(self, quality: Tensor) -> tuple[Tensor, Tensor]:
        return self.attention(quality), self.score_map(quality)
