"""The trunk of IQPIR, which is CodeFormer's: a picture to a grid of features, and a grid of codes to a picture.

Source: CodeFormer (arXiv 2206.11253) and IQPIR, by the shapes and outputs of their classes. Parameters have the
official names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad, scaled_dot_product_attention, silu

from .sizes import IQPIRConfig


class Residual(nn.Module):
    """Two normalised convolutions beside the input."""

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.norm1, self.conv1 = norm(inside), conv(inside, outside)
        self.norm2, self.conv2 = norm(outside), conv(outside, outside)
        self.conv_out = conv(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(silu(self.norm1(x)))
        return self.conv_out(x) + self.conv2(silu(self.norm2(inner)))


class Attention(nn.Module):
    """Every position of a small grid looks at every other."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = norm(dim)
        self.q, self.k, self.v, self.proj_out = (conv(dim, dim, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        q, k, v = (part(normed).flatten(2).transpose(1, 2)[:, None] for part in (self.q, self.k, self.v))
        attended = scaled_dot_product_attention(q, k, v)[:, 0]  # (B, 1, HW, C) -> (B, HW, C)
        return x + self.proj_out(attended.transpose(1, 2).unflatten(2, x.shape[2:]))  # (B, HW, C) -> (B, C, H, W)


class Down(nn.Module):
    """Half the side; what the kernel lacks is added to the right and below."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(pad(x, (0, 1, 0, 1)))


class Up(nn.Module):
    """Twice the side."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv = conv(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(interpolate(x, scale_factor=2.0, mode="nearest"))


class Trunk(nn.Module):
    """Blocks, one after the other."""

    def __init__(self, blocks: Sequence[nn.Module]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, after: Mapping[int, Callable[[Tensor], Tensor]] | None = None) -> Tensor:
        """`after` holds, by the place of a block, what is done to its output."""
        for place, block in enumerate(self.blocks):
            x = block(x)
            if after and place in after:
                x = after[place](x)
        return x


class Fusion(nn.Module):
    """The encoder's features scale and shift the decoder's: the fidelity path.

    Source: the controllable feature transformation of CodeFormer.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.encode_enc = Residual(2 * dim, dim)
        self.scale, self.shift = modulation(dim), modulation(dim)

    def forward(self, decoded: Tensor, encoded: Tensor, weight: float | Tensor) -> Tensor:
        """`weight` of the change: 0 is none of it."""
        both = self.encode_enc(torch.cat([encoded, decoded], 1))  # (B, 2C, H, W) -> (B, C, H, W)
        return decoded + weight * (decoded * self.scale(both) + self.shift(both))


def encoder(config: IQPIRConfig) -> Trunk:
    """(B, 3, R, R) in [-1, 1] -> (B, D, h, w)."""
    deepest = config.widths[-1]
    blocks: list[nn.Module] = [conv(3, config.widths[0])]
    for level, (inside, outside) in enumerate(pairwise((config.widths[0], *config.widths))):
        blocks += _level(inside, outside, config.blocks, attends=level == config.levels - 1)
        blocks += [Down(outside)] if level < config.levels - 1 else []
    return Trunk([*blocks, *_middle(deepest), norm(deepest), conv(deepest, config.code_dim)])


def generator(config: IQPIRConfig) -> Trunk:
    """(B, D, h, w) -> (B, 3, R, R) in [-1, 1], not clamped."""
    widths = config.widths[::-1]
    blocks: list[nn.Module] = [conv(config.code_dim, widths[0]), *_middle(widths[0])]
    for depth, (inside, outside) in enumerate(pairwise((widths[0], *widths))):
        blocks += [Up(inside)] if depth else []
        blocks += _level(inside, outside, config.blocks, attends=depth == 0)
    return Trunk([*blocks, norm(widths[-1]), conv(widths[-1], 3)])


def encoder_place(config: IQPIRConfig, level: int) -> int:
    """The place of the encoder's block whose output the fidelity path takes: the last one of a level."""
    return level * (config.blocks + 1) + config.blocks


def generator_place(config: IQPIRConfig, level: int) -> int:
    """The place of the generator's block whose output the fidelity path changes: the first one of a level."""
    deepest = 1 + 3 + 2 * config.blocks  # a convolution, the middle, and blocks with attention
    return deepest + 1 + (config.levels - 2 - level) * (config.blocks + 1)


def _level(inside: int, outside: int, blocks: int, attends: bool) -> Iterator[nn.Module]:
    for place in range(blocks):
        yield Residual(outside if place else inside, outside)
        if attends:
            yield Attention(outside)


def _middle(dim: int) -> list[nn.Module]:
    return [Residual(dim, dim), Attention(dim), Residual(dim, dim)]


def modulation(dim: int) -> nn.Sequential:
    return nn.Sequential(conv(dim, dim), nn.LeakyReLU(0.2), conv(dim, dim))


def conv(inside: int, outside: int, side: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, side, padding=side // 2)


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)
