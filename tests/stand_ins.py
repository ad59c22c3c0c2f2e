"""Small modules with the paths, layouts, arguments and returns of restorers that no package holds.

Written by the tables in data/hosts/*.json, with which test_hosts.py compares them; their insides are our own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


def conv(inside: int, outside: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, stride, 1)


class Halves(nn.Sequential):
    """A picture -> a map of half the side, `steps` times."""

    def __init__(self, width: int, steps: int):
        super().__init__(conv(3, width), *(nn.Sequential(nn.SiLU(), conv(width, width, 2)) for _ in range(steps)))


def double(x: Tensor) -> Tensor:
    return interpolate(x, scale_factor=2)


class Pair(nn.Module):
    """A block of two inputs, as RestoreFormer's cross-attention: x + a function of both."""

    def __init__(self, width: int):
        super().__init__()
        self.in_channels = width
        self.q, self.v = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.q(y).tanh() * self.v(x)


class Nearest(nn.Module):
    """A codebook: nearest code, straight-through."""

    def __init__(self, codes: int, width: int):
        super().__init__()
        self.embedding = nn.Embedding(codes, width)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
        flat = z.permute(0, 2, 3, 1).flatten(0, 2)  # (B, D, h, w) -> (B * h * w, D)
        d = torch.cdist(flat, self.embedding.weight)
        index = d.argmin(1)
        codes = self.embedding(index).view(z.shape[0], *z.shape[2:], -1).permute(0, 3, 1, 2)
        hot = nn.functional.one_hot(index, d.shape[1]).float()
        return z + (codes - z).detach(), (codes - z).square().mean(), (hot.mean(), hot, index[:, None], d)


class RestoreFormerPlusPlus(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.resolution = 32
        self.encoder.conv_in, self.encoder.down = conv(3, width), conv(width, width, 2)
        self.encoder.mid = nn.Module()
        self.encoder.mid.attn_1 = Pair(width)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.quantize = Nearest(16, width)
        self.decoder.mid = nn.Module()
        self.decoder.mid.attn_1 = Pair(width)
        self.decoder.up = nn.ModuleList(nn.Module() for _ in range(3))
        for level, count in enumerate((0, 3, 3)):
            self.decoder.up[level].attn = nn.ModuleList(Pair(width) for _ in range(count))
        self.decoder.conv_out = conv(width, 3)

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor, Any, dict[str, Tensor]]:
        first = self.encoder.conv_in(input)
        deep = self.encoder.down(first)
        deep = self.encoder.mid.attn_1(deep, deep)
        z, diff, info = self.quantize(self.quant_conv(deep))
        x = self.decoder.mid.attn_1(self.post_quant_conv(z), deep)
        for attn in self.decoder.up[2].attn:
            x = attn(x, deep)
        x = double(x)
        for attn in self.decoder.up[1].attn:
            x = attn(x, first)
        return self.decoder.conv_out(x), diff, info, {"block_4": first, "mid_atten": deep}


class VQFRv2(nn.Module):
    def __init__(self, width: int = 8, codes: int = 16):
        super().__init__()
        self.encoder, self.decoder, self.quantizer = nn.Module(), nn.Module(), nn.Module()
        self.encoder.blocks, self.encoder.conv_out = Halves(width, 1), conv(width, width)
        self.feat2index = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, codes))
        self.quantizer.embedding = nn.Embedding(codes, width)
        self.decoder.conv_in, self.decoder.conv_out = conv(width, width), conv(width, 3)
        self.decoder.blocks = nn.ModuleList(conv(width, width) for _ in range(2))
        self.inpfeat_extraction = conv(3, width)
        self.main_branch = MainBranch(width)

    def forward(self, x_lq: Tensor, fidelity_ratio: Any = 1.0) -> dict[str, Tensor]:
        features = self.encoder.conv_out(self.encoder.blocks(x_lq))
        logits = self.feat2index(features.flatten(2).transpose(1, 2))  # (B, C, h, w) -> (B, L, K)
        codes = self.quantizer.embedding(logits.argmax(-1).flatten())
        codes = codes.view(*logits.shape[:2], -1).transpose(1, 2).view_as(features)
        with torch.no_grad():
            deep = self.decoder.blocks[0](self.decoder.conv_in(codes))
            levels = {"Level_2": deep, "Level_1": self.decoder.blocks[1](double(deep))}
            texture = self.decoder.conv_out(levels["Level_1"])
        main = self.main_branch(levels, self.inpfeat_extraction(x_lq), fidelity_ratio=fidelity_ratio)
        return {
            "enc_feat": features, "quant_logit": logits, "texture_dec": texture, "main_dec": self.decoder.conv_out(main)
        }  # fmt: skip


