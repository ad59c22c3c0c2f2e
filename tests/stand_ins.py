"""Small modules with the paths, layouts, arguments and returns of restorers that no package holds.

Written by the tables in data/hosts/*.json, with which test_hosts.py compares them at 512 px; widths, and what the parts
compute, are our own.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, mse_loss, one_hot

GRID = 16
"""Side of the grid of codes."""


def conv(inside: int, outside: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, stride, 1)


def double(x: Tensor) -> Tensor:
    return interpolate(x, scale_factor=2)


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return double(x)


def block(inside: int, outside: int | None = None) -> nn.Module:
    return nn.Sequential(nn.Tanh(), nn.Conv2d(inside, outside or inside, 1))


def namespace(**parts: nn.Module) -> nn.Module:
    """A module that holds others and is never called."""
    module = nn.Module()
    for name, part in parts.items():
        setattr(module, name, part)
    return module


def levels(halvings: int) -> list[str]:
    """VQFR's names of levels, the deepest first."""
    return [f"Level_{2**n}" for n in reversed(range(halvings + 1))]


class Meet(nn.Module):
    """RestoreFormer's place where two features meet: x, and a function of both."""

    def __init__(self, width: int):
        super().__init__()
        self.in_channels = width
        self.norm2, self.q, self.v = nn.GroupNorm(1, width), nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return x + self.q(x if y is None else self.norm2(y)).tanh() * self.v(x)


class Nearest(nn.Module):
    """A codebook whose nearest codes are taken, straight-through."""

    def __init__(self, codes: int, width: int):
        super().__init__()
        self.embedding = nn.Embedding(codes, width)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        d = torch.cdist(z.permute(0, 2, 3, 1).flatten(0, 2), self.embedding.weight)  # (B, D, h, w) -> (B * h * w, K)
        index = d.argmin(1)
        codes = self.entries(index, z)
        hot = one_hot(index, d.shape[1]).float()
        return z + (codes - z).detach(), mse_loss(codes, z), (hot.mean(0).std(), hot, index[:, None], d)

    def entries(self, index: Tensor, like: Tensor) -> Tensor:
        """Codes of (B * h * w) indices as a map (B, D, h, w); a method, so that no hook sees it."""
        hot = one_hot(index.flatten(), len(self.embedding.weight)).float()
        return (hot @ self.embedding.weight).view(len(like), *like.shape[2:], -1).permute(0, 3, 1, 2)


class Encoder(nn.Module):
    """RestoreFormer's: a picture -> features by name."""

    def __init__(self, width: int, halvings: int):
        super().__init__()
        self.resolution = GRID * 2**halvings
        self.conv_in, self.conv_out = conv(3, width), conv(width, width)
        self.down = nn.ModuleList()
        for level in range(halvings + 1):
            down = namespace(block=nn.ModuleList([block(width), block(width)]), attn=nn.ModuleList())
            if level == halvings:
                down.attn.extend([Meet(width), Meet(width)])
            else:
                down.downsample = conv(width, width, 2)
            self.down.append(down)
        self.mid = namespace(block_1=block(width), attn_1=Meet(width), block_2=block(width))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = {"in": self.conv_in(x)}
        h = features["in"]
        for level, down in enumerate(self.down):
            for one, attn in zip_longest(down.block, down.attn):
                h = attn(one(h)) if attn else one(h)
            if hasattr(down, "downsample"):
                features[f"block_{level}"], h = h, down.downsample(h)
        features[f"block_{len(self.down) - 1}_atten"] = h = self.mid.block_1(h)
        features["mid_atten"] = h = self.mid.block_2(self.mid.attn_1(h))
        return features | {"out": self.conv_out(h)}


class Decoder(nn.Module):
    """RestoreFormer's: codes -> a picture; `meets` are the levels in which they meet what the encoder saw."""

    def __init__(self, width: int, halvings: int, meets: Iterable[int]):
        super().__init__()
        self.conv_in, self.conv_out = conv(width, width), conv(width, 3)
        self.mid = namespace(block_1=block(width), attn_1=Meet(width), block_2=block(width))
        self.up = nn.ModuleList()
        for level in range(halvings + 1):
            up = namespace(block=nn.ModuleList(block(width) for _ in range(3)), attn=nn.ModuleList())
            if level in meets:
                up.attn.extend(Meet(width) for _ in range(3))
            if level:
                up.upsample = Double()
            self.up.append(up)

    def forward(self, z: Tensor, features: dict[str, Tensor] | None = None) -> Tensor:
        features = features or {}
        h = self.mid.block_1(self.conv_in(z))
        h = self.mid.block_2(self.mid.attn_1(h, *known(features, "mid_atten")))
        for level in reversed(range(len(self.up))):
            others = known(features, f"block_{level}_atten", f"block_{level}")
            for one, attn in zip_longest(self.up[level].block, self.up[level].attn):
                h = attn(one(h), *others) if attn else one(h)
            h = self.up[level].upsample(h) if level else h
        return self.conv_out(h)


