"""The condition: a quality between 0 and 1 becomes a few tokens that features can attend to."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CONTRAST = 5.0
"""How much larger than usual the weights start that make tokens of a quality. Drawn as usual, they tell the ends of the
dial apart by a seventh of what all tokens share, and an adapter learns one answer for all qualities before the dial."""


class ScoreEmbedding(nn.Module):
    """Makes condition tokens of the quality that is asked for.

        quality (B, S) ── waves (B, S, F) ── MLP ── + base ── norm ──► tokens (B, T, D)
                    NaN ── learned "no preference" ──┘

    The base tokens differ from each other from the start: with equal tokens the softmax over them is constant, and
    queries and keys never learn.

    Source: this project. The score as condition is the idea of IQPFR (arXiv 2503.09294), whose authors look a bin of
    the score up in a table of maps (see `score_map`). Here few and slow waves, as in the timestep embeddings of
    diffusion models, so that the dial is smooth and has no bins.

    Args:
        dim: width D of a token.
        tokens: number of tokens T, two or more.
        metrics: number of quality columns S.
        octaves: the fastest wave makes 2 ** (octaves - 2) turns between quality 0 and 1.
    """

    speeds: Tensor

    def __init__(self, dim: int, tokens: int = 4, metrics: int = 1, octaves: int = 4):
        super().__init__()
        if tokens < 2:
            raise ValueError(f"tokens is {tokens}, use 2 or more: attention over a single token cannot learn")
        self.register_buffer("speeds", math.pi / 2 * 2.0 ** torch.arange(octaves), persistent=False)
        features = 2 * octaves + 1
        self.no_preference = nn.Parameter(torch.randn(metrics, features))
        self.base = nn.Parameter(torch.randn(tokens, dim))
        first, last = nn.Linear(metrics * features, dim), nn.Linear(dim, tokens * dim)
        last.weight.data *= CONTRAST
        self.mlp = nn.Sequential(first, nn.SiLU(), last)
        self.norm = nn.LayerNorm(dim)

    def forward(self, quality: Tensor) -> Tensor:
        """
        Args:
            quality: (B, S) in [0, 1]; NaN where there is no preference.

        Returns:
            tokens (B, T, D).
        """
        features = torch.where(quality.isnan()[..., None], self.no_preference, self.waves(quality.nan_to_num()))
        own = features.flatten(1).to(self.base.dtype)
        tokens = self.mlp(own).unflatten(1, self.base.shape)  # (B, T * D) -> (B, T, D)
        return self.norm(self.base + tokens)

    def waves(self, quality: Tensor) -> Tensor:
        """quality (B, S) -> (B, S, F): the value itself, and sines and cosines of it."""
        angles = quality[..., None] * self.speeds  # (B, S, octaves)
        return torch.cat([quality[..., None], angles.sin(), angles.cos()], dim=-1)
