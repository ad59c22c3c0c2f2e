"""IQPIR: CodeFormer with a second codebook and a score, by the authors of IQPFR.

Source: https://github.com/fengyang1399-pixel/IQPIR at a4408c7 (`basicsr/archs/codeformer_arch.py`). Weight files are
built as the class of this library (`iqp_adapter/native/iqpir`), which has the same keys and answers; the authors' own
instances work as well. Licence: S-Lab License 1.0, non-commercial, code and weights. Weights: a folder on Google Drive
that the repository names; no hash is published.

The sites are CodeFormer's, those of the Transformer in the variant "adain" too. It has a dial of its own: the score,
which every call needs. The fidelity path was never trained for faces, and is refused where it was not.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from iqp_adapter.adapters.codeformer import LICENCE, codebook
from torch import Tensor, nn

from iqp_adapter.adapters import codeformer
from iqp_adapter.core.codes import Codes, with_moments_of
from iqp_adapter.core.own_dial import OwnDial
from iqp_adapter.hosts.spec import CodeAccess, Host, HostSpec, symmetric, to_unit, weight_of
from iqp_adapter.native.iqpir import IQPIR
from iqp_adapter.native.iqpir.fidelity import is_trained, paints_holes, refuse_untrained
from iqp_adapter.native.iqpir.model import own_dial
from iqp_adapter.pictures import as_unit


def resolution(host: Host) -> int:
    """As many tokens as positions; every reduction of the encoder halves the side."""
    halvings = sum(hasattr(block, "conv") for block in host.encoder.blocks)
    return round(len(host.position_emb) ** 0.5) << halvings


def usual_fidelity(host: Host) -> float | None:
    """No weight where the path was never trained."""
    return float(for_holes(host)) if is_trained(host.fuse_convs_dict) else None


def for_holes(host: Host) -> bool:
    return paints_holes(map(int, host.fuse_convs_dict), resolution(host))


def restore(host: Host, lq: Tensor, fidelity: float | None = None, score: float | Tensor | None = None) -> Tensor:
    """As the authors' commands call it: colours adjusted to the input's, but in inpainting, and no fidelity path.

    Args:
        fidelity: by default 0, of inpainting 1.
        score: of the wanted picture, in place of a quality: a number or (B,).
    """
    return to_unit(symmetric(host, lq, **asked(host, lq.shape[0], fidelity, score))[0])


def asked(host: Host, batch: int, fidelity: float | None, score: float | Tensor | None) -> dict[str, Any]:
    """The arguments of a host's call; without a score its dial gives one."""
    holes = for_holes(host)
    fidelity = float(holes) if fidelity is None else fidelity
    refuse_untrained(host.fuse_convs_dict, fidelity)
    arguments: dict[str, Any] = {"w": weight_of(fidelity), "adain": not holes}
    if score is None and takes_score(host):
        return arguments
    wanted = torch.as_tensor(0.0 if score is None else score).to(host.position_emb)
    return arguments | {"score": wanted.expand(batch)}  # instances that take no score cannot be called without, either


def takes_score(host: Host) -> bool:
    return hasattr(host, "score_embed")


def dial(host: Host) -> OwnDial | None:
    return (host.dial if isinstance(host, IQPIR) else own_dial()) if takes_score(host) else None


def codes(host: Host) -> CodeAccess | None:
    """As in CodeFormer; None with two codebooks."""
    return None if is_dual(host) else codeformer.codes(host)


def is_dual(host: Host) -> bool:
    return hasattr(host, "quantize_aesthetic")


def decide(
    host: Host, lq: Tensor, fidelity: float | None = None, score: float | Tensor | None = None
) -> tuple[Codes, Any]:
    """Code logits (B, L, K), of the common codebook first, and what decodes others."""
    arguments = asked(host, len(lq), fidelity, score)
    logits, features = symmetric(host, lq, **arguments, code_only=True)
    books = (logits[..., 1], logits[..., 0]) if is_dual(host) else (logits,)
    entries = weighted(host, lq, arguments, [each.argmax(-1) for each in books])
    return books, partial(decoded, host, lq, features.detach(), arguments, entries)


def weighted(host: Host, lq: Tensor, arguments: dict[str, Any], codes: list[Tensor]) -> list[Tensor]:
    """Entries (K, D) of each codebook, times their weight in the sum.

    Args:
        codes: indices (B, L) of the codes that the host decides in such a call.
    """
    common = codebook(host)
    if not is_dual(host):
        return [common]
    plus = host.quantize_aesthetic.embedding.weight
    return [common, alpha(host, lq, arguments, common[codes[0]], plus[codes[1]]) * plus]


@torch.no_grad()
def alpha(host: Host, lq: Tensor, arguments: dict[str, Any], common: Tensor, plus: Tensor) -> float:
    """The weight of HQ+ in the sum. The authors' instances are asked by what their generator is given.

    Args:
        common, plus: entries (B, L, D) that the host decides for.
    """
    if isinstance(host, IQPIR):
        return host.alpha
    given: list[Tensor] = []
    handle = host.generator.blocks[0].register_forward_pre_hook(lambda module, inputs: given.extend(inputs))
    try:
        symmetric(host, lq, **arguments | {"w": 0, "adain": False})
    finally:
        handle.remove()
    rest = given[0].flatten(2).transpose(1, 2) - common  # (B, D, h, w) -> (B, L, D)
    return float((rest * plus).sum() / plus.square().sum())


def decoded(
    host: Host, lq: Tensor, features: Tensor, arguments: dict[str, Any], books: list[Tensor], weights: Codes
) -> Tensor:
    """The picture of other code weights (B, L, K) of each codebook.

    Args:
        features: of the encoder, with the score's map (B, D, h, w).
        books: entries (K, D) of each codebook, times their weight in the sum.
    """
    summed = torch.stack([each @ book.to(each) for each, book in zip(weights, books, strict=True)]).sum(0)
    grid = summed.transpose(1, 2).unflatten(2, features.shape[2:])  # (B, L, D) -> (B, D, h, w)
    if arguments["adain"]:
        grid = with_moments_of(features, grid)
    if not arguments["w"]:
        for block in host.generator.blocks:
            grid = block(grid)
        return as_unit(to_unit(grid))
    handle = host.generator.blocks[0].register_forward_pre_hook(lambda module, inputs: (grid,))
    try:
        return as_unit(to_unit(symmetric(host, lq, **arguments)[0]))
    finally:
        handle.remove()


def build(state: Mapping[str, Tensor]) -> nn.Module:
    """The class of this library, its sizes read off the shapes."""
    host = IQPIR.of_state(state)
    host.licence = LICENCE
    return host


HOST = HostSpec(
    name="iqpir",
    source="https://github.com/fengyang1399-pixel/IQPIR",
    licence=LICENCE,
    has=codeformer.HOST.has,
    any_of=("quantize_aesthetic.", "score_embed."),
    parts=(*codeformer.HOST.parts, "quantize_aesthetic.", "score_embed."),
    sites=codeformer.sites,
    code_sites=codeformer.code_sites,
    resolution=resolution,
    restore=restore,
    any_layout=True,
    fidelity=usual_fidelity,
    build=build,
    codes=codes,
    decide=decide,
    dial=dial,
)