class MainBranch(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.decoder_dict = nn.ModuleDict({name: conv(width, width) for name in ("Level_2", "Level_1")})

    def forward(self, levels: dict[str, Tensor], inpfeat: Tensor, fidelity_ratio: Any) -> Tensor:
        half = interpolate(inpfeat, scale_factor=0.5)
        deep = self.decoder_dict["Level_2"](levels["Level_2"] + half)
        return levels["Level_1"] + fidelity_ratio * self.decoder_dict["Level_1"](double(deep) + inpfeat)


class VQFRv1(nn.Module):
    def __init__(self, width: int = 8):
        super().__init__()
        self.encoder, self.decoder, self.main_decoder = nn.Module(), nn.Module(), nn.Module()
        self.encoder.body = Halves(width, 1)
        self.encoder.enc_convout_dict = nn.ModuleDict({"Level_2": conv(width, width)})
        self.quantizer = nn.Module()
        self.quantizer.quantize_dict = nn.ModuleDict({"Level_2": Quantise(width)})
        self.decoder.decoder_dict = nn.ModuleDict({f"Level_{n}": conv(width, width) for n in (2, 1)})
        self.main_decoder.decoder_dict = nn.ModuleDict({"Level_1": conv(width, width)})
        self.conv_out = conv(width, 3)

    def forward(
        self, x_lq: Tensor, iters: int = -1, return_keys: Any = "dec", fidelity_ratio: Any = None
    ) -> dict[str, Tensor]:
        features = self.encoder.enc_convout_dict["Level_2"](self.encoder.body(x_lq))
        codes, _, _ = self.quantizer.quantize_dict["Level_2"](features, iters=iters)
        deep = double(self.decoder.decoder_dict["Level_2"](codes))
        texture = self.decoder.decoder_dict["Level_1"](deep)
        main = self.main_decoder.decoder_dict["Level_1"](texture + double(features))
        return {"dec": self.conv_out(texture), "main_dec": self.conv_out(main)}


class Quantise(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.quant_conv, self.post_quant_conv = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.book = Nearest(16, width)

    def forward(self, z: Tensor, iters: int = -1) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        before = self.quant_conv(z)
        codes, loss, _ = self.book(before)
        return self.post_quant_conv(codes), loss, {"z_conv": z, "z_quant_before_conv": before}


class TransformerLayer(nn.Module):
    """Sequence-first self-attention, called as CodeFormer's."""

    def __init__(self, dim: int):
        super().__init__()
        self.self_attn, self.linear1 = nn.MultiheadAttention(dim, 2), nn.Linear(dim, dim)

    def forward(self, tgt: Tensor, query_pos: Tensor | None = None) -> Tensor:
        q = tgt + query_pos
        return tgt + self.linear1(self.self_attn(q, q, tgt)[0])


class CodePredictor(nn.Module):
    """What CodeFormer and DAEFR share: features (B, D, h, w) -> code logits (B, L, K) through `ft_layers`."""

    def __init__(self, width: int, dim: int, codes: int, grid: int):
        super().__init__()
        self.position_emb = nn.Parameter(torch.randn(grid * grid, dim))
        self.feat_emb = nn.Linear(width, dim)
        self.ft_layers = nn.Sequential(TransformerLayer(dim), TransformerLayer(dim))
        self.idx_pred_layer = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, codes, bias=False))

    def predict(self, features: Tensor) -> Tensor:
        position = self.position_emb[:, None].expand(-1, len(features), -1)
        x = self.feat_emb(features.flatten(2).permute(2, 0, 1))  # (B, D, h, w) -> (L, B, C)
        for layer in self.ft_layers:
            x = layer(x, query_pos=position)
        return self.idx_pred_layer(x).permute(1, 0, 2)  # (L, B, K) -> (B, L, K)


