"""All protocols by id, and how names lead to them; a new family is a file beside this one and its name here."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from functools import cache, partial

from . import colour, faces, frechet, likeness, references, scores
from .base import Kind, Measure, Protocol

FAMILIES = (scores, colour, references, faces, likeness, frechet)

PROTOCOLS: dict[str, Protocol] = {protocol.id: protocol for family in FAMILIES for protocol in family.PROTOCOLS}
"""Every protocol that has an entry, by id; `find` also knows the metrics of pyiqa by their names."""


def find(name: str) -> Protocol:
    """The protocol of an id, a short name ("niqe", "niqe@512"), or a metric of pyiqa ("topiq_nr-face", "topiq_nr@512").

    Raises:
        ValueError: for a name that is none of these.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    if name in (short := _short_names()):
        return PROTOCOLS[short[name]]
    metric, _, side = name.partition("@")
    if side in ("", "native") or side.isdigit():
        return _of_pyiqa(metric.removesuffix("/pyiqa"), int(side) if side.isdigit() else None)
    raise ValueError(f"unknown protocol {name!r}; {_nearest(name)}")


@cache
def _short_names() -> dict[str, str]:
    """`niqe`, `niqe@512`, `niqe/basicsr` -> the first id that they fit."""
    names: dict[str, str] = {}
    for protocol in PROTOCOLS.values():
        where = protocol.id.partition("@")[2]
        for name in (protocol.metric, protocol.label, f"{protocol.metric}@{where}"):
            names.setdefault(name, protocol.id)
    return names


def _of_pyiqa(metric: str, side: int | None) -> Protocol:
    from ...compat import make_importable

    make_importable()
    import pyiqa
    from pyiqa.default_model_configs import DEFAULT_CONFIGS

    kinds: dict[str, tuple[Kind, Callable[..., Measure]]]
    kinds = {"NR": ("no-reference", scores.no_reference), "FR": ("reference", references.full_reference)}
    mode = next((mode for mode in kinds if metric in pyiqa.list_models(mode)), None)
    if mode is None:
        raise ValueError(f"unknown protocol {metric!r}; {_nearest(metric)}")
    kind, load = kinds[mode]
    lower_better = DEFAULT_CONFIGS[metric].get("lower_better", False)
    return Protocol(f"{metric}/pyiqa@{side or 'native'}", lower_better, kind, partial(load, metric, side))


def _nearest(name: str) -> str:
    near = get_close_matches(name, [*PROTOCOLS, *_short_names()], n=3, cutoff=0.4)
    return f"nearest: {', '.join(near)}" if near else f"known are {', '.join(PROTOCOLS)}, and pyiqa's metrics"
