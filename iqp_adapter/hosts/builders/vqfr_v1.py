"""VQFR version 1, with the keys and the outputs of the official class.

Source: https://github.com/TencentARC/VQFR at 239c77a (`vqfr/archs/vqfrv1_arch.py`), Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .vqfr_parts import Branch, Residual, conv, level, nearest, norm, out, resized


class VQFRv1(nn.Module):
    """Restores pictures (B, 3, H, W) in [-1, 1].

    Args:
        widths: channels of every level, that of the picture's size first.
        blocks: residual blocks a level, of the encoder and of the decoder.
        codes: number and channels of the codes.
        seen: channels of what the main decoder knows of the input.
        groups: of channels that its warping moves together.
    """

    def __init__(self, widths: Sequence[int], blocks: tuple[int, int], codes: tuple[int, int], seen: int, groups: int):
        super().__init__()
        self.inpfeat_extraction = Conv(3, seen)
        self.encoder, self.decoder = Encoder(widths, blocks[0]), Decoder(widths, blocks[1])
        self.main_decoder = MainDecoder(widths, seen, groups)
        self.quantizer = Quantizer(level(len(widths) - 1), widths[-1], *codes)

    def forward(
        self, x_lq: Tensor, iters: int = -1, return_keys: Collection[str] = "dec", fidelity_ratio: Any = None
    ) -> dict[str, Any]:
        """`iters` and `fidelity_ratio` are taken, as the official class does, and mean nothing."""
        prior = self.inpfeat_extraction(x_lq)
        codes, _, found = self.quantizer(self.encoder(x_lq), iters=iters)
        result = {"feat_dict": found} if "feat_dict" in return_keys else {}
        if "dec" in return_keys:
            result["dec"], textures = self.decoder(codes)
            result["main_dec"] = self.main_decoder(textures, prior, x_lq)
        return result


class Conv(nn.Module):
    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.conv = conv(inside, outside)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Half(Conv):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(resized(x, 0.5))


class Double(Conv):
    def forward(self, x: Tensor) -> Tensor:
        return resized(self.conv(x), 2)


class Shrunk(Conv):
    """By interpolation and a convolution."""

    def __init__(self, channels: int, depth: int):
        super().__init__(channels, channels)
        self.factor = 2**-depth

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(resized(x, self.factor))


def shrink(channels: int, depth: int) -> nn.Module:
    return Shrunk(channels, depth) if depth else nn.Identity()


class Block(Residual):
    shortcut = "shortcut_conv"


def stage(width: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(Block(width, width) for _ in range(blocks)))


class Encoder(nn.Module):
    """A picture -> the features of the deepest level, by its name."""

    def __init__(self, widths: Sequence[int], blocks: int):
        super().__init__()
        names = [level(depth) for depth in range(len(widths))]
        self.conv_in = conv(3, widths[0])
        self.encoder_dict = nn.ModuleDict(
            {name: stage(width, blocks) for name, width in zip(names, widths, strict=True)}
        )
        halves = [nn.Identity(), *(Half(*pair) for pair in zip(widths, widths[1:], strict=False))]
        self.pre_downsample_dict = nn.ModuleDict(dict(zip(names, halves, strict=True)))
        self.enc_convout_dict = nn.ModuleDict({names[-1]: out(widths[-1], widths[-1])})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.conv_in(x)
        for name, blocks in self.encoder_dict.items():
            x = blocks(self.pre_downsample_dict[name](x))
        return {name: convout(x) for name, convout in self.enc_convout_dict.items()}


class Decoder(nn.Module):
    """Codes of the deepest level -> a picture, and the textures of every level by name."""

    def __init__(self, widths: Sequence[int], blocks: int):
        super().__init__()
        up, names = list(reversed(widths)), [level(depth) for depth in reversed(range(len(widths)))]
        self.decoder_dict = nn.ModuleDict({name: stage(width, blocks) for name, width in zip(names, up, strict=True)})
        doubles = [nn.Identity(), *(Double(*pair) for pair in zip(up, up[1:], strict=False))]
        self.pre_upsample_dict = nn.ModuleDict(dict(zip(names, doubles, strict=True)))
        self.conv_out = out(widths[0], 3)

    def forward(self, codes: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        [x] = codes.values()
        textures = {}
        for name, blocks in self.decoder_dict.items():
            textures[name] = x = blocks(self.pre_upsample_dict[name](x))
        return self.conv_out(x), textures


class MainDecoder(Branch):
    """Textures by level, the input's features and the input -> the picture."""

    def __init__(self, widths: Sequence[int], seen: int, groups: int):
        super().__init__(widths, seen, groups, Block, Double, shrink)
        self.conv_out_1 = nn.Sequential(norm(widths[0]), nn.SiLU())
        self.conv_out = nn.Sequential(conv(widths[0] + 3, 3))

    def forward(self, textures: Mapping[str, Tensor], prior: Tensor, x_lq: Tensor) -> Tensor:
        return self.conv_out(torch.cat([self.conv_out_1(self.joined(textures, prior)), x_lq], 1))


class QuantiseLevel(nn.Module):
    """Features (B, C, h, w) -> their nearest codes, at the width of the features."""

    def __init__(self, width: int, number: int, dim: int):
        super().__init__()
        self.quant_conv, self.post_quant_conv = conv(width, dim, 1), conv(dim, width, 1)
        self.embedding = nn.Embedding(number, dim)

    def forward(self, z: Tensor, iters: int = -1) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        small = self.quant_conv(z)
        codes, loss, _ = nearest(small, self.embedding.weight)
        return self.post_quant_conv(codes), loss, {"z_conv": small, "z_quant_before_conv": codes}


class Quantizer(nn.Module):
    def __init__(self, name: str, width: int, number: int, dim: int):
        super().__init__()
        self.quantize_dict = nn.ModuleDict({name: QuantiseLevel(width, number, dim)})

    def forward(
        self, features: Mapping[str, Tensor], iters: int = -1
    ) -> tuple[dict[str, Tensor], Tensor, dict[str, Any]]:
        [(name, quantise)] = self.quantize_dict.items()
        codes, loss, found = quantise(features[name], iters=iters)
        return {name: codes}, loss, {name: found}
