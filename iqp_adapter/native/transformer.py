"""Stage 2: a Transformer that predicts the codes of the picture as it should be, at the quality that is asked for."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ..core.attention import GatedCrossAttention
from .codebook import Codebook
from .presets import IQPFRConfig
from .tokenizer import DualCodebook


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

        grid ──┬── to_codes ──────────────── + ── cosine to every entry × sharpness ──► code logits
               └── layers ◄── tokens ── refine ┘

    Before it has learned anything it says what stage 1 would say of the same picture: `refine` starts at zero.

    Source: code prediction after CodeFormer (arXiv 2206.11253), conditioned on a score as IQPFR (arXiv 2503.09294)
    proposes. Differs: the score enters every layer by cross-attention (the authors' code, IQPIR, adds a map to the
    encoder's output once); logits are similarities to the codebook, so that codes that look alike are likely together;
    the HQ+ branch has a class for the null, so that the dial can turn attributes off.
    """

    def __init__(self, config: IQPFRConfig):
        super().__init__()
        self.to_codes = nn.Conv2d(config.widths[-1], config.latent, 1)
        self.embed = nn.Linear(config.widths[-1], config.dim)
        self.positions = nn.Parameter(0.02 * torch.randn(config.grid**2, config.dim))
        self.layers = nn.ModuleList([Layer(config.dim, config.heads, config.attended) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(config.dim)
        self.refine = nn.Linear(config.dim, 2 * config.code_dim)
        self.null_head = nn.Linear(config.dim, 1)
        self.log_sharpness = nn.Parameter(torch.full((2,), math.log(30)))
        for parameter in self.refine.parameters():
            nn.init.zeros_(parameter)

    def forward(self, grid: Tensor, tokens: Tensor | None, books: DualCodebook[Codebook]) -> tuple[Tensor, Tensor]:
        """
        Args:
            grid: (B, C, h, w) deepest features of the degraded picture.
            tokens: (B, T, D) condition tokens; None for a model without them.
            books: the codebooks whose entries are predicted.

        Returns:
            code logits (B, L, K) and (B, L, K' + 1).
        """
        x = self.embed(grid.flatten(2).transpose(1, 2)) + self.positions  # (B, C, h, w) -> (B, L, C)
        for layer in self.layers:
            x = layer(x, tokens)
        x = self.norm(x)
        seen, refined = books.joining.split(self.latent(grid)), self.refine(x).chunk(2, dim=-1)
        common, plus = ((a + b).float() for a, b in zip(seen, refined, strict=True))  # (B, L, D) each
        common_sharpness, plus_sharpness = self.log_sharpness.exp()
        plus_logits = [self.null_head(x).float(), plus_sharpness * books.plus.similarity(plus)]
        return common_sharpness * books.common.similarity(common), torch.cat(plus_logits, dim=-1)

    def latent(self, grid: Tensor) -> Tensor:
        """What stage 1 would quantise of the features (B, C, h, w): (B, L, Z)."""
        return self.to_codes(grid).flatten(2).transpose(1, 2)  # (B, Z, h, w) -> (B, L, Z)


def open_site(dim: int, token_dim: int, inner: int = 128) -> GatedCrossAttention:
    """A site of the core with its gate open: a model trained from nothing has no behaviour to protect."""
    site = GatedCrossAttention(dim, token_dim, inner)
    nn.init.ones_(site.gate)
    return site
