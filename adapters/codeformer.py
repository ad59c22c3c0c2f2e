"""CodeFormer: codes of a face predicted by a Transformer, with a fidelity weight `w`.

Source: https://github.com/sczhou/CodeFormer at b33cc7d (`basicsr/archs/codeformer_arch.py`), of which spandrel and the
packages codeformer, codeformer-pip, codeformer-perceptor and vscodeformer hold copies with equal keys and shapes.
Licence: S-Lab License 1.0, non-commercial, code and weights. Weights: `codeformer.pth` of its release v0.1.0.

The image has no gradient to the Transformer (codes are an arg-max, the encoder's taps are detached): adapters learn
through `code_logits`.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from iqp_adapter.host import HostSpec, symmetric, to_unit
from iqp_adapter.sites import Site


def sites(host: nn.Module) -> list[Site]:
    """Every Transformer layer: (L, B, C), which is where the codes are decided."""
    dim = host.feat_emb.out_features
    return [Site(f"ft_layers.{index}", dim, "LBC") for index in range(len(host.ft_layers))]


def resolution(host: nn.Module) -> int:
    return int(host.encoder.resolution)


def restore(model: Any, lq: Tensor, fidelity: float = 0.5) -> Tensor:
    """As the repository's own script calls it: colours adjusted to the input's (`adain`)."""
    weight = "weight" if takes_weight(model.host) else "w"
    more = {} if takes_weight(model.host) else {"adain": True}
    return to_unit(symmetric(model, lq, **{weight: fidelity}, **more)[0])


def takes_weight(host: nn.Module) -> bool:
    """spandrel's class calls the fidelity weight `weight` and always adjusts colours."""
    return "weight" in inspect.signature(host.forward).parameters


def swallowed(host: nn.Module) -> dict[str, str]:
    return {"w": "weight", "adain": "nothing: it is always on", "code_only": "nothing"} if takes_weight(host) else {}


HOST = HostSpec(
    name="codeformer",
    source="https://github.com/sczhou/CodeFormer",
    licence="S-Lab License 1.0 (non-commercial)",
    has=("position_emb", "feat_emb.weight", "idx_pred_layer.1.weight", "quantize.embedding.weight"),
    lacks=("cross_attention.proj_out.weight",),
    sites=sites,
    resolution=resolution,
    restore=restore,
    swallowed=swallowed,
)
