"""VQFR version 1: nearest codes of a face, and a main decoder that keeps to the input.

Source: https://github.com/TencentARC/VQFR at 239c77a (`vqfr/archs/vqfrv1_arch.py`).
Licence: Apache-2.0. Weights: `VQFR_v1-33a1fac5.pth`, by a link of its README.

Codes are the nearest ones, with a straight-through gradient: the image teaches every site. These are the features that
choose codes, what the decoder makes of codes at their grid, and the deepest level of the main decoder.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from iqp_adapter.core.sites import Site
from iqp_adapter.hosts.spec import Host, HostSpec, symmetric, to_unit, width_of

PLACES = ("encoder.enc_convout_dict", "decoder.decoder_dict", "main_decoder.decoder_dict")


def sites(host: Host) -> list[Site]:
    return [deepest(host, place) for place in PLACES]


def deepest(host: Host, place: str) -> Site:
    """The level with the smallest map: of `Level_32` to `Level_1` the first one."""
    levels = host.get_submodule(place)
    name = max(levels, key=factor)
    return Site(f"{place}.{name}", width_of(levels[name]), "BCHW")


def factor(level: str) -> int:
    """By how much a level's map is smaller than the picture: 32 for `Level_32`."""
    return int(level.split("_")[1])


def resolution(host: Host) -> int:
    """A grid of 16 x 16 at the deepest level, as released; other sizes run as well."""
    return 16 * max(factor(level) for level in host.encoder.enc_convout_dict)


def build(state: Mapping[str, Tensor]) -> nn.Module:
    """This library's class with the official keys, its sizes read off the shapes."""
    from iqp_adapter.hosts.builders.vqfr_v1 import VQFRv1

    warps = "main_decoder.align_func_dict"
    names = sorted({key.split(".")[2] for key in state if key.startswith(f"{warps}.")}, key=factor)
    number, dim = state[f"quantizer.quantize_dict.{names[-1]}.embedding.weight"].shape
    return VQFRv1(
        widths=[state[f"{warps}.{name}.dcn.weight"].shape[0] for name in names],
        blocks=(blocks(state, "encoder.encoder_dict.Level_1"), blocks(state, "decoder.decoder_dict.Level_1")),
        codes=(number, dim),
        seen=state["inpfeat_extraction.conv.weight"].shape[0],
        groups=state[f"{warps}.Level_1.dcn.conv_offset.weight"].shape[0] // 27,
    )


def blocks(state: Mapping[str, Tensor], path: str) -> int:
    return len({key.removeprefix(path).split(".")[1] for key in state if key.startswith(f"{path}.")})


def restore(host: Host, lq: Tensor) -> Tensor:
    return to_unit(symmetric(host, lq)["main_dec"])


def swallowed(host: Host) -> dict[str, str]:
    return {"fidelity_ratio": "version 2 has one"}


HOST = HostSpec(
    name="vqfr_v1",
    source="https://github.com/TencentARC/VQFR",
    licence="Apache-2.0",
    has=("main_decoder.", "quantizer.quantize_dict.", "encoder.enc_convout_dict."),
    parts=("inpfeat_extraction.", "encoder.", "decoder.", "main_decoder.", "quantizer."),
    sites=sites,
    resolution=resolution,
    restore=restore,
    any_layout=True,
    build=build,
    swallowed=swallowed,
)
