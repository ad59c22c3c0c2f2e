"""VQFR version 2: codes of a face by a classifier, and a main branch that keeps to the input.

Source: https://github.com/TencentARC/VQFR at 239c77a (`vqfr/archs/vqfrv2_arch.py`).
Licence: Apache-2.0. Weights: `VQFR_v2.pth` of its release v2.0.0.

Its decoder runs without gradients, so that the image teaches the main branch alone, as long as `fidelity_ratio` is
above 0: its deepest levels are the sites. From the encoder's last features an adapter steers the codes instead.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from iqp_adapter.core.sites import Site
from iqp_adapter.hosts.spec import CodeAccess, Host, HostSpec, symmetric, to_unit, weight_of, width_of
from iqp_adapter.store.fetch import WeightFile

LICENCE = "Apache-2.0"
DEEPEST = 2
"""Levels of the main branch that attend."""


def sites(host: Host) -> list[Site]:
    levels = host.main_branch.decoder_dict
    deepest = sorted(levels, key=lambda name: -int(name.split("_")[1]))[:DEEPEST]
    return [Site(f"main_branch.decoder_dict.{level}", width_of(levels[level]), "BCHW") for level in deepest]


def code_sites(host: Host) -> list[Site]:
    """Empty where the nearest codes are taken, which no logits teach."""
    return [] if host.feat2index is None else [Site("encoder.conv_out", width_of(host.encoder.conv_out), "BCHW")]


def resolution(host: Host) -> int:
    """Codes have a grid of 16 x 16, each level of the decoder but the first doubles it."""
    return int(16 * 2 ** (len(host.decoder.blocks) - 1))


def build(state: Mapping[str, Tensor]) -> nn.Module:
    """This library's class with the official keys, its sizes read off the shapes."""
    from iqp_adapter.hosts.builders.vqfr import VQFRv2

    warps = "main_branch.align_func_dict"
    depth = len({key.split(".")[2] for key in state if key.startswith(f"{warps}.")})
    number, dim = state["quantizer.embedding.weight"].shape
    return VQFRv2(
        widths=[state[f"{warps}.Level_{2**level}.dcn.weight"].shape[0] for level in range(depth)],
        blocks=(parts(state, "encoder.blocks.0"), parts(state, f"decoder.blocks.{depth - 1}") - 1),
        attends=("encoder.mid_blocks.1.q.weight" in state, "decoder.mid_blocks.1.q.weight" in state),
        codes=(number, dim),
        predicts="feat2index.1.weight" in state,
        seen=state["inpfeat_extraction.weight"].shape[0],
        groups=state[f"{warps}.Level_1.dcn.conv_offset.weight"].shape[0] // 27,
    )


def parts(state: Mapping[str, Tensor], path: str) -> int:
    """How many numbered parts a module has."""
    return len({key.removeprefix(path).split(".")[1] for key in state if key.startswith(f"{path}.")})


def usual_fidelity(host: Host) -> float:
    return 0.1


def restore(host: Host, lq: Tensor, fidelity: float | None = None) -> Tensor:
    asked = usual_fidelity(host) if fidelity is None else weight_of(fidelity)
    return to_unit(symmetric(host, lq, fidelity_ratio=asked)["main_dec"])


def codes(host: Host) -> CodeAccess | None:
    if host.feat2index is None:
        return None
    entries, width = host.quantizer.embedding.weight.shape
    return CodeAccess(
        logits=Site("feat2index", int(entries), "BLC"),
        entry=Site("decoder.conv_in", int(width), "BCHW", on="input"),
        features="encoder.conv_out",
        codebook=codebook,
    )


def codebook(host: Host) -> Tensor:
    return host.quantizer.embedding.weight


HOST = HostSpec(
    name="vqfr",
    source="https://github.com/TencentARC/VQFR",
    licence=LICENCE,
    has=("main_branch.", "quantizer.embedding.weight", "encoder.conv_out."),
    parts=("inpfeat_extraction.", "encoder.", "feat2index.", "decoder.", "main_branch.", "quantizer."),
    sites=sites,
    code_sites=code_sites,
    resolution=resolution,
    restore=restore,
    any_layout=True,
    fidelity=usual_fidelity,
    build=build,
    codes=codes,
    weights={
        "vqfr": WeightFile("https://github.com/TencentARC/VQFR/releases/download/v2.0.0/VQFR_v2.pth", LICENCE),
    },
)
