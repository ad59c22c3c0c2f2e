"""Small hosts that run in milliseconds: instances of the real classes where a package holds them, else stand-ins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import stand_ins
import torch
from torch import Tensor, nn

from iqp_adapter.compat import make_importable

if TYPE_CHECKING:
    from iqp_adapter.native import IQPIR


@dataclass(frozen=True)
class TinyHost:
    """How to get one and how to call it.

    Args:
        kind: name of its host file.
        make: builds it; what it draws is seeded.
        side: of its pictures, in pixels.
        arguments: named ones that make calls repeatable and let every site run.
        needs: packages that hold its class.
        low: the least value of its pictures, of which the greatest is 1.
    """

    kind: str
    make: Callable[[], nn.Module]
    side: int
    arguments: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    low: float = -1.0

    def build(self) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            host = self.make()
            shake(host)
        return host.eval()


def shake(host: nn.Module) -> None:
    """Parameters that start at zero and would hide what depends on them."""
    for name, parameter in host.named_parameters():
        if name.endswith(("noise_strength", ".weight")) and not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.1)


def tensors(output: Any) -> list[Tensor]:
    """Every floating tensor of a nested output."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def codeformer() -> nn.Module:
    """spandrel's class, put together with a 16 x 16 grid of a 32 px picture, a size that its constructor has not."""
    from spandrel_extra_arches.architectures.CodeFormer.__arch import codeformer

    return assembled(codeformer)


def assembled(source: Any) -> nn.Module:
    """A small instance of the CodeFormer of a module that holds its class and the classes of its parts."""
    host = source.CodeFormer.__new__(source.CodeFormer)
    source.VQAutoEncoder.__init__(host, 32, 32, [1, 2], "nearest", 2, [16], 16)
    host.connect_list, host.channels = ["32"], {"32": 32}
    host.fuse_encoder_block, host.fuse_generator_block = {"32": 2}, {"32": 9}
    host.position_emb, host.feat_emb = nn.Parameter(torch.randn(256, 64)), nn.Linear(256, 64)
    host.ft_layers = nn.Sequential(*(source.TransformerSALayer(64, 4, 64, dropout=0.0) for _ in range(2)))
    host.idx_pred_layer = nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 16, bias=False))
    host.fuse_convs_dict = nn.ModuleDict({"32": source.Fuse_sft_block(32, 32)})
    return host


RESTOREFORMER = {
    "ch": 32, "ch_mult": (1, 1, 2), "resolution": 64, "attn_resolutions": (16,), "z_channels": 16, "embed_dim": 16,
    "n_embed": 8, "head_size": 8, "num_res_blocks": 1,
}  # fmt: skip
GFPGAN = {
    "out_size": 32, "narrow": 0.125, "num_style_feat": 16, "num_mlp": 2, "fix_decoder": False, "input_is_latent": True,
    "different_w": True, "sft_half": True,
}  # fmt: skip


def restoreformer_of_gfpgan() -> nn.Module:
    make_importable()
    from gfpgan.archs.restoreformer_arch import RestoreFormer

    return RestoreFormer(**RESTOREFORMER)


def restoreformer_of_spandrel() -> nn.Module:
    from spandrel.architectures.RestoreFormer import RestoreFormer

    return RestoreFormer(**RESTOREFORMER)


def gfpgan_clean() -> nn.Module:
    make_importable()
    from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean

    return GFPGANv1Clean(**GFPGAN)


def gfpgan_of_spandrel() -> nn.Module:
    import spandrel.architectures.GFPGAN

    return spandrel.architectures.GFPGAN.GFPGAN(**GFPGAN)


def gfpgan_original() -> nn.Module:
    plain_operations()
    from gfpgan.archs.gfpganv1_arch import GFPGANv1

    return GFPGANv1(**GFPGAN, channel_multiplier=1)


def gfpgan_bilinear() -> nn.Module:
    plain_operations()
    from gfpgan.archs.gfpgan_bilinear_arch import GFPGANBilinear

    return GFPGANBilinear(**GFPGAN, channel_multiplier=1)


