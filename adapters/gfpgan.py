"""GFPGAN: a StyleGAN2 decoder steered by the features of a U-Net.

Source: https://github.com/TencentARC/GFPGAN at 7552a77 (`gfpgan/archs/gfpganv1_clean_arch.py`, `gfpganv1_arch.py`,
`gfpgan_bilinear_arch.py`); spandrel holds a copy of the clean one with equal keys and shapes.
Licence: Apache-2.0, with parts under NVIDIA's and CC BY-NC-SA terms as its LICENSE lists. Weights: `GFPGANv1.3.pth`
and `GFPGANv1.4.pth` of its release v1.3.0; `GFPGANv1.pth` of v0.1.0 is the original, which runs on CUDA only.

The sites are the style codes and the deepest maps of the U-Net's way up, which shape all later conditions of the
decoder. Noise is random in every forward; `randomize_noise=False` makes two calls equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from iqp_adapter.core.sites import Site
from iqp_adapter.hosts.spec import Host, HostSpec, symmetric, takes_any_name, to_unit
from iqp_adapter.store.fetch import WeightFile

RELEASE = "https://github.com/TencentARC/GFPGAN/releases/download/v1.3.0"
MIRROR = "datasets/Gourieff/ReActor/models/facerestore_models"
LICENCE = "Apache-2.0, parts NVIDIA (research only) and CC BY-NC-SA 4.0"
PACKAGE = "pip install gfpgan, on Python 3.12 or older"
DEEPEST = 3
"""Levels of the U-Net's way up that attend."""


def sites(host: Host) -> list[Site]:
    maps = [Site(f"conv_body_up.{i}", width(host.conv_body_up[i]), "BCHW") for i in range(min(DEEPEST, levels(host)))]
    return [Site("final_linear", host.num_style_feat, "BN"), *maps]


def levels(host: Host) -> int:
    return len(host.conv_body_up)


def width(block: nn.Module) -> int:
    """Channels that come out of a residual block, whose convolution the original and bilinear nets wrap."""
    [*_, weight] = (value for key, value in block.get_submodule("conv2").state_dict().items() if key.endswith("weight"))
    return int(weight.shape[0])


def resolution(host: Host) -> int:
    return int(2 ** (levels(host) + 2))


def restore(host: Host, lq: Tensor, randomize_noise: bool = False) -> Tensor:
    return to_unit(symmetric(host, lq, return_rgb=False, randomize_noise=randomize_noise)[0])


@contextmanager
def traceable(host: Host) -> Iterator[None]:
    """Within it styles multiply what enters a convolution and not its weights, so that one does for a whole batch, and
    the deepest map lies as the host reads it, in a row.

    The numbers are the same but for their rounding.
    """
    in_a_row = host.final_conv.register_forward_hook(contiguous)
    convolutions = [module for module in host.modules() if is_modulated(module)]
    for convolution in convolutions:
        convolution.forward = partial(modulated, convolution)
    try:
        yield
    finally:
        in_a_row.remove()
        for convolution in convolutions:
            del convolution.forward


