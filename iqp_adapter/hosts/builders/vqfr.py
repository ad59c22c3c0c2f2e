"""VQFR version 2, with the keys and the outputs of the official class.

Source: https://github.com/TencentARC/VQFR at 239c77a (`vqfr/archs/vqfrv2_arch.py`), Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from .vqfr_parts import Branch, Residual, conv, level, nearest, norm, out, resized


class VQFRv2(nn.Module):
    """Restores (B, 3, 16 s, 16 s) pictures in [-1, 1], s being 2 to the number of levels less one.

    Args:
        widths: channels of every level, that of the picture's size first.
        blocks: residual blocks a level, of the encoder and of the decoder.
        attends: whether the deepest levels of the encoder and of the decoder attend.
        codes: number and channels of the codes.
        predicts: whether a classifier decides codes (`Predict`); else the nearest ones are taken (`Nearest`).
        seen: channels of what the main branch knows of the input.
        groups: of channels that its warping moves together.
    """

    def __init__(
        self,
        widths: Sequence[int],
        blocks: tuple[int, int],
        attends: tuple[bool, bool],
        codes: tuple[int, int],
        predicts: bool,
        seen: int,
        groups: int,
    ):
        super().__init__()
        number, dim = codes
        self.encoder = Encoder(widths, blocks[0], attends[0], dim)
        self.feat2index = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, number)) if predicts else None
        self.decoder = Decoder(widths, blocks[1], attends[1], dim)
        self.main_branch = MainBranch(widths, seen, groups, Block, Doubled, Shrink)
        self.inpfeat_extraction = conv(3, seen)
        self.quantizer = Codebook(number, dim)

    def forward(self, x_lq: Tensor, fidelity_ratio: float | Tensor = 1.0) -> dict[str, Tensor]:
        seen, features = self.inpfeat_extraction(x_lq), self.encoder(x_lq)
        result = {"enc_feat": features}
        if self.feat2index is None:
            codes, _, _ = self.quantizer(features)
        else:
            result["quant_logit"] = self.feat2index(features.flatten(2).transpose(1, 2))  # (B, D, h, w) -> (B, L, K)
            codes = self.quantizer.embedding(result["quant_logit"].argmax(-1))
            codes = codes.transpose(1, 2).reshape(features.shape)  # (B, L, D) -> (B, D, h, w)
        with torch.no_grad():
            result["texture_dec"], textures = self.decoder(codes)
        result["main_dec"] = self.decoder.conv_out(self.main_branch(textures, seen, fidelity_ratio=fidelity_ratio))
        return result


class Codebook(nn.Module):
    def __init__(self, number: int, dim: int):
        super().__init__()
        self.embedding = nn.Embedding(number, dim)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return nearest(z, self.embedding.weight)


class Block(Residual):
    shortcut = "residual_func"


class Attention(nn.Module):
    """Attention with one head between the places of a map, added to it."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v = (conv(channels, channels, 1) for _ in range(3))
        self.proj_out = conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (project(h).flatten(2) for project in (self.q, self.k, self.v))  # (B, C, h, w) -> (B, C, L)
        weights = (q.transpose(1, 2) @ k * q.shape[1] ** -0.5).softmax(2)  # (B, L, L)
        return x + self.proj_out((v @ weights.transpose(1, 2)).view(x.shape))


class Half(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(pad(x, (0, 1, 0, 1)))


class Double(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(interpolate(x, scale_factor=2))


class Doubled(nn.Sequential):
    def __init__(self, inside: int, outside: int):
        super().__init__(nn.UpsamplingNearest2d(scale_factor=2), conv(inside, outside))


class Shrink(nn.Module):
    """By interpolation alone."""

    def __init__(self, channels: int, depth: int):
        super().__init__()
        self.factor = 2**-depth

    def forward(self, x: Tensor) -> Tensor:
        return resized(x, self.factor)


def stage(first: Sequence[nn.Module], inside: int, outside: int, blocks: int, attends: bool) -> nn.Sequential:
    """One level: what changes the size, then residual blocks, each with attention behind it if the level attends."""
    parts = list(first)
    for index in range(blocks):
        parts.append(Block(outside if index else inside, outside))
        parts += [Attention(outside)] if attends else []
    return nn.Sequential(*parts)


def middle(width: int, attends: bool) -> nn.Sequential:
    return nn.Sequential(Block(width, width), *([Attention(width)] if attends else []), Block(width, width))


class Encoder(nn.Module):
    def __init__(self, widths: Sequence[int], blocks: int, attends: bool, dim: int):
        super().__init__()
        deepest = len(widths) - 1
        self.conv_in = conv(3, widths[0])
        self.blocks = nn.ModuleList([stage([], widths[0], widths[0], blocks, attends and deepest == 0)])
        for depth, (before, width) in enumerate(zip(widths, widths[1:], strict=False), 1):
            self.blocks.append(stage([Half(before)], before, width, blocks, attends and depth == deepest))
        self.mid_blocks = middle(widths[-1], attends)
        self.conv_out = out(widths[-1], dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in self.blocks:
            x = block(x)
        return self.conv_out(self.mid_blocks(x))


class Decoder(nn.Module):
    """Codes (B, D, h, w) -> a picture, and the textures of every level by name."""

    def __init__(self, widths: Sequence[int], blocks: int, attends: bool, dim: int):
        super().__init__()
        up = list(reversed(widths))
        self.conv_in = conv(dim, up[0])
        self.blocks = nn.ModuleList([stage([], up[0], up[0], blocks, attends)])
        self.mid_blocks = middle(up[0], attends)
        for before, width in zip(up, up[1:], strict=False):
            self.blocks.append(stage([Double(before)], before, width, blocks, False))
        self.conv_out = out(up[-1], 3)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        x, textures = self.mid_blocks(self.conv_in(x)), {}
        for depth, block in zip(reversed(range(len(self.blocks))), self.blocks, strict=True):
            textures[level(depth)] = x = block(x)
        return self.conv_out(x), textures


class MainBranch(Branch):
    def forward(self, textures: Mapping[str, Tensor], inpfeat: Tensor, fidelity_ratio: float | Tensor = 1.0) -> Tensor:
        return textures[level(0)] + fidelity_ratio * self.joined(textures, inpfeat)
