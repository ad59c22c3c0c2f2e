"""The fidelity path: what is seen of the degraded picture joins the decoder, as much as the user trusts the input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .transformer import open_site


class FidelityFusion(nn.Module):
    """Scales and shifts decoder features by what was seen at the same size; nothing at `fidelity` 0.

    What was seen is features of the encoder, or the degraded picture itself.

    Source: controllable feature transformation of CodeFormer (arXiv 2206.11253). Differs: the condition tokens are
    looked at here too, so that the dial reaches what the path brings in.

    Args:
        dim: channels of the decoder's features.
        seen_dim: channels of what was seen.
        token_dim: width of the condition tokens; None for a path that does not look at them.
    """

    def __init__(self, dim: int, seen_dim: int, token_dim: int | None):
        super().__init__()
        self.mix = nn.Sequential(nn.Conv2d(dim + seen_dim, dim, 3, padding=1), nn.SiLU())
        self.condition = open_site(dim, token_dim, inner=64) if token_dim else None
        self.modulate = nn.Conv2d(dim, 2 * dim, 3, padding=1)
        for parameter in self.modulate.parameters():
            nn.init.zeros_(parameter)

    def forward(self, decoded: Tensor, seen: Tensor, tokens: Tensor | None, fidelity: float | Tensor) -> Tensor:
        """decoded (B, C, H, W), seen (B, S, H, W); fidelity: a number or (B, 1, 1, 1) in [0, 1]."""
        x = self.mix(torch.cat([decoded, seen], dim=1))
        if self.condition is not None:
            x = _on_grid(self.condition, x, tokens)
        scale, shift = self.modulate(x).chunk(2, dim=1)
        return decoded + fidelity * (decoded * scale + shift)


def _on_grid(site: nn.Module, x: Tensor, tokens: Tensor | None) -> Tensor:
    flat = site(x.flatten(2).transpose(1, 2), tokens)  # (B, C, H, W) -> (B, HW, C)
    return flat.transpose(1, 2).unflatten(2, x.shape[2:])  # (B, HW, C) -> (B, C, H, W)