class CodeFormer(CodePredictor):
    """The official class: its arguments and its three returns."""

    def __init__(self, width: int = 8, codes: int = 16):
        super().__init__(width, dim=16, codes=codes, grid=8)
        self.encoder, self.generator = nn.Module(), nn.Module()
        self.encoder.resolution, self.encoder.blocks = 16, nn.ModuleList([*Halves(width, 1), conv(width, width)])
        self.quantize = Nearest(codes, width)
        self.generator.blocks = nn.ModuleList([conv(width, width), conv(width, width), conv(width, 3)])

    def forward(
        self, x: Tensor, w: float = 0, detach_16: bool = True, code_only: bool = False, adain: bool = False
    ) -> tuple[Tensor, ...]:
        for block in self.encoder.blocks:
            x = block(x)
        logits = self.predict(x)
        if code_only:
            return logits, x
        codes = self.quantize.embedding(logits.argmax(-1)).transpose(1, 2).reshape(x.shape).detach()
        if adain:
            codes = codes - codes.mean((2, 3), keepdim=True) + x.mean((2, 3), keepdim=True)
        image = double(self.generator.blocks[0](codes))
        if w > 0:
            image = image + w * double(x.detach())
        for block in self.generator.blocks[1:]:
            image = block(image)
        return image, logits, x


class DAEFR(CodePredictor):
    def __init__(self, width: int = 8, codes: int = 16):
        super().__init__(width, dim=16, codes=codes, grid=8)
        self.vqvae = nn.Module()
        self.vqvae.encoder, self.vqvae.HQ_encoder = Halves(width, 1), Halves(width, 1)
        self.vqvae.encoder.resolution = 16
        self.vqvae.quant_conv, self.vqvae.HQ_quant_conv = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.vqvae.Fixed_quantize = Nearest(codes, width)
        self.cross_attention = Pair(width)
        self.vqvae.post_quant_conv, self.vqvae.decoder = nn.Conv2d(width, width, 1), conv(width, 3)

    def forward(self, input: Tensor, gt: Tensor | None = None) -> tuple[Any, ...]:
        lq = self.vqvae.quant_conv(self.vqvae.encoder(input))
        hq = self.vqvae.HQ_quant_conv(self.vqvae.HQ_encoder(input))
        features = self.cross_attention(hq, lq)
        logits = self.predict(features)
        codes = self.vqvae.Fixed_quantize.embedding(logits.argmax(-1)).transpose(1, 2).reshape(features.shape)
        z = features + (codes - features).detach()
        image = self.vqvae.decoder(double(self.vqvae.post_quant_conv(z)))
        bce = logits.logsumexp(-1).mean() - logits.max(-1).values.mean()
        book = self.vqvae.Fixed_quantize.embedding.weight
        return image, bce, (codes - features).square().mean(), None, hq, lq, z, book


class GPEN(nn.Module):
    def __init__(self, width: int = 8, style: int = 16):
        super().__init__()
        self.ecd0, self.ecd1 = nn.Sequential(conv(3, width)), nn.Sequential(conv(width, width, 2))
        self.ecd2 = nn.Sequential(conv(width, width, 2))
        self.final_linear = nn.Sequential(nn.Linear(width * 16, style))
        self.generator = Generator(width, style)

    def forward(
        self,
        inputs: Tensor,
        return_latents: bool = False,
        inject_index: int | None = None,
        truncation: float = 1,
        truncation_latent: Tensor | None = None,
        input_is_latent: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        first = self.ecd0(inputs)
        second = self.ecd1(first)
        third = self.ecd2(second)
        style = self.final_linear(third.flatten(1))
        return self.generator([style], noise=[third, second, first]), style if return_latents else None


class Generator(nn.Module):
    def __init__(self, width: int, style: int):
        super().__init__()
        self.style = nn.Linear(style, style)
        self.conv1, self.convs = nn.Linear(style, width), nn.ModuleList(conv(width, width) for _ in range(3))
        self.to_rgb = conv(width, 3)

    def forward(self, styles: list[Tensor], noise: list[Tensor]) -> Tensor:
        x = self.conv1(self.style(styles[0]))[:, :, None, None].tanh()
        for layer, one in zip(self.convs, noise, strict=True):
            x = layer(interpolate(x, size=one.shape[2:]) + one)
        return self.to_rgb(x)
