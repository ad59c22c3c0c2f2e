"""Every architecture of spandrel and of its extras, built as small as it can be, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Small:
    """How an architecture is built small.

    Args:
        arguments: of its class.
        shape: of the picture that it is run on, without the batch.
        masked: whether it takes a mask (B, 1, H, W) beside the picture.
        cls: name of the class, where it is not the architecture's.
        note: what is special about it.
    """

    arguments: Mapping[str, Any]
    shape: tuple[int, int, int] = (3, 32, 32)
    masked: bool = False
    cls: str = ""
    note: str = ""


SWIN: dict[str, Any] = {"img_size": 32, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 2), "window_size": 4}

ARCHITECTURES: dict[str, dict[str, Small]] = {
    "spandrel": {
        "ATD": Small(
            {
                "embed_dim": 16,
                "depths": (2, 2),
                "num_heads": (2, 2),
                "window_size": 4,
                "category_size": 16,
                "num_tokens": 8,
                "reducted_dim": 4,
                "upscale": 2,
                "upsampler": "pixelshuffledirect",
            }
        ),
        "AuraSR": Small(
            {
                "dim": 16,
                "image_size": 64,
                "input_image_size": 16,
                "style_network": {"dim_in": 16, "dim_out": 16, "depth": 1},
                "up_dim_mults": (1, 2, 4),
                "down_dim_mults": (2, 4),
                "full_attn": (False, True, True),
                "self_attn_dim_head": 8,
                "self_attn_heads": 2,
                "attn_depths": (1, 1, 1),
                "mid_attn_depth": 1,
            },
            shape=(3, 16, 16),
        ),
        "CRAFT": Small(
            {
                "window_size": 8,
                "embed_dim": 16,
                "depths": [2, 2],
                "num_heads": [2, 2],
                "split_size_0": 4,
                "split_size_1": 8,
                "upscale": 2,
            }
        ),
        "Compact": Small({"num_feat": 16, "num_conv": 4, "upscale": 2}),
        "DAT": Small(
            {
                "img_size": 32,
                "embed_dim": 16,
                "split_size": [4, 4],
                "depth": [2, 2],
                "num_heads": [2, 2],
                "expansion_factor": 2.0,
            }
        ),
        "DCTLSA": Small({"nf": 20, "upscale": 2, "num_head": 5}),
        "DITN": Small({"dim": 16, "ITL_blocks": 2, "SAL_blocks": 2, "UFONE_blocks": 2, "upscale": 2}),
        "DRCT": Small(SWIN | {"upscale": 2, "upsampler": "pixelshuffle", "gc": 8}),
        "DRUNet": Small({"in_nc": 4, "out_nc": 3, "nc": [16, 16, 32, 32], "nb": 1}, shape=(4, 32, 32)),
        "DnCNN": Small({"in_nc": 3, "out_nc": 3, "nc": 16, "nb": 5}),
        "ESRGAN": Small({"num_filters": 16, "num_blocks": 3, "scale": 2}),
        "FBCNN": Small({"nc": [16, 32, 64, 512], "nb": 1}, note="the deepest width is fixed in its code"),
        "FDAT": Small(
            {
                "scale": 2,
                "embed_dim": 16,
                "num_groups": 2,
                "depth_per_group": 2,
                "num_heads": 2,
                "window_size": 4,
                "mid_dim": 16,
            }
        ),
        "FFTformer": Small({"dim": 16, "num_blocks": [1, 1, 2], "num_refinement_blocks": 1}, shape=(3, 64, 64)),
        "GFPGAN": Small(
            {"out_size": 64, "num_style_feat": 32, "channel_multiplier": 1, "narrow": 0.0625, "num_mlp": 2},
            shape=(3, 64, 64),
            note="has a host file",
        ),
        "GRL": Small(
            {
                "img_size": 32,
                "embed_dim": 16,
                "depths": [2, 2],
                "num_heads_window": [2, 2],
                "num_heads_stripe": [2, 2],
                "window_size": 8,
                "stripe_size": [8, 8],
                "upscale": 2,
                "upsampler": "pixelshuffle",
            }
        ),
        "HAT": Small(SWIN | {"squeeze_factor": 4, "upscale": 2, "num_feat": 16}),
        "HVICIDNet": Small({"channels": [8, 8, 16, 32], "heads": [1, 2, 2, 4]}),
        "IPT": Small(
            {"patch_size": 24, "n_feats": 16, "num_heads": 4, "num_layers": 2, "scale": [2]}, shape=(3, 24, 24)
        ),
        "KBNet": Small(
            {"width": 16, "middle_blk_num": 2, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]}, cls="KBNet_s"
        ),
        "LaMa": Small({"in_nc": 4}, masked=True, note="widths are fixed in its code; takes a picture and a mask"),
        "MMRealSR": Small(
            {
                "num_in_ch": 3,
                "num_out_ch": 3,
                "num_feat": 16,
                "num_block": 2,
                "num_grow_ch": 8,
                "num_feats": [16, 16, 16, 16],
                "num_blocks": [1, 1, 1, 1],
            }
        ),
        "MixDehazeNet": Small({"embed_dims": [8, 16, 32, 16, 8]}, shape=(3, 64, 64)),
        "MoESR": Small({"scale": 2, "dim": 16, "n_blocks": 2, "n_block": 2, "upsample_dim": 16}),
        "MoSR": Small({"upscale": 2, "n_block": 3, "dim": 16}),
        "NAFNet": Small({"width": 16, "middle_blk_num": 2, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]}),
        "OmniSR": Small({"num_feat": 16, "block_num": 1, "window_size": 8, "res_num": 2, "up_scale": 2}),
        "PLKSR": Small({"dim": 16, "n_blocks": 3, "upscaling_factor": 2, "kernel_size": 5}),
        "RCAN": Small({"scale": 2, "n_resgroups": 2, "n_resblocks": 2, "n_feats": 16, "reduction": 4}),
        "RGT": Small({"img_size": 32, "embed_dim": 16, "depth": [2, 2], "num_heads": [2, 2], "mlp_ratio": 2.0}),
        "RealCUGAN": Small({}, shape=(3, 48, 48), cls="UpCunet2x", note="widths are fixed in its code"),
        "RestoreFormer": Small(
            {
                "n_embed": 64,
                "embed_dim": 32,
                "ch": 32,
                "ch_mult": (1, 2),
                "num_res_blocks": 1,
                "attn_resolutions": (32,),
                "resolution": 64,
                "z_channels": 32,
            },
            shape=(3, 64, 64),
            note="has a host file",
        ),
        "RetinexFormer": Small({"n_feat": 16, "stage": 1, "num_blocks": [1, 1, 1]}),
        "SAFMN": Small({"dim": 16, "n_blocks": 3, "upscaling_factor": 2}),
        "SAFMNBCIE": Small({"dim": 16, "n_blocks": 2, "num_layers": 2}),
        "SCUNet": Small({"config": [2, 2, 2, 2, 2, 2, 2], "dim": 64, "input_resolution": 64}, shape=(3, 64, 64)),
        "SPAN": Small({"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 16, "upscale": 2}),
        "SeemoRe": Small(
            {"scale": 2, "num_experts": 2, "num_layers": 2, "embedding_dim": 32},
            note="takes no batches in eval mode: the experts are chosen for one picture",
        ),
        "SwiftSRGAN": Small({"num_channels": 16, "num_blocks": 3, "upscale_factor": 2}),
        "Swin2SR": Small(SWIN | {"upscale": 2, "upsampler": "pixelshuffle"}),
        "SwinIR": Small(SWIN | {"upscale": 2, "upsampler": "pixelshuffle"}),
        "Uformer": Small(
            {
                "img_size": 128,
                "embed_dim": 8,
                "depths": [1, 1, 1, 1, 1, 1, 1, 1, 1],
                "num_heads": [1, 1, 2, 2, 2, 2, 2, 1, 1],
            },
            shape=(3, 128, 128),
        ),
    },
    "spandrel_extra_arches": {
        "AdaCode": Small(
            {"codebook_params": [[32, 16, 16], [32, 16, 16]], "gt_resolution": 64},
            shape=(3, 64, 64),
            note="widths are fixed in its code",
        ),
        "CodeFormer": Small(
            {"dim_embd": 64, "n_head": 4, "n_layers": 2, "codebook_size": 32, "connect_list": ["32"]},
            shape=(3, 512, 512),
            note="widths are fixed in its code, and pictures have 512 px; has a host file",
        ),
        "DDColor": Small(
            {"encoder_name": "convnext-t", "num_queries": 8, "dec_layers": 3},
            shape=(3, 64, 64),
            note="the smallest encoder that it has",
        ),
        "FeMaSR": Small(
            {"codebook_params": [[32, 64, 32]], "gt_resolution": 64},
            shape=(3, 64, 64),
            note="widths are fixed in its code",
        ),
        "M3SNet": Small({"width": 16, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]}),
        "MAT": Small(
            {},
            shape=(3, 512, 512),
            masked=True,
            note="cannot be built small; takes a picture and a mask, and no batches, as its latent has one row",
        ),
        "MIRNet2": Small({"n_feat": 16, "n_MRB": 1}),
        "MPRNet": Small({"n_feat": 16, "scale_unetfeats": 8, "scale_orsnetfeats": 8, "num_cab": 2}),
        "Restormer": Small({"dim": 16, "num_blocks": [1, 1, 1, 2], "num_refinement_blocks": 1, "heads": [1, 1, 2, 2]}),
        "SRFormer": Small(SWIN | {"upscale": 2, "upsampler": "pixelshuffle"}),
    },
}
"""By package and name."""


def build(package: str, name: str, seed: int = 0) -> nn.Module:
    """A small one with random weights, in eval mode."""
    small = ARCHITECTURES[package][name]
    module = import_module(f"{package}.architectures.{name}")
    torch.manual_seed(seed)
    return getattr(module, small.cls or name)(**small.arguments).eval()


def example(package: str, name: str) -> tuple[Tensor, ...]:
    """Positional arguments for one picture of noise, and the mask where it takes one."""
    small = ARCHITECTURES[package][name]
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(1, *small.shape, generator=generator)
    mask = (torch.rand(1, 1, *small.shape[1:], generator=generator) > 0.5).float()
    return (picture, mask) if small.masked else (picture,)
