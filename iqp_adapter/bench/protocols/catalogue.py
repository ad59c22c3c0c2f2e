"""All protocols by id, and how names lead to them; a new family is a file beside this one and its name here."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from functools import cache, partial

from . import colour, faces, frechet, likeness, references, scores
from .base import Kind, Measure, Protocol

_SMALLEST = 32
"""Side in pixels that pictures may be resized to."""

FAMILIES = (scores, colour, references, faces, likeness, frechet)

PROTOCOLS: dict[str, Protocol] = {protocol.id: protocol for family in FAMILIES for protocol in family.PROTOCOLS}
"""Every protocol that has an entry, by id; `find` also knows the metrics of pyiqa by their names."""


def find(name: str) -> Protocol:
    """The protocol of an id, of a short name ("niqe", "niqe@512"), or of a metric that has no entry.

    Those are a version of a metric of this project ("iqp-lite@1"), an ensemble ("mean(niqe, piqe)") and a metric of
    pyiqa ("topiq_nr-face"), each with "@native" or the side that pictures are resized to ("topiq_nr@512") behind it.

    Raises:
        ValueError: for a name that is none of these.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    if name in (short := _short_names()):
        return PROTOCOLS[short[name]]
    metric, side = _parts(name)
    return scores.of_this_project(metric, side) or _of_pyiqa(metric.removesuffix("/pyiqa"), side)


def _parts(name: str) -> tuple[str, int | None]:
    """A metric, and the side in pixels that pictures are resized to; a smaller number is the metric's version."""
    metric, _, where = name.rpartition("@")
    if where == "native":
        return metric, None
    return (metric, int(where)) if where.isdigit() and int(where) >= _SMALLEST else (name, None)


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
