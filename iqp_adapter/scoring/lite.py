"""IQP-Lite, the scorer of this project: no reference, no download, and a gradient to the image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .backbones import efficientnet_lite


class IqpLite(nn.Module):
    """Scores how close a face photo is to an undegraded one: 0 (ruined) to 100 (clean), higher is better.

        images ─ frozen EfficientNet-Lite0 ─ mean and deviation of every channel ─ standardise ─ MLP ─ score

    The head has learned, without opinion scores, the full-reference quality (VIF and NLPD) of synthetic degradations.
    Differentiable to the images; any height and width from 64 pixels. Noise, halos, checkerboards and ringing lower the
    score, but pixels optimised freely against it can fool it, as they can any such network: as a reward it wants images
    that are held to a decoder's range, and a judge beside it.

    Source: full-reference quality in the place of opinions, after BLISS (Ye, Kumar and Doermann, CVPR 2014).
    Differs: VIF and NLPD are the teachers, and the degradations include the failures of generators.

    Args:
        levels: which of the five feature levels are read, 0 the finest.
        width: hidden units of the head.
    """

    def __init__(self, levels: Sequence[int] = (0, 1, 2, 3), width: int = 128) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.features = efficientnet_lite("lite0")
        self.head = LiteHead(2 * sum(self.features.channels[level] for level in self.levels), width)

    def forward(self, images: Tensor) -> Tensor:
        """RGB images (B, 3, H, W) in [0, 1] -> scores (B,)."""
        return self.head(self.statistics(images))

    def statistics(self, images: Tensor) -> Tensor:
        """RGB images (B, 3, H, W) in [0, 1] -> what the head reads (B, 2 * channels)."""
        maps = self.features(images)
        return torch.cat([_mean_and_deviation(maps[level]) for level in self.levels], dim=1)


class LiteHead(nn.Module):
    """The trained part of IQP-Lite: standardised statistics (B, C) -> scores (B,)."""

    center: Tensor
    spread: Tensor

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(channels))
        self.register_buffer("spread", torch.ones(channels))
        self.layers = nn.Sequential(
            nn.Dropout(0.1), nn.Linear(channels, width), nn.GELU(), nn.Dropout(0.1), nn.Linear(width, 1)
        )

    def forward(self, statistics: Tensor) -> Tensor:
        standard = (statistics - self.center) / self.spread
        return 100 * self.layers(standard).squeeze(1).sigmoid()  # (B, 1) -> (B,)


def _mean_and_deviation(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 2C), with a finite gradient where a channel is constant."""
    deviation = (features.var((2, 3), correction=0) + 1e-6).sqrt()
    return torch.cat([features.mean((2, 3)), deviation], dim=1)