def known(features: dict[str, Tensor], *names: str) -> list[Tensor]:
    """The first of the names that there is; none for a decoder that sees no features."""
    return [features[name] for name in names if name in features][:1]


class RestoreFormer(nn.Module):
    """The official class: its returns; `deepest` levels of the decoder look at the input, 1 in RestoreFormer."""

    def __init__(self, halvings: int = 5, deepest: int = 1, width: int = 8):
        super().__init__()
        self.encoder = Encoder(width, halvings)
        self.decoder = Decoder(width, halvings, range(halvings + 1 - deepest, halvings + 1))
        self.quantize = Nearest(16, width)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
        features = self.encoder(input)
        z, diff, info = self.quantize(self.quant_conv(features["out"]))
        return self.decoder(self.post_quant_conv(z), features), diff, info, features


class RestoreFormerPlusPlus(RestoreFormer):
    def __init__(self, halvings: int = 5, width: int = 8):
        super().__init__(halvings, deepest=2, width=width)


class TransformerLayer(nn.Module):
    """Sequence-first self-attention, called as CodeFormer's."""

    def __init__(self, dim: int):
        super().__init__()
        self.self_attn, self.linear1 = nn.MultiheadAttention(dim, 2), nn.Linear(dim, dim)

    def forward(self, tgt: Tensor, query_pos: Tensor) -> Tensor:
        q = tgt + query_pos
        return tgt + self.linear1(self.self_attn(q, q, value=tgt)[0])


class CodePredictor(nn.Module):
    """What CodeFormer and DAEFR share: features (B, D, h, w) -> code logits (B, L, K)."""

    def __init__(self, width: int, layers: int, codes: int, dim: int = 16):
        super().__init__()
        self.position_emb = nn.Parameter(torch.randn(GRID * GRID, dim))
        self.feat_emb = nn.Linear(width, dim)
        self.ft_layers = nn.Sequential(*(TransformerLayer(dim) for _ in range(layers)))
        self.idx_pred_layer = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, codes, bias=False))

    def predict(self, features: Tensor) -> Tensor:
        position = self.position_emb[:, None].repeat(1, len(features), 1)
        x = self.feat_emb(features.flatten(2).permute(2, 0, 1))  # (B, D, h, w) -> (L, B, C)
        for layer in self.ft_layers:
            x = layer(x, query_pos=position)
        return self.idx_pred_layer(x).permute(1, 0, 2)  # (L, B, K) -> (B, L, K)