def plain_operations() -> None:
    """basicsr's fused CUDA operation in plain torch, so that the original GFPGAN runs on a CPU."""
    make_importable()
    from basicsr.archs import stylegan2_arch
    from basicsr.ops.fused_act import FusedLeakyReLU
    from gfpgan.archs import stylegan2_bilinear_arch

    def fused_leaky_relu(x: Tensor, bias: Tensor, negative_slope: float = 0.2, scale: float = 2**0.5) -> Tensor:
        return nn.functional.leaky_relu(x + bias.view(1, -1, *(1 for _ in x.shape[2:])), negative_slope) * scale

    FusedLeakyReLU.forward = lambda self, x: fused_leaky_relu(x, self.bias, self.negative_slope, self.scale)
    stylegan2_arch.fused_leaky_relu = stylegan2_bilinear_arch.fused_leaky_relu = fused_leaky_relu


def native(**changes: Any) -> nn.Module:
    from iqp_adapter.native import IQPFR, preset

    sizes = {"resolution": 64, "patch": 4, "widths": (16, 24, 32), "common_codes": 16, "plus_codes": 8, "code_dim": 8}
    sizes |= {"dim": 32, "layers": 2, "heads": 4, "token_dim": 16}
    return IQPFR(preset("tiny-256", **sizes, condition=False, **changes))


def iqpir(**sizes: Any) -> IQPIR:
    """A small instance of the authors' model; without other sizes it takes no score, and so has no dial of its own."""
    from iqp_adapter.native import IQPIR, IQPIRConfig

    small = {"resolution": 32, "widths": (32, 32, 32), "blocks": 1, "code_dim": 16, "codes": 16, "dim": 32, "mlp": 32}
    small |= {"layers": 2, "heads": 8, "fused": (16,), "score": "none", "rows": ()}
    return IQPIR(IQPIRConfig(**small | sizes))


def swinir(official: bool) -> nn.Module:
    """spandrel's class; as the official one has it, the first convolution unshuffles the pixels itself."""
    from spandrel.architectures.SwinIR import SwinIR

    sizes = {"img_size": 8, "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4, "mlp_ratio": 2}
    host = SwinIR(**sizes, drop_path_rate=0, upscale=8, upsampler="nearest+conv", start_unshuffle=8)
    if official:
        host.conv_first, host.start_unshuffle = nn.Sequential(nn.PixelUnshuffle(8), host.conv_first), 1
    return host


FIXED = {"randomize_noise": False}
TINY_HOSTS = {
    "codeformer-spandrel": TinyHost("codeformer", codeformer, 32, {"weight": 0.5}, ("spandrel_extra_arches",)),
    "codeformer-official": TinyHost("codeformer", partial(stand_ins.CodeFormer, 1, 2), 32, {"w": 0.5, "adain": True}),
    "restoreformer-gfpgan": TinyHost("restoreformer", restoreformer_of_gfpgan, 64, needs=("gfpgan",)),
    "restoreformer-spandrel": TinyHost("restoreformer", restoreformer_of_spandrel, 64, needs=("spandrel",)),
    "restoreformer-official": TinyHost("restoreformer", partial(stand_ins.RestoreFormer, 1), 32),
    "restoreformer++": TinyHost("restoreformer", partial(stand_ins.RestoreFormerPlusPlus, 2), 64),
    "gfpgan-clean": TinyHost("gfpgan", gfpgan_clean, 32, FIXED, ("gfpgan",)),
    "gfpgan-spandrel": TinyHost("gfpgan", gfpgan_of_spandrel, 32, FIXED, ("spandrel",)),
    "gfpgan-original": TinyHost("gfpgan", gfpgan_original, 32, FIXED, ("gfpgan",)),
    "gfpgan-bilinear": TinyHost("gfpgan", gfpgan_bilinear, 32, FIXED, ("gfpgan",)),
    "vqfr": TinyHost("vqfr", partial(stand_ins.VQFRv2, 2), 64),
    "vqfr_v1": TinyHost("vqfr_v1", partial(stand_ins.VQFRv1, 1), 32),
    "daefr": TinyHost("daefr", partial(stand_ins.DAEFR, 1, 2), 32),
    "gpen": TinyHost("gpen", partial(stand_ins.GPEN, 2), 16),
    "swinir-official": TinyHost("swinir", partial(swinir, official=True), 64, needs=("spandrel",)),
    "swinir-spandrel": TinyHost("swinir", partial(swinir, official=False), 64, needs=("spandrel",)),
    "iqpir": TinyHost("iqpir", iqpir, 32, {"adain": True}),
    "native": TinyHost("iqpfr", native, 64, low=0.0),
    "native-finish": TinyHost("iqpfr", partial(native, finish_width=8, finish_blocks=1), 64, low=0.0),
}
