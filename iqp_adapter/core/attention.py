"""The injection: features of a restorer look at the condition tokens through a gate that starts closed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

KeysValues = tuple[Tensor, Tensor]


class GatedCrossAttention(nn.Module):
    """Lets features look at the condition tokens, and changes nothing until trained.

        features (B, L, C) ──┬──────────────────────────────────► + ──► (B, L, C)
                             └─ norm ─ attend to tokens ─ × gate × scale ┘      gate = 0 at init

    Source: cross-attention to the score after IQPFR (arXiv 2503.09294); zero-init gate after LLaMA-Adapter
    (arXiv 2303.16199). Differs: the gate is one scalar per site, the output projection is not zero (both zero would
    stop learning), keys have no bias (softmax cancels it) and the inner width is capped to keep adapters small.

    Args:
        dim: width C of the features.
        token_dim: width D of the tokens.
        inner: width of queries, keys and values.
        heads: number of heads; divides `inner`.
    """

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

    def forward(self, features: Tensor, tokens: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        """
        Args:
            features: (B, L, C) features at one site.
            tokens: (B, T, D) condition tokens, one set per image.
            scale: the user's strength, a number or (B, 1, 1); 0 leaves the features as they are.
        """
        return features + self.delta(features, self.keys_values(tokens), scale)

    def delta(self, features: Tensor, keys_values: KeysValues, scale: float | Tensor = 1.0) -> Tensor:
        """What the site adds to `features` (B, L, C), from keys and values that may have been computed before."""
        query = self._split(self.query(self.norm(features)))
        attended = scaled_dot_product_attention(query, *keys_values)
        return self.out(attended.transpose(1, 2).flatten(2)) * (self.gate * scale)  # (B, H, L, d) -> (B, L, H * d)

    def keys_values(self, tokens: Tensor) -> KeysValues:
        """tokens (B, T, D) -> keys and values, (B, H, T, d) each."""
        return self._split(self.key(tokens)), self._split(self.value(tokens))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, L, H * d) -> (B, H, L, d)
