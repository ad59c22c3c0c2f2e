"""The native model of this library, built without a condition of its own (`condition: false`).

Source: `iqp_adapter/native`. Licence: Apache-2.0, weights CC BY 4.0.

The sites are the deepest blocks of its decoder, behind the codes, to which the image has a gradient. From the layers of
its Transformer an adapter steers the codes instead.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from iqp_adapter.core.sites import Site
from iqp_adapter.hosts.spec import Host, HostSpec, width_of

DEEPEST = 2
"""Levels of the decoder that attend, beside its stem."""


def sites(host: Host) -> list[Site]:
    refuse_dial(host)
    places = ["decoder.stem", *(f"decoder.levels.{level}" for level in range(min(DEEPEST, len(host.decoder.levels))))]
    return [Site(path, width_of(host.get_submodule(path)), "BCHW") for path in places]


def code_sites(host: Host) -> list[Site]:
    refuse_dial(host)
    layers = range(len(host.transformer.layers))
    return [Site(f"transformer.layers.{index}", host.config.dim, "BLC") for index in layers]


def refuse_dial(host: Host) -> None:
    if host.embedding is not None:
        raise ValueError("this IQPFR has a dial of its own; pass it quality=..., or build one with condition=False")


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
    code_sites=code_sites,
    resolution=resolution,
    restore=restore,
    any_layout=True,
    fidelity=usual_fidelity,
    decide=decide,
)
