"""IQP-Lite, the metric of this project: it needs no reference and no download, and has a gradient to the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .backbones import efficientnet_lite
from .tiles import Tile, is_large, tiles_of


class Window(NamedTuple):
    """A Gaussian over a picture: where its middle is and how wide it is, across and down, in sides."""

    x: float
    y: float
    wide: float
    high: float

    def weights(self, height: int, width: int, device: torch.device | None = None) -> Tensor:
        """(height, width), 1 in the middle."""
        down = ((torch.arange(height, device=device) + 0.5) / height - self.y) / self.high
        across = ((torch.arange(width, device=device) + 0.5) / width - self.x) / self.wide
        return torch.exp(-0.5 * (down[:, None].square() + across.square()))


FACE = Window(0.5, 0.56, 0.18, 0.22)
"""The face in an aligned picture."""

Counts = Sequence[tuple[int, Tensor]]
"""Levels, and how much every position of their maps counts (h, w)."""


class IqpLite(nn.Module):
    """Scores how close a face photo is to an undegraded one: 0 (ruined) to 100 (clean), higher is better.

        images ─ frozen EfficientNet-Lite ─ mean and deviation of every channel ─ standardise ─ MLP ─ score

    Heads were trained without opinion scores, on the full-reference quality (VIF and NLPD) of synthetic degradations.
    It is differentiable to the images, which may have any height and width from 64 pixels. Noise, halos, checkerboards
    and ringing lower the score. Freely optimised pixels can fool it, like any such network: use it as a reward only for
    the output of a decoder, and check the result by another metric.

    Source: full-reference quality instead of opinions, after BLISS (Ye, Kumar and Doermann, CVPR 2014). Differs: VIF
    and NLPD are the targets, and the degradations include typical failures of generators.

    Args:
        levels: the feature levels that are used, of five; 0 is the finest.
        width: hidden units of the head.
        backbone: the EfficientNet-Lite whose features are used, one of `backbones.VARIANTS`.
        window: how much each place of the picture counts; None for all alike.
        heads: how many are averaged.
    """

    def __init__(
        self,
        levels: Sequence[int] = (0, 1, 2, 3),
        width: int = 128,
        backbone: str = "lite0",
        window: Window | None = None,
        heads: int = 1,
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.window = window
        self.features = efficientnet_lite(backbone)
        channels = 2 * sum(self.features.channels[level] for level in self.levels)
        self.head = LiteHead(channels, width) if heads == 1 else LiteHeads(channels, width, heads)

    def forward(self, images: Tensor) -> Tensor:
        """RGB images (B, 3, H, W) in [0, 1] -> scores (B,)."""
        return self.head(self.statistics(images))

    def statistics(self, images: Tensor) -> Tensor:
        """RGB images (B, 3, H, W) in [0, 1] -> input of the head (B, 2 * channels).

        Large images are read in tiles, so that memory does not grow with them; the result is the same up to rounding.
        """
        return self.statistics_under([self.window], images)[0]

    def statistics_under(self, windows: Sequence[Window | None], images: Tensor) -> list[Tensor]:
        """The same under each of some windows, by one pass of the backbone."""
        counts = [[(level, _count(window, images, level)) for level in self.levels] for window in windows]
        if not is_large(images):
            maps = self.features(images)
            return [torch.cat([_mean_and_deviation(maps[level], of) for level, of in own], dim=1) for own in counts]
        margin = self.features.reach(max(self.levels))
        tiles = [self._moments(images, tile, counts) for tile in tiles_of(images, margin)]
        return [
            torch.cat([_pooled(torch.stack(level)) for level in zip(*own, strict=True)], dim=1).to(images)
            for own in zip(*tiles, strict=True)
        ]

    def _moments(self, images: Tensor, tile: Tile, counts: Sequence[Counts]) -> list[list[Tensor]]:
        """Weight, mean and variance of every channel in a tile: for each window and level (3, B, C), float64."""
        maps = self.features(tile.read(images).clamp(0, 1))
        inner = {level: tile.inner(maps[level], _stride(level)) for level in self.levels}
        return [[_moments(inner[level], tile.place(of, _stride(level))) for level, of in own] for own in counts]


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


class LiteHeads(nn.ModuleList):
    """Heads that learned from different seeds: their mean is steadier than each, and harder to fool."""

    def __init__(self, channels: int, width: int, count: int) -> None:
        super().__init__(LiteHead(channels, width) for _ in range(count))

    def forward(self, statistics: Tensor) -> Tensor:
        """(B, C) -> (B,)."""
        return torch.stack([head(statistics) for head in self]).mean(0)


def _stride(level: int) -> int:
    return 2 << level


def _count(window: Window | None, images: Tensor, level: int) -> Tensor:
    """How much every position of a level's map counts (h, w)."""
    height, width = (-(-side // _stride(level)) for side in images.shape[2:])
    if window is None:
        return torch.ones(height, width, device=images.device)
    return window.weights(height, width, images.device)


def _mean_and_deviation(features: Tensor, count: Tensor) -> Tensor:
    """(B, C, H, W), (H, W) -> (B, 2C), with a finite gradient where a channel is constant."""
    return _described(*_mean_and_variance(features, count))


def _mean_and_variance(features: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    share = (count / count.sum()).to(features)
    mean = (features * share).sum((2, 3))
    return mean, ((features - mean[..., None, None]).square() * share).sum((2, 3))


def _described(mean: Tensor, variance: Tensor) -> Tensor:
    return torch.cat([mean, (variance + 1e-6).sqrt()], dim=1)


def _moments(features: Tensor, count: Tensor) -> Tensor:
    """(B, C, H, W), (H, W) -> sum of the counts, mean and variance (3, B, C)."""
    mean, variance = _mean_and_variance(features, count)
    return torch.stack([torch.full_like(mean, float(count.sum())), mean, variance]).cpu().double()


def _pooled(tiles: Tensor) -> Tensor:
    """Moments of tiles (T, 3, B, C) -> mean and deviation of the whole (B, 2C).

    Source: Chan, Golub and LeVeque (1979); unlike sums of squares it loses no digits where the mean is large.
    """
    count, mean, variance = tiles.unbind(1)
    share = count / count.sum(0)
    whole = (share * mean).sum(0)
    return _described(whole, (share * (variance + (mean - whole).square())).sum(0))
