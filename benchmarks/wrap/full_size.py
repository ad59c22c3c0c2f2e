"""Hosts of full size with random numbers (seed 0), and what is the same in all their benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

import iqp_adapter as iqp
from iqp_adapter.compat import make_importable

SIDE = 512
GATE = 0.1
"""How far the gates of the adapters are open: what is added is then neither nothing nor all."""


@dataclass(frozen=True)
class FullSize:
    """A host, and the arguments of its call as its users' scripts make it."""

    build: Callable[[], nn.Module]
    arguments: Mapping[str, Any] = field(default_factory=dict)


def codeformer() -> nn.Module:
    from spandrel_extra_arches.architectures.CodeFormer import CodeFormer

    return CodeFormer()


def restoreformer() -> nn.Module:
    make_importable()
    from gfpgan.archs.restoreformer_arch import RestoreFormer

    return RestoreFormer()


def gfpgan() -> nn.Module:
    make_importable()
    from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean

    return GFPGANv1Clean(
        out_size=SIDE, channel_multiplier=2, fix_decoder=False, input_is_latent=True, different_w=True, sft_half=True
    )


HOSTS = {
    "codeformer": FullSize(codeformer, {"weight": 0.5}),
    "restoreformer": FullSize(restoreformer),
    "gfpgan": FullSize(gfpgan, {"return_rgb": False}),
}
HostOption = Annotated[list[str], typer.Option("--host", help="May be repeated.")]
ALL = list(HOSTS)


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return HOSTS[name].build().eval()


def wrapped(host: nn.Module) -> iqp.WrappedHost:
    """The host with an adapter that acts."""
    model = iqp.wrap(host)
    for block in model.adapters["default"].blocks.values():
        nn.init.constant_(block.gate, GATE)
    return model.eval()


def pictures(count: int = 1) -> Tensor:
    """(count, 3, 512, 512) in [-1, 1], as all of these hosts take them."""
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
