"""RestoreFormer and RestoreFormer++: cross-attention between a degraded face and its nearest codes.

Source: https://github.com/wzhouxiff/RestoreFormer at 294cf95 and RestoreFormerPlusPlus at 59d250f
(`RestoreFormer/modules/vqvae/vqvae_arch.py`); gfpgan and spandrel hold copies with equal keys and shapes.
Licence: Apache-2.0. Weights: `RestoreFormer.pth` of GFPGAN's release v1.3.4, `RestoreFormer.ckpt` and
`RestoreFormer++.ckpt` of RestoreFormerPlusPlus' release v1.0.0.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from iqp_adapter.host import HostSpec, symmetric, to_unit
from iqp_adapter.sites import Site


def sites(host: nn.Module) -> list[Site]:
    """The blocks in which codes and degraded features meet: of the middle, the last level, and in ++ the one before."""
    paths = ["decoder.mid.attn_1"]
    for level in reversed(range(len(host.decoder.up))):
        paths += [f"decoder.up.{level}.attn.{index}" for index in range(len(host.decoder.up[level].attn))]
    return [Site(path, host.get_submodule(path).in_channels, "BCHW") for path in paths]


def resolution(host: nn.Module) -> int:
    return int(host.encoder.resolution)


def restore(model: Any, lq: Tensor) -> Tensor:
    return to_unit(symmetric(model, lq)[0])


def swallowed(host: nn.Module) -> dict[str, str]:
    return {"weight": "it has no fidelity weight"}


HOST = HostSpec(
    name="restoreformer",
    source="https://github.com/wzhouxiff/RestoreFormerPlusPlus",
    licence="Apache-2.0",
    has=("quant_conv.weight", "post_quant_conv.weight", "encoder.mid.attn_1.q.weight", "decoder.mid.attn_1.q.weight"),
    sites=sites,
    resolution=resolution,
    restore=restore,
    swallowed=swallowed,
)