class Fuse(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.scale = conv(2 * width, width)

    def forward(self, enc_feat: Tensor, dec_feat: Tensor, w: float) -> Tensor:
        return dec_feat + w * self.scale(torch.cat([enc_feat, dec_feat], 1))


def adapted(content: Tensor, style: Tensor) -> Tensor:
    """Channel by channel, the content with the mean and deviation of the style."""
    content_spread, style_spread = ((x.flatten(2).var(2) + 1e-5).sqrt()[..., None, None] for x in (content, style))
    content_mean, style_mean = (x.flatten(2).mean(2)[..., None, None] for x in (content, style))
    return (content - content_mean) / content_spread * style_spread + style_mean


class CodeFormer(CodePredictor):
    """The official class: its arguments, and its three returns."""

    def __init__(self, halvings: int = 5, layers: int = 9, width: int = 8, codes: int = 16):
        super().__init__(width, layers, codes)
        sides = [GRID * 2**n for n in range(halvings, 0, -1)]
        downs = [part for _ in sides for part in (block(width), block(width), conv(width, width, 2))]
        ups = [part for _ in sides for part in (Double(), block(width), block(width))]
        grid = [Meet(width) if index in (2, 5, 7) else block(width) for index in range(1, 8)]
        self.encoder, self.generator, self.quantize = nn.Module(), nn.Module(), Nearest(codes, width)
        self.encoder.resolution = sides[0]
        self.encoder.blocks = nn.ModuleList(
            [conv(3, width), *downs, *(block(width) for _ in range(8)), conv(width, width)]
        )
        self.generator.blocks = nn.ModuleList([conv(width, width), *grid, *ups, nn.Tanh(), conv(width, 3)])
        self.fuse_encoder_block = {str(side): 2 + 3 * level for level, side in enumerate(sides)}
        self.fuse_generator_block = {str(side): 9 + 3 * level for level, side in enumerate(reversed(sides))}
        self.connect_list = [str(side) for side in sorted(sides)[:4]]
        self.fuse_convs_dict = nn.ModuleDict({side: Fuse(width) for side in self.connect_list})

    def forward(
        self, x: Tensor, w: float = 0, detach_16: bool = True, code_only: bool = False, adain: bool = False
    ) -> tuple[Tensor, ...]:
        seen = {}
        for index, one in enumerate(self.encoder.blocks):
            x = one(x)
            seen |= {side: x for side in self.connect_list if self.fuse_encoder_block[side] == index}
        logits = self.predict(x)
        if code_only:
            return logits, x
        codes = self.quantize.entries(logits.argmax(-1), x).detach()
        image = adapted(codes, x) if adain else codes
        fuse = {self.fuse_generator_block[side]: side for side in self.connect_list}
        for index, one in enumerate(self.generator.blocks):
            image = one(image)
            if index in fuse and w > 0:
                image = self.fuse_convs_dict[fuse[index]](seen[fuse[index]].detach(), image, w)
        return image, logits, x


class DAEFR(CodePredictor):
    def __init__(self, halvings: int = 5, layers: int = 9, width: int = 8, codes: int = 16):
        super().__init__(width, layers, codes)
        self.vqvae = namespace(
            encoder=Encoder(width, halvings),
            HQ_encoder=Encoder(width, halvings),
            quant_conv=nn.Conv2d(width, width, 1),
            HQ_quant_conv=nn.Conv2d(width, width, 1),
            Fixed_quantize=Nearest(codes, width),
            post_quant_conv=nn.Conv2d(width, width, 1),
            decoder=Decoder(width, halvings, [halvings]),
        )
        self.cross_attention = Meet(width)

    def forward(self, input: Tensor, gt: Tensor | None = None) -> tuple[Any, ...]:
        features = self.vqvae.encoder(input)
        lq = self.vqvae.quant_conv(features["out"])
        hq = self.vqvae.HQ_quant_conv(self.vqvae.HQ_encoder(input)["out"])
        both = self.cross_attention(hq, lq)
        nearest, _, info = self.vqvae.Fixed_quantize(lq)
        logits = self.predict(both)
        code_loss = cross_entropy(logits.flatten(0, 1), info[2].flatten())
        codes = self.vqvae.Fixed_quantize.entries(logits.argmax(-1), both)
        image = self.vqvae.decoder(self.vqvae.post_quant_conv(both + (codes - both).detach()))
        book = self.vqvae.Fixed_quantize.embedding.weight
        return image, code_loss, mse_loss(both, nearest), info, features, lq, nearest, book


class Warp(nn.Module):
    """VQFR's texture warping: a map, moved by what the input says -> it, and the offsets."""

    def __init__(self, width: int):
        super().__init__()
        self.offset_conv1, self.dcn = conv(2 * width, width), conv(2 * width, width)

    def forward(self, x_main: Tensor, inpfeat: Tensor, previous_offset: Tensor | None = None) -> tuple[Tensor, Tensor]:
        small = interpolate(inpfeat, size=x_main.shape[2:])
        offset = self.offset_conv1(torch.cat([small, x_main], 1))
        offset = offset if previous_offset is None else offset + previous_offset
        return self.dcn(torch.cat([x_main, offset], 1)), offset


class MainBranch(nn.Module):
    """VQFR's decoder that keeps to the input: textures by level -> a map of the picture's size."""

    def __init__(self, width: int, halvings: int):
        super().__init__()
        self.align_func_dict = nn.ModuleDict({name: Warp(width) for name in levels(halvings)})
        self.decoder_dict = nn.ModuleDict({name: block(2 * width, width) for name in levels(halvings)[1:]})

    def main(self, textures: dict[str, Tensor], inpfeat: Tensor) -> Tensor:
        deepest = next(iter(self.align_func_dict))
        x, offset = self.align_func_dict[deepest](textures[deepest], inpfeat)
        for name, decode in self.decoder_dict.items():
            warped, offset = self.align_func_dict[name](textures[name], inpfeat, previous_offset=double(offset))
            x = decode(torch.cat([double(x), warped], 1))
        return x


class MainBranchV2(MainBranch):
    def forward(self, textures: dict[str, Tensor], inpfeat: Tensor, fidelity_ratio: Any = 1.0) -> Tensor:
        return textures["Level_1"] + fidelity_ratio * self.main(textures, inpfeat)


class VQFRv2(nn.Module):
    def __init__(self, halvings: int = 5, width: int = 8, codes: int = 16):
        super().__init__()
        downs = [conv(3, width), *(nn.Sequential(nn.Tanh(), conv(width, width, 2)) for _ in range(halvings))]
        ups = (nn.Sequential(Double(), block(width)) for _ in range(halvings))
        self.encoder, self.decoder, self.quantizer = nn.Module(), nn.Module(), nn.Module()
        self.encoder.blocks = nn.ModuleList(downs)
        self.encoder.mid_blocks = nn.Sequential(block(width), block(width), block(width))
        self.encoder.conv_out = nn.Sequential(nn.GroupNorm(1, width), nn.SiLU(), conv(width, width))
        self.feat2index = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, codes))
        self.quantizer.embedding = nn.Embedding(codes, width)
        self.decoder.conv_in, self.decoder.blocks = conv(width, width), nn.ModuleList([block(width), *ups])
        self.decoder.conv_out = nn.Sequential(nn.GroupNorm(1, width), nn.SiLU(), conv(width, 3))
        self.inpfeat_extraction = conv(3, width)
        self.main_branch = MainBranchV2(width, halvings)

    def forward(self, x_lq: Tensor, fidelity_ratio: Any = 1.0) -> dict[str, Tensor]:
        h = x_lq
        for one in self.encoder.blocks:
            h = one(h)
        features = self.encoder.conv_out(self.encoder.mid_blocks(h))
        logits = self.feat2index(features.flatten(2).transpose(1, 2))  # (B, C, h, w) -> (B, L, K)
        codes = self.quantizer.embedding(logits.argmax(-1)).transpose(1, 2).reshape(features.shape)
        textures = {}
        with torch.no_grad():
            h = self.decoder.conv_in(codes)
            for name, one in zip(self.main_branch.align_func_dict, self.decoder.blocks, strict=True):
                textures[name] = h = one(h)
            texture = self.decoder.conv_out(h)
        main = self.decoder.conv_out(
            self.main_branch(textures, self.inpfeat_extraction(x_lq), fidelity_ratio=fidelity_ratio)
        )
        return {"enc_feat": features, "quant_logit": logits, "texture_dec": texture, "main_dec": main}