def contiguous(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.contiguous()


def is_modulated(module: nn.Module) -> bool:
    """Of the clean class alone: the original one has scaled linear layers, and blurs where it resizes."""
    return hasattr(module, "sample_mode") and isinstance(getattr(module, "modulation", None), nn.Linear)


def modulated(convolution: Any, x: Tensor, style: Tensor) -> Tensor:
    """x (B, C, H, W) and style codes (B, D) -> (B, C', H', W'), as StyleGAN2's modulated convolution."""
    [weight] = convolution.weight  # (1, C', C, k, k) -> (C', C, k, k)
    styles = convolution.modulation(style)  # (B, C)
    factor = {"upsample": 2.0, "downsample": 0.5}.get(convolution.sample_mode)
    x = x if factor is None else interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    result = conv2d(x * styles[..., None, None], weight, padding=convolution.padding)
    if not convolution.demodulate:
        return result
    power = styles.square() @ weight.square().sum((2, 3)).T  # (B, C) and (C', C) -> (B, C')
    return result * (power + convolution.eps).rsqrt()[..., None, None]


def swallowed(host: Host) -> dict[str, str]:
    names = {"return_latents": "it returns none"}
    return names | {"weight": "it has no fidelity weight"} if takes_any_name(host) else names


def build(state: Mapping[str, Tensor]) -> nn.Module:
    """gfpgan's clean class, or its original one, with the arguments of the released weights; sizes from the shapes.

    The bilinear class has the original's keys and shapes, and no released weights.
    """
    try:
        from basicsr.ops.fused_act import fused_act
        from gfpgan.archs.gfpganv1_arch import GFPGANv1
        from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean
    except ImportError:
        raise ImportError(f"GFPGAN's class is in the package gfpgan; {PACKAGE}") from None
    if "conv_body_first.weight" in state:
        return GFPGANv1Clean(**sizes(state))
    if not hasattr(fused_act, "fused_act_ext"):
        raise ValueError(
            "this is the original GFPGAN, which needs basicsr's operations for CUDA (BASICSR_JIT=True compiles them); "
            "take GFPGANv1.4.pth where they are not to be had"
        )
    return GFPGANv1(**sizes(state))


def sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The U-Net has half the decoder's width: 256 * `narrow` channels at its end, 8192 / side times the multiplier
    times `narrow` at its start, where no side below 64 px depends on the multiplier."""
    side = 2 ** (len({key.split(".")[1] for key in state if key.startswith("conv_body_up.")}) + 2)
    first, last = channels(state, "conv_body_first"), channels(state, "final_conv")
    return {
        "out_size": side,
        "num_style_feat": state["stylegan_decoder.style_mlp.1.weight"].shape[0],
        "channel_multiplier": round(first * side / 8192 / last * 256) if side > 32 else 1,
        "narrow": last / 256,
        "num_mlp": sum(key.startswith("stylegan_decoder.style_mlp.") and key.endswith("weight") for key in state),
        "fix_decoder": False,
        "input_is_latent": True,
        "different_w": True,
        "sft_half": True,
    }


def channels(state: Mapping[str, Tensor], layer: str) -> int:
    """Channels that come out of a convolution, which the original wraps."""
    return state[f"{layer}.weight" if f"{layer}.weight" in state else f"{layer}.0.weight"].shape[0]


HOST = HostSpec(
    name="gfpgan",
    source="https://github.com/TencentARC/GFPGAN",
    licence=LICENCE,
    parts=(
        "conv_body_first.",
        "conv_body_down.",
        "final_conv.",
        "conv_body_up.",
        "toRGB.",
        "final_linear.",
        "stylegan_decoder.",
        "condition_scale.",
        "condition_shift.",
    ),  # fmt: skip
    has=("final_linear.weight", "condition_scale.0.0.weight", "stylegan_decoder.constant_input.weight"),
    sites=sites,
    resolution=resolution,
    restore=restore,
    build=build,
    traceable=traceable,
    any_layout=True,
    classes={"gfpgan": PACKAGE, "spandrel": "pip install iqp_adapter[spandrel]"},
    swallowed=swallowed,
    weights={
        "gfpgan": WeightFile(
            f"{RELEASE}/GFPGANv1.4.pth",
            LICENCE,
            sha256="e2cd4703ab14f4d01fd1383a8a8b266f9a5833dacee8e6a79d3bf21a1b6be5ad",
            mirror=f"{MIRROR}/GFPGANv1.4.pth",
        ),
        "gfpgan-1.3": WeightFile(
            f"{RELEASE}/GFPGANv1.3.pth",
            LICENCE,
            sha256="c953a88f2727c85c3d9ae72e2bd4846bbaf59fe6972ad94130e23e7017524a70",
            mirror=f"{MIRROR}/GFPGANv1.3.pth",
        ),
        "gfpgan-1.2": WeightFile(
            f"{RELEASE}/GFPGANv1.2.pth",
            LICENCE,
            sha256="29e25ee90c170f4231163f4c83df6b59c968b73f3ce00cb884015ae005db083c",
        ),
        "gfpgan-1": WeightFile("https://github.com/TencentARC/GFPGAN/releases/download/v0.1.0/GFPGANv1.pth", LICENCE),
    },
)
