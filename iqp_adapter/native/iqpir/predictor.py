"""The Transformer of IQPIR, which predicts codes: plain layers, and those that a score scales and shifts."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import gelu

from .sizes import ADAIN, IQPIRConfig


class Layer(nn.Module):
    """Self-attention and an MLP, each beside what it is given; positions are added to queries and keys.

    Source: CodeFormer (arXiv 2206.11253). Parameters have the official names.
    """

    def __init__(self, config: IQPIRConfig):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(config.dim, config.heads)
        self.linear1, self.linear2 = nn.Linear(config.dim, config.mlp), nn.Linear(config.mlp, config.dim)
        self.norm1, self.norm2 = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)

    def forward(self, x: Tensor, positions: Tensor, score_map: Tensor | None = None) -> Tensor:
        """x (L, B, C), positions (L, 1, C) -> (L, B, C)."""
        normed = self.norm1(x)
        placed = normed + positions
        x = x + self.self_attn(placed, placed, normed, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))

    def mlp(self, x: Tensor) -> Tensor:
        return self.linear2(gelu(self.linear1(x)))


class ScoreLayer(Layer):
    """A layer whose MLP is shifted, scaled and gated by a map of the score, position by position.

    Source: the variant "adain" of IQPIR. There the score also modulates the self-attention, but the result is
    overwritten before anything is added to it, so that attention has no effect on the output. That is kept here, since
    the weights were trained so: the attention's parameters are there and are not computed with.
    """

    def __init__(self, config: IQPIRConfig):
        super().__init__(config)
        self.adaLN_modulation = nn.Sequential(
            nn.SiLU(), nn.Conv2d(config.score_dim, 6 * config.dim, 3, padding=1)
        )  # shift, scale and gate of attention, then those of the MLP

    def forward(self, x: Tensor, positions: Tensor, score_map: Tensor | None = None) -> Tensor:
        assert score_map is not None
        modulation = self.adaLN_modulation(score_map).flatten(2).permute(2, 0, 1)  # (B, 6C, h, w) -> (L, B, 6C)
        *_, shift, scale, gate = modulation.chunk(6, dim=-1)
        return x + gate * self.mlp(shift + scale * self.norm2(x))


def layers(config: IQPIRConfig) -> nn.ModuleList:
    return nn.ModuleList([(ScoreLayer if config.score == ADAIN else Layer)(config) for _ in range(config.layers)])
