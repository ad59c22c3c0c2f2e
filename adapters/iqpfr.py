"""The native model of this library, built without a condition of its own (`condition: false`).

Source: `iqp_adapter/native`. Licence: Apache-2.0, weights CC BY 4.0.

Every layer of its Transformer is a site; the image's gradient ends at the codes, as in every code host.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from iqp_adapter.core.sites import Site
from iqp_adapter.hosts.spec import Host, HostSpec


def sites(host: Host) -> list[Site]:
    if host.embedding is not None:
        raise ValueError("this IQPFR has a dial of its own; pass it quality=..., or build one with condition=False")
    layers = range(len(host.transformer.layers))
    return [Site(f"transformer.layers.{index}", host.config.dim, "BLC") for index in layers]


def resolution(host: Host) -> int:
    return int(host.resolution)


def usual_fidelity(host: Host) -> float:
    return float(host.fidelity)


def restore(host: Host, lq: Tensor, fidelity: float | None = None) -> Tensor:
    return host(lq, fidelity=fidelity)[0]


def decide(host: Host, lq: Tensor, fidelity: float | None = None) -> tuple[Any, Any]:
    return host.decision(lq, fidelity=fidelity)


HOST = HostSpec(
    name="iqpfr",
    source="iqp_adapter/native",
    licence="Apache-2.0, weights CC BY 4.0",
    has=("books.null", "transformer.refine.weight", "transformer.null_head.weight"),
    parts=("encoder.", "books.", "transformer.", "embedding.", "fusions.", "decoder.", "finish."),
    sites=sites,
    resolution=resolution,
    restore=restore,
    any_layout=True,
    fidelity=usual_fidelity,
    decide=decide,
)
