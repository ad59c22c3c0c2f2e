"""Stage 2: a Transformer that predicts the codes of the picture as it should be, at the quality that is asked for."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ..attention import GatedCrossAttention
from .presets import IQPFRConfig


class Layer(nn.Module):
    """Self-attention over the grid, a look at the condition tokens, and an MLP of twice the width."""

    def __init__(self, dim: int, heads: int, token_dim: int | None):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.condition = open_site(dim, token_dim) if token_dim else None
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        qkv = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1))  # (B, L, 3C) -> (B, L, 3, H, d)
        attended = scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))  # (B, H, L, d)
        x = x + self.out(attended.transpose(1, 2).flatten(2))  # (B, H, L, d) -> (B, L, C)
        if self.condition is not None:
            x = self.condition(x, tokens)
        return x + self.mlp(x)


class CodeTransformer(nn.Module):
    """Features of the degraded picture and condition tokens -> code logits of both codebooks.

    Source: code prediction after CodeFormer (arXiv 2206.11253), conditioned after IQPFR (arXiv 2503.09294).
    Differs: two heads, the HQ+ one with a class for the null, so that the dial can turn attributes off.
    """

    def __init__(self, config: IQPFRConfig):
        super().__init__()
        token_dim = config.token_dim if config.condition else None
        self.embed = nn.Linear(config.widths[-1], config.dim)
        self.positions = nn.Parameter(0.02 * torch.randn(config.grid**2, config.dim))
        self.layers = nn.ModuleList([Layer(config.dim, config.heads, token_dim) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(config.dim)
        self.common_head = nn.Linear(config.dim, config.common_codes)
        self.plus_head = nn.Linear(config.dim, config.plus_codes + 1)

    def forward(self, grid: Tensor, tokens: Tensor | None) -> tuple[Tensor, Tensor]:
        """
        Args:
            grid: (B, C, h, w) deepest features of the degraded picture.
            tokens: (B, T, D) condition tokens; None for a model without condition.

        Returns:
            code logits (B, L, K) and (B, L, K' + 1).
        """
        x = self.embed(grid.flatten(2).transpose(1, 2)) + self.positions  # (B, C, h, w) -> (B, L, C)
        for layer in self.layers:
            x = layer(x, tokens)
        x = self.norm(x)
        return self.common_head(x), self.plus_head(x)


def open_site(dim: int, token_dim: int, inner: int = 128) -> GatedCrossAttention:
    """A site of the core with its gate open: a model trained from nothing has no behaviour to protect."""
    site = GatedCrossAttention(dim, token_dim, inner)
    nn.init.ones_(site.gate)
    return site
