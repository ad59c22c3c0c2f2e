"""What both versions of VQFR are made of: residual blocks, texture warping, and the branch that keeps to the input.

Source: https://github.com/TencentARC/VQFR at 239c77a (`vqfr/archs`), Apache-2.0; parameters have the official names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.ops import deform_conv2d

Block = Callable[[int, int], nn.Module]
"""Channels in and out -> a module between maps."""


def conv(inside: int, outside: int, side: int = 3, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, side, padding=side // 2, groups=groups)


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


def out(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(norm(inside), nn.SiLU(), conv(inside, outside))


def resized(x: Tensor, factor: float) -> Tensor:
    return interpolate(x, size=[int(side * factor) for side in x.shape[2:]], mode="bilinear")


def level(depth: int) -> str:
    """Name of the level whose maps are 2**depth times smaller than the picture."""
    return f"Level_{2**depth}"


class Residual(nn.Module):
    """Two normalised convolutions beside the input, which a convolution called `shortcut` brings to their width."""

    shortcut: str

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.norm1, self.conv1 = norm(inside), conv(inside, outside)
        self.norm2, self.conv2 = norm(outside), conv(outside, outside)
        setattr(self, self.shortcut, conv(inside, outside, 1) if inside != outside else nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(nn.functional.silu(self.norm1(x)))
        h = self.conv2(nn.functional.silu(self.norm2(h)))
        return h + self.get_submodule(self.shortcut)(x)


class DeformableConv(nn.Conv2d):
    """A 3 x 3 convolution at places, and with weights, that other features decide."""

    def __init__(self, channels: int, groups: int):
        super().__init__(channels, channels, 3, padding=1)
        self.conv_offset = conv(channels, 27 * groups)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:  # type: ignore[override]
        y, x_offset, mask = self.conv_offset(features).chunk(3, 1)
        offset = torch.cat([y, x_offset], 1)
        return deform_conv2d(x, offset, self.weight, self.bias, padding=1, mask=mask.sigmoid())


class Warp(nn.Module):
    """Moves textures (B, C, h, w) to where the input has them.

    Args:
        channels: of the textures.
        seen: channels of what is known of the input.
        before: channels of the offsets of the level before; 0 at the deepest one.
        groups: of channels that move together.
        shrink: brings the input's features to the size of the textures; a module may have weights.
    """

    def __init__(self, channels: int, seen: int, before: int, groups: int, shrink: Callable[[Tensor], Tensor]):
        super().__init__()
        self.downsample = shrink
        self.offset_conv1 = nn.Sequential(
            conv(channels + seen, channels, 1), norm(channels), nn.SiLU(),
            conv(channels, channels, 7, groups=channels), norm(channels), nn.SiLU(), conv(channels, channels, 1),
        )  # fmt: skip
        self.offset_conv2 = nn.Sequential(conv(channels + before, channels), norm(channels), nn.SiLU())
        self.dcn = DeformableConv(channels, groups)

    def forward(self, x_main: Tensor, inpfeat: Tensor, previous_offset: Tensor | None = None) -> tuple[Tensor, Tensor]:
        offset = self.offset_conv1(torch.cat([self.downsample(inpfeat), x_main], 1))
        known = [offset] if previous_offset is None else [offset, previous_offset]
        offset = self.offset_conv2(torch.cat(known, 1))
        return self.dcn(x_main, offset), offset


class Branch(nn.Module):
    """From the deepest level up, textures by level are warped and joined; (B, C, H, W) of the picture's size.

    Args:
        widths: channels of every level, that of the picture's size first.
        seen: channels of what is known of the input.
        groups: of channels that the warping moves together.
        block, double: kinds of residual blocks and of layers that double the size.
        shrink: (channels, depth of a level) -> what brings the input's features to its size.
    """

    def __init__(
        self,
        widths: Sequence[int],
        seen: int,
        groups: int,
        block: Block,
        double: Block,
        shrink: Callable[[int, int], Callable[[Tensor], Tensor]],
    ):
        super().__init__()
        deepest = len(widths) - 1
        up = list(reversed(range(deepest)))
        self.decoder_dict = nn.ModuleDict({level(i): block(2 * widths[i], widths[i]) for i in up})
        self.pre_upsample_dict = nn.ModuleDict({level(i): double(widths[i + 1], widths[i]) for i in up})
        before = {i: widths[i + 1] for i in up} | {deepest: 0}
        self.align_func_dict = nn.ModuleDict(
            {level(i): Warp(widths[i], seen, before[i], groups, shrink(seen, i)) for i in (deepest, *up)}
        )

    def joined(self, textures: Mapping[str, Tensor], inpfeat: Tensor) -> Tensor:
        deepest, *_ = self.align_func_dict
        x, offset = self.align_func_dict[deepest](textures[deepest], inpfeat)
        for name, decode in self.decoder_dict.items():
            previous = interpolate(offset, scale_factor=2, mode="bilinear") * 2
            warped, offset = self.align_func_dict[name](textures[name], inpfeat, previous_offset=previous)
            x = decode(torch.cat([self.pre_upsample_dict[name](x), warped], 1))
        return x


def nearest(z: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features (B, D, h, w) -> their nearest codes with a straight-through gradient, the codebook's loss, indices."""
    rows = z.permute(0, 2, 3, 1)  # (B, D, h, w) -> (B, h, w, D)
    flat = rows.reshape(-1, codebook.shape[1])  # -> (B * h * w, D)
    distance = (flat**2).sum(1, keepdim=True) + (codebook**2).sum(1) - 2 * flat @ codebook.T
    index = distance.argmin(1)
    codes = codebook[index].view(rows.shape)
    loss = (codes.detach() - rows).square().mean() + 0.25 * (codes - rows.detach()).square().mean()
    return (rows + (codes - rows).detach()).permute(0, 3, 1, 2), loss, index.view(len(z), -1)
