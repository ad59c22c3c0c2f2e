"""Small hosts of the real classes, as data: their sizes and the degradation of their inputs.

We could not download the official weights, so we trained small versions of the real architectures.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from iqp_adapter.compat import make_importable

RESOLUTION = 128
"""Side of the pictures of the hosts that are built here."""

DEGRADATION: dict[str, Any] = {
    "kernel_size": 21,
    "blur_sigma": [0.1, 5.0],
    "downsample": [1.0, 8.0],
    "strength": [0.5, 1.0],
}
"""Of the inputs: the usual one for twice the size, since the usual one for this size leaves little to restore."""

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


CODEFORMER: dict[str, Any] = {"nf": 32, "ch_mult": [1, 2, 2, 4], "res_blocks": 1, "codebook_size": 512}
"""Its autoencoder. Its forward needs a grid of 16 x 16 and codes of 256 numbers."""

LAYERS, HEADS, WIDTH = 3, 8, 256
"""Of its Transformer. The width is that of the codes, so that training can start from them."""


def codeformer() -> nn.Module:
    """spandrel's class, assembled at a size that its constructor does not offer."""
    from spandrel_extra_arches.architectures.CodeFormer.__arch import codeformer as theirs

    host = theirs.CodeFormer.__new__(theirs.CodeFormer)
    theirs.VQAutoEncoder.__init__(host, RESOLUTION, quantizer="nearest", attn_resolutions=[16], **CODEFORMER)
    layers = (theirs.TransformerSALayer(WIDTH, HEADS, 2 * WIDTH, dropout=0.0) for _ in range(LAYERS))
    host.position_emb, host.feat_emb = nn.Parameter(torch.zeros(256, WIDTH)), nn.Linear(256, WIDTH)
    host.ft_layers = nn.Sequential(*layers)
    host.idx_pred_layer = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CODEFORMER["codebook_size"], bias=False))
    host.connect_list, host.channels = ["32", "64"], {"32": 64, "64": 64}
    host.fuse_encoder_block, host.fuse_generator_block = {"32": 5, "64": 3}, {"32": 7, "64": 9}
    host.fuse_convs_dict = nn.ModuleDict({side: theirs.Fuse_sft_block(64, 64) for side in host.connect_list})
    return host


def iqpfr() -> nn.Module:
    """The native model in the shipped size, without a condition, at 256 px."""
    from iqp_adapter.native import IQPFR, preset

    return IQPFR(preset("tiny", condition=False))
