"""Small hosts of the real classes: their sizes, the degradation of their inputs, and those that were trained.

We could not download the official weights, so we trained small versions of the real architectures.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log2
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common.inputs import as_batch, astronaut_face
from iqp_adapter.compat import make_importable
from iqp_adapter.degradations.face import Degradation
from iqp_adapter.store import checkpoint

RESOLUTION = 256
"""Side of the pictures, unless another one is asked for."""

FORMER = 128
"""Side of the hosts before, whose weights are in the history; each code covers 8 x 8 px there."""

DEGRADATION: dict[str, Any] = {
    "kernel_size": 21,
    "blur_sigma": [0.1, 5.0],
    "downsample": [1.0, 8.0],
    "strength": [0.5, 1.0],
}
"""Of the inputs, whatever their side: the usual one of 256 px without its mild half, which leaves little to do."""

GRID = 16
"""Side of the grid of codes, whatever the side of the pictures."""

CODES = {FORMER: 512, RESOLUTION: 1024}
"""Entries of CodeFormer's codebook by the side of the pictures; 1,024 as in the released one."""

BASE = 32
"""Channels at full size; a quarter of the released hosts' where they have 128."""


def multiples(side: int) -> tuple[int, ...]:
    """Channels of every level down to the grid, in units of `BASE`: (1, 2, 2, 4) at 128 px, one 4 more at 256 px."""
    return (1, 2, 2, *(4,) * (int(log2(side // GRID)) - 2))


MEETING = {FORMER: 4, RESOLUTION: 8}
"""Heads of a RestoreFormer; 8 as in the released ones, since a weight file does not say how many there are."""


def restoreformer(side: int = RESOLUTION) -> nn.Module:
    """gfpgan's class."""
    make_importable()
    from gfpgan.archs.restoreformer_arch import RestoreFormer

    return RestoreFormer(
        n_embed=512,
        embed_dim=64,
        ch=BASE,
        ch_mult=multiples(side),
        num_res_blocks=1,
        attn_resolutions=(GRID,),
        resolution=side,
        z_channels=64,
        head_size=MEETING[side],
    )


def gfpgan(side: int = RESOLUTION) -> nn.Module:
    """gfpgan's clean class at a quarter of its full width, without a StyleGAN2 to start from."""
    make_importable()
    from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean

    return GFPGANv1Clean(
        out_size=side, num_style_feat=256, narrow=0.25, num_mlp=1, input_is_latent=True, different_w=True, sft_half=True
    )


LAYERS, HEADS, WIDTH = 3, 8, 256
"""Of CodeFormer's Transformer. Its forward needs codes of 256 numbers, and training can start from them."""


def codeformer(side: int = RESOLUTION) -> nn.Module:
    """spandrel's class, assembled at a size that its constructor does not offer."""
    from spandrel_extra_arches.architectures.CodeFormer.__arch import codeformer as theirs

    scales = multiples(side)
    host = theirs.CodeFormer.__new__(theirs.CodeFormer)
    theirs.VQAutoEncoder.__init__(
        host, side, BASE, list(scales), "nearest", res_blocks=1, attn_resolutions=[GRID], codebook_size=CODES[side]
    )
    layers = (theirs.TransformerSALayer(WIDTH, HEADS, 2 * WIDTH, dropout=0.0) for _ in range(LAYERS))
    host.position_emb, host.feat_emb = nn.Parameter(torch.zeros(GRID**2, WIDTH)), nn.Linear(256, WIDTH)
    host.ft_layers = nn.Sequential(*layers)
    host.idx_pred_layer = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CODES[side], bias=False))
    fused = {str(GRID << level): level for level in range(1, len(scales) - 1)}  # all but the grid and the full size
    host.connect_list = list(fused)
    host.channels = {name: BASE * scales[-1 - level] for name, level in fused.items()}
    host.fuse_encoder_block = {name: 2 * (len(scales) - level) - 1 for name, level in fused.items()}
    host.fuse_generator_block = {name: 2 * level + 5 for name, level in fused.items()}
    host.fuse_convs_dict = nn.ModuleDict(
        {name: theirs.Fuse_sft_block(width, width) for name, width in host.channels.items()}
    )
    return host


UNCONDITIONED: dict[str, Any] = {"condition": False}
"""Changes of the preset of the native model."""


def iqpfr(side: int = RESOLUTION) -> nn.Module:
    """The native model of 256 px, without a condition."""
    from iqp_adapter.native import IQPFR, preset

    return IQPFR(preset("tiny-256", resolution=side, **UNCONDITIONED))


def nafnet(side: int = RESOLUTION) -> nn.Module:
    """spandrel's class, which no host file describes; it takes any side."""
    from spandrel.architectures.NAFNet.__arch.NAFNet_arch import NAFNet

    return NAFNet(width=24, enc_blk_nums=[1, 1, 1, 2], middle_blk_num=2, dec_blk_nums=[1, 1, 1, 1])


HOSTS: dict[str, Callable[[int], nn.Module]] = {
    "codeformer": codeformer,
    "restoreformer": restoreformer,
    "gfpgan": gfpgan,
    "iqpfr": iqpfr,
    "nafnet": nafnet,
}


def astronaut(side: int = RESOLUTION) -> dict[str, Tensor]:
    """scikit-image's astronaut, "degraded" with seed 0 as the inputs are, and "original": (1, 3, side, side) each."""
    original = astronaut_face(side)
    degraded = Degradation.for_resolution(256, **DEGRADATION)(original, seed=0)
    return {"degraded": as_batch(degraded), "original": as_batch(original)}


def load_host(name: str, run: Path, folder: str = "", side: int = RESOLUTION) -> nn.Module:
    """A trained small host, in eval mode and rounded to half precision; with `folder`, the host of a variant."""
    host = HOSTS[name](side)
    _, state = checkpoint.load(run / (folder or name) / "model")
    checkpoint.load_strict(host, {key: value.float() for key, value in state.items()}, source=str(run))
    return host.half().float().eval()
