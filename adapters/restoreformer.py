"""RestoreFormer and RestoreFormer++: cross-attention between a degraded face and its nearest codes.

Source: https://github.com/wzhouxiff/RestoreFormer at 294cf95 and RestoreFormerPlusPlus at 59d250f
(`RestoreFormer/modules/vqvae/vqvae_arch.py`); gfpgan and spandrel hold copies with equal keys and shapes.
Licence: Apache-2.0. Weights: `RestoreFormer.pth` of GFPGAN's release v1.3.4, `RestoreFormer.ckpt` and
`RestoreFormer++.ckpt` of RestoreFormerPlusPlus' release v1.0.0.

The sites are the blocks in which codes and degraded features meet: of the middle, the last level, and in ++ the one
before. The image has a gradient to all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from iqp_adapter.core.sites import Site
from iqp_adapter.hosts.builders.restoreformer_plus import RestoreFormerPlusPlus
from iqp_adapter.hosts.spec import Host, HostSpec, symmetric, takes_any_name, to_unit
from iqp_adapter.store.fetch import WeightFile

PLUS = "https://github.com/wzhouxiff/RestoreFormerPlusPlus/releases/download/v1.0.0"
LICENCE = "Apache-2.0"
PACKAGE = "pip install gfpgan, on Python 3.12 or older"
HEADS_OF_PLUS = 4


def sites(host: Host) -> list[Site]:
    return attending(host.decoder, "decoder")


def attending(decoder: Any, path: str) -> list[Site]:
    """The attention blocks of a decoder of that path, in the order in which they run."""
    blocks = {"mid.attn_1": decoder.mid.attn_1}
    for level in reversed(range(len(decoder.up))):
        blocks |= {f"up.{level}.attn.{index}": block for index, block in enumerate(decoder.up[level].attn)}
    return [Site(f"{path}.{name}", block.in_channels, "BCHW") for name, block in blocks.items()]


def resolution(host: Host) -> int:
    return int(host.encoder.resolution)


def restore(host: Host, lq: Tensor) -> Tensor:
    return to_unit(symmetric(host, lq)[0])


def swallowed(host: Host) -> dict[str, str]:
    return {"weight": "it has no fidelity weight"} if takes_any_name(host) else {}


def build(state: Mapping[str, Tensor]) -> nn.Module:
    """gfpgan's class, or that of ++ made of its parts.

    The number of heads cannot be told from the shapes: all released weights of RestoreFormer have 8, those of ++ 4.
    """
    try:
        from gfpgan.archs.restoreformer_arch import MultiHeadDecoderTransformer, RestoreFormer
    except ImportError:
        raise ImportError(f"RestoreFormer's class is in the package gfpgan; {PACKAGE}") from None
    given, meets = sizes(state), sides_of_attention(state)
    if len(meets) == 1:
        return RestoreFormer(**given)
    given["head_size"] = HEADS_OF_PLUS
    decoder = MultiHeadDecoderTransformer(**given | {"attn_resolutions": meets}, out_ch=3)
    return RestoreFormerPlusPlus(RestoreFormer(**given), decoder)


def sides_of_attention(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Sides of the maps at which the decoder attends; the deepest has 16 px, and only ++ has others."""
    attended = {int(key.split(".")[2]) for key in state if re.match(r"decoder\.up\.\d+\.attn\.", key)}
    return tuple(16 * 2 ** (levels(state) - 1 - level) for level in sorted(attended, reverse=True))


def levels(state: Mapping[str, Tensor]) -> int:
    return len({key.split(".")[2] for key in state if key.startswith("encoder.down.")})


def sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The constructor's arguments, from shapes; the resolution follows from attention at 16 px, as released."""
    blocks = len({key.split(".")[4] for key in state if key.startswith("encoder.down.0.block.")})
    ch = state["encoder.conv_in.weight"].shape[0]
    widths = [state[f"encoder.down.{level}.block.0.conv2.weight"].shape[0] for level in range(levels(state))]
    return {
        "n_embed": state["quantize.embedding.weight"].shape[0],
        "embed_dim": state["quant_conv.weight"].shape[0],
        "z_channels": state["quant_conv.weight"].shape[1],
        "ch": ch,
        "ch_mult": tuple(width // ch for width in widths),
        "num_res_blocks": blocks,
        "attn_resolutions": (16,),
        "resolution": 16 * 2 ** (levels(state) - 1),
    }


HOST = HostSpec(
    name="restoreformer",
    source="https://github.com/wzhouxiff/RestoreFormerPlusPlus",
    licence=LICENCE,
    has=("quant_conv.weight", "post_quant_conv.weight", "encoder.mid.attn_1.q.weight", "decoder.mid.attn_1.norm2."),
    parts=("encoder.", "decoder.", "quantize.", "quant_conv.", "post_quant_conv."),
    prefix="vqvae.",
    surplus=("quantize.utility_counter",),
    sites=sites,
    resolution=resolution,
    restore=restore,
    any_layout=True,
    build=build,
    classes={"gfpgan": PACKAGE, "spandrel": "pip install iqp_adapter[spandrel]"},
    swallowed=swallowed,
    weights={
        "restoreformer": WeightFile(
            "https://github.com/TencentARC/GFPGAN/releases/download/v1.3.4/RestoreFormer.pth",
            LICENCE,
            sha256="07404d446d62ca3d5ed38b1de09a947a1e77d46dbccec961a74d713a8f24ace0",
        ),
        "restoreformer-ckpt": WeightFile(
            f"{PLUS}/RestoreFormer.ckpt",
            LICENCE,
            sha256="4a193c716bc27cc0533d1b9307100c671e7b584ffa3ba6648182fea4b3228dff",
        ),
        "restoreformer++": WeightFile(
            f"{PLUS}/RestoreFormer%2B%2B.ckpt",
            LICENCE,
            sha256="613fe52805f86bf8c2bffff08ae9f7a0b99f408be1bf221767af6183038be3a2",
        ),
    },
)
