"""Small hosts of the real classes, as data: what they are built with and how they are trained.

Weights of the official hosts can not be had without a download, so that the plug-and-play claim is tested on these.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from iqp_adapter.compat import make_importable

RESOLUTION = 128
"""Side of the pictures of all of them."""

RESTOREFORMER: dict[str, Any] = {
    "n_embed": 512,
    "embed_dim": 64,
    "ch": 32,
    "ch_mult": (1, 2, 2, 4),
    "num_res_blocks": 1,
    "attn_resolutions": (16,),
    "resolution": RESOLUTION,
    "z_channels": 64,
    "head_size": 4,
}
"""gfpgan's class with a 16 x 16 grid: a quarter of the width, a quarter of the side of the released one."""


def restoreformer() -> nn.Module:
    make_importable()
    from gfpgan.archs.restoreformer_arch import RestoreFormer

    return RestoreFormer(**RESTOREFORMER)


def parameters(network: nn.Module) -> int:
    return sum(x.numel() for x in network.parameters())