class QuantiseLevel(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.quant_conv, self.post_quant_conv = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.embedding = nn.Embedding(16, width)

    def forward(self, z: Tensor, iters: int = -1) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        small = self.quant_conv(z)
        d = torch.cdist(small.permute(0, 2, 3, 1).flatten(0, 2), self.embedding.weight)
        codes = self.embedding(d.argmin(1)).view(len(z), *z.shape[2:], -1).permute(0, 3, 1, 2)
        codes = small + (codes - small).detach()
        return self.post_quant_conv(codes), mse_loss(codes, small), {"z_conv": small, "z_quant_before_conv": codes}


class Quantise(nn.Module):
    def __init__(self, name: str, width: int):
        super().__init__()
        self.quantize_dict = nn.ModuleDict({name: QuantiseLevel(width)})

    def forward(self, features: dict[str, Tensor], iters: int = -1) -> tuple[Any, Tensor, Any]:
        [(name, quantise)] = self.quantize_dict.items()
        codes, loss, more = quantise(features[name], iters=iters)
        return {name: codes}, loss, {name: more}


class MainDecoder(MainBranch):
    def __init__(self, width: int, halvings: int):
        super().__init__(width, halvings)
        self.conv_out = conv(width + 3, 3)

    def forward(self, textures: dict[str, Tensor], prior: Tensor, x_lq: Tensor) -> Tensor:
        return self.conv_out(torch.cat([self.main(textures, prior), x_lq], 1))


class VQFRv1(nn.Module):
    def __init__(self, halvings: int = 5, width: int = 8):
        super().__init__()
        names = levels(halvings)
        self.inpfeat_extraction = conv(3, width)
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.conv_in = conv(3, width)
        self.encoder.pre_downsample_dict = nn.ModuleDict({name: conv(width, width, 2) for name in names[:-1]})
        self.encoder.enc_convout_dict = nn.ModuleDict({names[0]: nn.Sequential(nn.SiLU(), conv(width, width))})
        self.quantizer = Quantise(names[0], width)
        self.decoder.decoder_dict = nn.ModuleDict({name: nn.Sequential(block(width)) for name in names})
        self.decoder.conv_out = conv(width, 3)
        self.main_decoder = MainDecoder(width, halvings)

    def forward(
        self, x_lq: Tensor, iters: int = -1, return_keys: Any = "dec", fidelity_ratio: Any = None
    ) -> dict[str, Tensor]:
        h, prior = self.encoder.conv_in(x_lq), self.inpfeat_extraction(x_lq)
        for down in self.encoder.pre_downsample_dict.values():
            h = down(h).tanh()
        [(name, convout)] = self.encoder.enc_convout_dict.items()
        codes, _, _ = self.quantizer({name: convout(h)}, iters=iters)
        h, textures = codes[name], {}
        for level, decode in self.decoder.decoder_dict.items():
            h = textures[level] = decode(h if level == name else double(h))
        return {"dec": self.decoder.conv_out(h), "main_dec": self.main_decoder(textures, prior, x_lq)}


class StyledConv(nn.Module):
    """Its output and the noise beside each other: twice the channels."""

    def __init__(self, inside: int, outside: int, style: int, twice: bool):
        super().__init__()
        self.conv, self.modulation, self.twice = conv(inside, outside), nn.Linear(style, outside), twice

    def forward(self, input: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        x = self.conv(double(input) if self.twice else input)
        return torch.cat([x * self.modulation(style)[:, :, None, None], noise], 1).tanh()


class ToRGB(nn.Module):
    def __init__(self, inside: int, style: int):
        super().__init__()
        self.conv, self.modulation = nn.Conv2d(inside, 3, 1), nn.Linear(style, 3)

    def forward(self, input: Tensor, style: Tensor, skip: Tensor | None = None) -> Tensor:
        x = self.conv(input) * self.modulation(style)[:, :, None, None]
        return x if skip is None else x + double(skip)


class Generator(nn.Module):
    def __init__(self, doublings: int, width: int, style: int):
        super().__init__()
        self.style = nn.Sequential(nn.Linear(style, style), nn.Tanh())
        self.input = nn.Parameter(torch.randn(1, width, 4, 4))
        self.conv1, self.to_rgb1 = StyledConv(width, width, style, twice=False), ToRGB(2 * width, style)
        self.convs = nn.ModuleList(
            StyledConv(2 * width, width, style, twice=twice) for _ in range(doublings) for twice in (True, False)
        )
        self.to_rgbs = nn.ModuleList(ToRGB(2 * width, style) for _ in range(doublings))

    def forward(self, styles: list[Tensor], noise: list[Tensor]) -> tuple[Tensor, Tensor]:
        style = self.style(styles[0])
        x = self.conv1(self.input.expand(len(style), -1, -1, -1), style, noise=noise[0])
        image = self.to_rgb1(x, style)
        for level, to_rgb in enumerate(self.to_rgbs):
            for index in (2 * level, 2 * level + 1):
                x = self.convs[index](x, style, noise=noise[index + 1])
            image = to_rgb(x, style, image)
        return image, style


class GPEN(nn.Module):
    def __init__(self, halvings: int = 7, width: int = 8, style: int = 16):
        super().__init__()
        self.names = [f"ecd{level}" for level in range(halvings + 1)]
        self.ecd0 = nn.Sequential(nn.Sequential(conv(3, width), nn.Tanh()))
        for name in self.names[1:]:
            setattr(self, name, nn.Sequential(nn.Sequential(conv(width, width, 2), nn.Tanh())))
        self.final_linear = nn.Sequential(nn.Linear(16 * width, style))
        self.generator = Generator(halvings, width, style)

    def forward(
        self,
        inputs: Tensor,
        return_latents: bool = False,
        inject_index: int | None = None,
        truncation: float = 1,
        truncation_latent: Tensor | None = None,
        input_is_latent: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        noise: list[Tensor] = []
        for name in self.names:
            inputs = getattr(self, name)(inputs)
            noise = [inputs, inputs, *noise]
        style = self.final_linear(inputs.view(len(inputs), -1))  # (B, C, 4, 4) -> (B, 16 * C)
        image, latent = self.generator([style], noise=noise[1:])
        return image, latent if return_latents else None
