"""The finish: draws on a restored picture what is finer than codes can say."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pixel_shuffle, pixel_unshuffle

from .autoencoder import ResBlock


class Finish(nn.Module):
    """A picture twice as large as the coded one, to which it adds nothing but finer detail.

        coded picture ──┬──────────── enlarged ──────────────── + ──► restored
                        └── blocks ◄── quality ── fine detail ──┘
        input's detail ───┘ × fidelity

    The mean of every 2 x 2 pixels stays the coded picture exactly. So codes, scores at the coded size and colours
    are not touched, and it can learn from pictures whose fine detail is real, after everything else.

    Source: this project; the split into a coarse picture and detail is that of a Laplacian pyramid (Burt and Adelson,
    1983).

    Args:
        width: channels.
        blocks: residual blocks.
        token_dim: width of the condition tokens; None for a model without them.
    """

    def __init__(self, width: int, blocks: int, token_dim: int | None):
        super().__init__()
        self.enter = nn.Conv2d(3 + 12, width, 3, padding=1)
        self.condition = nn.Linear(token_dim, 2 * width) if token_dim else None
        self.blocks = nn.Sequential(*(ResBlock(width) for _ in range(blocks)), nn.SiLU())
        self.leave = nn.Conv2d(width, 12, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]
        if self.condition is not None:
            nn.init.zeros_(self.condition.weight)
            nn.init.zeros_(self.condition.bias)

    def forward(self, coarse: Tensor, lq: Tensor, tokens: Tensor | None, fidelity: float | Tensor) -> Tensor:
        """
        Args:
            coarse: (B, 3, r, r) in [0, 1], the coded picture.
            lq: (B, 3, 2r, 2r) in [0, 1], the degraded picture.
            tokens: (B, T, D) condition tokens.
            fidelity: how much of the input's own detail is seen, a number or (B, 1, 1, 1) in [0, 1].

        Returns:
            (B, 3, 2r, 2r), not clamped.
        """
        seen = fidelity * pixel_unshuffle(fine(lq), 2)  # (B, 12, r, r)
        x = self.enter(torch.cat([2 * coarse - 1, 2 * seen], dim=1))
        if self.condition is not None and tokens is not None:
            scale, shift = self.condition(tokens.mean(1))[..., None, None].chunk(2, dim=1)  # (B, width, 1, 1) each
            x = x * (1 + scale) + shift
        drawn = pixel_shuffle(self.leave(self.blocks(x)), 2)
        smooth = interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
        return doubled(coarse) + fine(smooth + drawn)


def halved(images: Tensor) -> Tensor:
    """Pictures (B, 3, 2h, 2w) -> the means of 2 x 2 pixels (B, 3, h, w)."""
    return avg_pool2d(images, 2)


def doubled(images: Tensor) -> Tensor:
    """Pictures (B, 3, h, w) -> (B, 3, 2h, 2w), every pixel four times."""
    return interpolate(images, scale_factor=2.0, mode="nearest")


def fine(images: Tensor) -> Tensor:
    """What of pictures (B, 3, 2h, 2w) is lost when their sides are halved."""
    return images - doubled(halved(images))
