"""Gated cross-attention: features of a restorer look at condition tokens through a gate that starts closed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from .block import Block, Kept
from .embedding import ScoreEmbedding
from .sites import Site


class GatedCrossAttention(Block):
    """Lets features look at the condition tokens, and changes nothing until trained.

        features (B, L, C) ──┬──────────────────────────────────► + ──► (B, L, C)
                             └─ norm ─ attend to tokens ─ × gate × scale ┘      gate = 0 at init

    Source: this project; the score as condition is the idea of IQPFR (arXiv 2503.09294), whose authors add a learned
    map instead (see `score_map`). Separate keys and values for the condition after IP-Adapter (arXiv 2308.06721), the
    zero-init gate after LLaMA-Adapter (arXiv 2303.16199). Differs from these: the gate is one scalar per site, the
    output projection is not zero (both zero would stop learning), keys have no bias (softmax cancels it) and the inner
    width is capped to keep adapters small.

    Args:
        dim: width C of the features.
        token_dim: width D of the tokens.
        inner: width of queries, keys and values.
        heads: number of heads; divides `inner`.
    """

    sizes = {"token_dim": 128, "tokens": 4, "inner": 128}
    rates = {"gate": 30.0}  # it starts at 0, and all that the block does is multiplied by it

    def __init__(self, dim: int, token_dim: int, inner: int = 128, heads: int = 4):
        super().__init__()
        if inner % heads:
            raise ValueError(f"inner width {inner} must be divisible by heads {heads}")
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, inner)
        self.key = nn.Linear(token_dim, inner, bias=False)
        self.value = nn.Linear(token_dim, inner)
        self.out = nn.Linear(inner, dim)
        self.gate = nn.Parameter(torch.zeros(()))

    @classmethod
    def build(cls, site: Site, columns: int, sizes: Mapping[str, Any]) -> GatedCrossAttention:
        return cls(site.dim, sizes["token_dim"], _width(site.dim, sizes["inner"]))

    @classmethod
    def embedding(cls, columns: int, sizes: Mapping[str, Any]) -> ScoreEmbedding:
        return ScoreEmbedding(sizes["token_dim"], sizes["tokens"], columns)

    def forward(self, features: Tensor, tokens: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        """
        Args:
            features: (B, L, C) features at one site.
            tokens: (B, T, D) condition tokens, one set per image.
            scale: the user's strength, a number or (B, 1, 1); 0 leaves the features as they are.
        """
        return features + self.delta(features, self.condition(tokens), scale)

    def condition(self, embedded: Tensor) -> Kept:
        """tokens (B, T, D) -> keys and values, (B, H, T, d) each."""
        return self._split(self.key(embedded)), self._split(self.value(embedded))

    def delta(self, features: Tensor, kept: Kept, scale: float | Tensor = 1.0) -> Tensor:
        query, (key, value) = self._split(self.query(self.norm(features))), kept
        attended = scaled_dot_product_attention(query, key, value)
        return self.out(attended.transpose(1, 2).flatten(2)) * (self.gate * scale)  # (B, H, L, d) -> (B, L, H * d)

    @property
    def learned(self) -> bool:
        return bool(self.gate != 0)

    def summary(self) -> dict[str, str]:
        return {"width": str(self.query.out_features), "gate": f"{self.gate.item():.4f}"}

    @property
    def dtype(self) -> torch.dtype:
        return self.gate.dtype

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, L, H * d) -> (B, H, L, d)


def _width(dim: int, inner: int, heads: int = 4) -> int:
    """At most `inner`, not wider than the site, and a multiple of the heads."""
    return max(1, min(inner, dim) // heads) * heads
