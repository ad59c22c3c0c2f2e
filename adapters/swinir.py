"""SwinIR as the first stage of DiffBIR, DifFace and PMRF: the mean of what a degraded face may have been.

Source: https://github.com/XPixelGroup/DiffBIR at 3f8b530 (`diffbir/model/swinir.py`); DifFace has equal keys and
shapes. spandrel has its parts, and unshuffles pixels outside of `conv_first` instead of in it.
Licence: Apache-2.0; DifFace's weights are under the S-Lab License 1.0, non-commercial.

Each of its groups of Transformer layers is a site. The image has a gradient to all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from iqp_adapter.core.sites import Site
from iqp_adapter.hosts.spec import Host, HostSpec
from iqp_adapter.store.fetch import WeightFile

STORE = "https://huggingface.co/lxq007/DiffBIR/resolve/main"
MIRROR = "lxq007/DiffBIR"
LICENCE = "Apache-2.0"


def sites(host: Host) -> list[Site]:
    return [Site(f"layers.{index}", int(host.embed_dim), "BLC") for index in range(len(host.layers))]


def resolution(host: Host) -> int:
    """The side of its grid, each place of which stands for a square of pixels."""
    return int(host.patches_resolution[0] * unshuffled(host.conv_first.state_dict()))


def unshuffled(state: Mapping[str, Tensor]) -> int:
    """Side in pixels of the squares that the first convolution reads as channels."""
    [weight] = (value for key, value in state.items() if key.endswith("weight"))
    return math.isqrt(weight.shape[1] // 3)


def restore(host: Host, lq: Tensor) -> Tensor:
    return host(lq)


def build(state: Mapping[str, Tensor]) -> nn.Module:
    """spandrel's class, with the first convolution as the official one has it."""
    try:
        from spandrel.architectures.SwinIR import SwinIRArch
    except ImportError:
        raise ImportError("SwinIR's class is in the extra 'spandrel'; pip install iqp_adapter[spandrel]") from None
    host = SwinIRArch().load(dict(state)).model
    if "conv_first.1.weight" in state:
        host.conv_first = nn.Sequential(nn.PixelUnshuffle(host.start_unshuffle), host.conv_first)
        host.start_unshuffle = 1
    return host


HOST = HostSpec(
    name="swinir",
    source="https://github.com/XPixelGroup/DiffBIR",
    licence=LICENCE,
    has=("layers.0.residual_group.blocks.0.attn.qkv.weight", "conv_before_upsample.0.weight", "conv_up3.weight"),
    parts=(
        "conv_first.",
        "patch_embed.",
        "layers.",
        "norm.",
        "conv_after_body.",
        "conv_before_upsample.",
        "conv_up",
        "conv_hr.",
        "conv_last.",
    ),  # fmt: skip
    sites=sites,
    resolution=resolution,
    restore=restore,
    any_layout=True,
    build=build,
    classes={"spandrel": "pip install iqp_adapter[spandrel]"},
    weights={
        "swinir-face": WeightFile(f"{STORE}/face_swinir_v1.ckpt", LICENCE, mirror=f"{MIRROR}/face_swinir_v1.ckpt"),
        "swinir-general": WeightFile(
            f"{STORE}/general_swinir_v1.ckpt", LICENCE, mirror=f"{MIRROR}/general_swinir_v1.ckpt"
        ),
        "swinir-difface": WeightFile(
            "https://github.com/zsyOAOA/DifFace/releases/download/V1.0/swinir_restoration512_L1.pth",
            "S-Lab License 1.0 (non-commercial)",
        ),
    },
)
