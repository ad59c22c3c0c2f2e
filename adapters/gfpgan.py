"""GFPGAN: a StyleGAN2 decoder steered by the features of a U-Net.

Source: https://github.com/TencentARC/GFPGAN at 7552a77 (`gfpgan/archs/gfpganv1_clean_arch.py`, `gfpganv1_arch.py`,
`gfpgan_bilinear_arch.py`); spandrel holds a copy of the clean one with equal keys and shapes.
Licence: Apache-2.0, with parts under NVIDIA's and CC BY-NC-SA terms as its LICENSE lists. Weights: `GFPGANv1.3.pth`
and `GFPGANv1.4.pth` of its release v1.3.0; `GFPGANv1.pth` of v0.1.0 is the original, which runs on CUDA only.

Noise is random in every forward; `randomize_noise=False` makes two calls equal.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from iqp_adapter.host import HostSpec, symmetric, to_unit
from iqp_adapter.sites import Site

DEEPEST = 3
"""Levels of the U-Net's way up that attend; they shape all later conditions of the decoder."""


def sites(host: nn.Module) -> list[Site]:
    """The style codes, and the deepest maps of the way up."""
    maps = [Site(f"conv_body_up.{i}", width(host.conv_body_up[i]), "BCHW") for i in range(min(DEEPEST, levels(host)))]
    return [Site("final_linear", host.num_style_feat, "BN"), *maps]


def levels(host: nn.Module) -> int:
    return len(host.conv_body_up)


def width(block: nn.Module) -> int:
    """Channels that come out of a residual block; the original's convolutions are the first of two layers."""
    convolution = block.conv2 if hasattr(block.conv2, "weight") else block.conv2[1]
    return int(convolution.weight.shape[0])


def resolution(host: nn.Module) -> int:
    return int(8 * 2 ** (levels(host) - 1))


def restore(model: Any, lq: Tensor, randomize_noise: bool = False) -> Tensor:
    return to_unit(symmetric(model, lq, return_rgb=False, randomize_noise=randomize_noise)[0])


def swallowed(host: nn.Module) -> dict[str, str]:
    return {"weight": "it has no fidelity weight", "return_latents": "it returns none"}


HOST = HostSpec(
    name="gfpgan",
    source="https://github.com/TencentARC/GFPGAN",
    licence="Apache-2.0, parts NVIDIA (research) and CC BY-NC-SA 4.0",
    has=("final_linear.weight", "condition_scale.0.0.weight", "stylegan_decoder.constant_input.weight"),
    sites=sites,
    resolution=resolution,
    restore=restore,
    swallowed=swallowed,
)
