"""NIQE and PIQE of large pictures, tile by tile: both describe a picture by blocks that see no farther than 16 pixels.

Source: "Making a completely blind image quality analyzer" (Mittal, Soundararajan and Bovik, SPL 2013) and "Blind image
quality evaluation using perception based features" (Venkatanath et al., NCC 2015). Blocks are described by pyiqa's
functions, and up to `tiles.WHOLE` pixels pyiqa's network scores the whole picture.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .tiles import Tile, is_large, tiles_of

_MARGIN = 32
"""Pixels around a tile that its blocks depend on: 16 for the half size of NIQE, 3 for the window of 7."""


class InTiles(nn.Module):
    """A metric of pyiqa that takes large pictures in tiles.

    Args:
        network: pyiqa's.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """RGB images (B, 3, H, W) in [0, 1] -> scores (B,)."""
        if not is_large(images):
            return self.network(images).reshape(len(images))  # (B, 1) or () -> (B,)
        return torch.stack([self.score(image[None]) for image in images])

    def score(self, image: Tensor) -> Tensor:
        """One large image (1, 3, H, W) -> its score ()."""
        raise NotImplementedError


class TiledNiqe(InTiles):
    """NIQE counts whole blocks of 96 pixels: up to 95 rows below and columns to the right are left out."""

    def score(self, image: Tensor) -> Tensor:
        from pyiqa.archs.func_util import diff_round
        from pyiqa.matlab_utils import nancov, nanmean

        border = self.network.crop_border
        luma = diff_round(_luma(image, 255, self.network.color_space))
        luma = luma[..., border : luma.shape[-2] - border, border : luma.shape[-1] - border]
        luma = luma[..., : luma.shape[-2] // 96 * 96, : luma.shape[-1] // 96 * 96]
        found = [self._features(luma, tile) for tile in tiles_of(luma, _MARGIN, 96)]
        features = torch.cat(found, dim=1)  # (1, blocks, 36)
        mean, covariance = self.network.mu_pris_param.to(features), self.network.cov_pris_param.to(features)
        away = mean - nanmean(features, dim=1)  # (1, 36)
        inverse = torch.linalg.pinv((covariance + nancov(features)) / 2)  # (1, 36, 36)
        return (away[:, None] @ inverse @ away[..., None]).sqrt().squeeze()

    def _features(self, luma: Tensor, tile: Tile) -> Tensor:
        """Luma (1, 1, H, W) in [0, 255] -> features of a tile's blocks at both sizes (1, blocks, 36)."""
        from pyiqa.archs.func_util import normalize_img_with_gauss
        from pyiqa.archs.niqe_arch import compute_feature
        from pyiqa.matlab_utils import blockproc, imresize

        def described(pixels: Tensor, stride: int) -> Tensor:
            normal = tile.inner(normalize_img_with_gauss(pixels, padding="replicate"), stride)
            return blockproc(normal, 96 // stride, fun=compute_feature)  # (1, blocks, 18)

        pixels = tile.read(luma).double()
        halved = 255 * imresize(pixels / 255, scale=0.5, antialiasing=True)
        return torch.cat([described(pixels, 1), described(halved, 2)], dim=-1)


class TiledPiqe(InTiles):
    """PIQE counts blocks of 16 pixels: mirrors a rest of 8 or more rows or columns, and leaves out a smaller one."""

    def score(self, image: Tensor) -> Tensor:
        luma = _luma(image, 1, "yiq")
        luma = (255 * (luma / luma.amax())).round()
        for side in (2, 3):
            rest = luma.shape[side] % 16
            mirrored = luma.narrow(side, luma.shape[side] - rest, rest).flip(side)
            luma = torch.cat([luma, mirrored], side)
        found = torch.stack([_distortion(luma, tile) for tile in tiles_of(luma, _MARGIN, 16)])  # (tiles, 2)
        distortion, active = found.sum(0)
        return 100 * (distortion + 1) / (active + 1)


def _distortion(luma: Tensor, tile: Tile) -> Tensor:
    """Luma (1, 1, H, W) in [0, 255] -> the distortion of a tile's active blocks, and their number (2,)."""
    from pyiqa.archs.func_util import normalize_img_with_gauss
    from pyiqa.archs.piqe_arch import noise_criterion, notice_dist_criterion

    pixels = tile.inner(normalize_img_with_gauss(tile.read(luma), padding="replicate"))
    blocks = pixels.unfold(2, 16, 16).unfold(3, 16, 16).reshape(1, -1, 16, 16)  # (1, blocks, 16, 16)
    variance = blocks.var((2, 3))
    deviation, surround = noise_criterion(blocks, 15, variance)
    noisy, artificial = deviation > 2 * surround, notice_dist_criterion(blocks, 6, 0.1, 16)
    active = variance > 0.1
    distortion = artificial * (1 - variance) + noisy * variance
    return torch.stack([(active * distortion).sum(), active.to(distortion).sum()])


def _luma(image: Tensor, peak: float, color_space: str) -> Tensor:
    """RGB (1, 3, H, W) -> luma (1, 1, H, W) in [0, peak], some rows at a time."""
    from pyiqa.utils.color_util import to_y_channel

    rows = image.split(128, dim=2)
    return torch.cat([to_y_channel(part.clamp(0, 1), peak, color_space) for part in rows], dim=2)
