"""IQP-Lite, the metric of this project: it needs no reference and no download, and has a gradient to the image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .backbones import efficientnet_lite
from .tiles import Tile, is_large, tiles_of


class IqpLite(nn.Module):
    """Scores how close a face photo is to an undegraded one: 0 (ruined) to 100 (clean), higher is better.

        images ─ frozen EfficientNet-Lite ─ mean and deviation of every channel ─ standardise ─ MLP ─ score

    The head was trained without opinion scores, on the full-reference quality (VIF and NLPD) of synthetic degradations.
    It is differentiable to the images, which may have any height and width from 64 pixels. Noise, halos, checkerboards
    and ringing lower the score. Freely optimised pixels can fool it, like any such network: use it as a reward only for
    the output of a decoder, and check the result by another metric.

    Source: full-reference quality instead of opinions, after BLISS (Ye, Kumar and Doermann, CVPR 2014). Differs: VIF
    and NLPD are the targets, and the degradations include typical failures of generators.

    Args:
        levels: the feature levels that are used, of five; 0 is the finest.
        width: hidden units of the head.
        backbone: the EfficientNet-Lite whose features are used, one of `backbones.VARIANTS`.
    """

    def __init__(self, levels: Sequence[int] = (0, 1, 2, 3), width: int = 128, backbone: str = "lite0") -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.features = efficientnet_lite(backbone)
        self.head = LiteHead(2 * sum(self.features.channels[level] for level in self.levels), width)

    def forward(self, images: Tensor) -> Tensor:
        """RGB images (B, 3, H, W) in [0, 1] -> scores (B,)."""
        return self.head(self.statistics(images))

    def statistics(self, images: Tensor) -> Tensor:
        """RGB images (B, 3, H, W) in [0, 1] -> input of the head (B, 2 * channels).

        Large images are read in tiles, so that memory does not grow with them; the result is the same up to rounding.
        """
        if not is_large(images):
            maps = self.features(images)
            return torch.cat([_mean_and_deviation(maps[level]) for level in self.levels], dim=1)
        margin = self.features.reach(max(self.levels))
        tiles = [self._moments(images, tile) for tile in tiles_of(images, margin)]
        return torch.cat([_pooled(torch.stack(level)) for level in zip(*tiles, strict=True)], dim=1).to(images)

    def _moments(self, images: Tensor, tile: Tile) -> list[Tensor]:
        """Positions, mean and variance of every channel in a tile: a tensor (3, B, C) for each level, float64."""
        maps = self.features(tile.read(images).clamp(0, 1))
        return [_moments(tile.inner(maps[level], 2 << level)) for level in self.levels]


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
    return _described(features.mean((2, 3)), features.var((2, 3), correction=0))


def _described(mean: Tensor, variance: Tensor) -> Tensor:
    return torch.cat([mean, (variance + 1e-6).sqrt()], dim=1)


def _moments(features: Tensor) -> Tensor:
    """(B, C, H, W) -> number of positions, mean and variance (3, B, C)."""
    mean = features.mean((2, 3))
    count = torch.full_like(mean, features[0, 0].numel())
    return torch.stack([count, mean, features.var((2, 3), correction=0)]).cpu().double()


def _pooled(tiles: Tensor) -> Tensor:
    """Moments of tiles (T, 3, B, C) -> mean and deviation of the whole (B, 2C).

    Source: Chan, Golub and LeVeque (1979); unlike sums of squares it loses no digits where the mean is large.
    """
    count, mean, variance = tiles.unbind(1)
    share = count / count.sum(0)
    whole = (share * mean).sum(0)
    return _described(whole, (share * (variance + (mean - whole).square())).sum(0))
