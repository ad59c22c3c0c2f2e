"""Hosts of other packages. One that cannot be used is left out with a warning; the others work on."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, EntryPoint, distributions
from inspect import signature
from typing import Any

from ..store.fetch import WeightFile
from ..store.words import said_by
from .guarded import MEND, guarded, is_side
from .spec import HostSpec

logger = logging.getLogger(__name__)

GROUP = "iqp_adapter.hosts"
"""Entry points of this group name a `HostSpec`."""

_TEXTS, _KEYS = ("source", "licence", "prefix"), ("has", "any_of", "lacks", "surplus", "parts")
_CALLS = {"sites": 1, "restore": 2, "resolution": 1}
"""Functions that every host has, and how many arguments they are given by their place."""
_OPTIONAL_CALLS = dict.fromkeys(("fidelity", "build", "codes", "traceable", "dial", "swallowed"), 1) | {"decide": 2}


def plugged_in(known: Mapping[str, HostSpec]) -> dict[str, HostSpec]:
    """The hosts of other packages by name, without those that cannot be used.

    Args:
        known: the hosts of this library, whose names and weight files stay theirs.
    """
    found: dict[str, HostSpec] = {}
    loaded: list[object] = []
    for package, point in _points():
        owner = f"the host {point.name!r} of the package {package}"
        try:
            spec = point.load()
            if any(spec is other for other in loaded):
                continue  # the package is on the path twice
            _refuse_unfit(spec, {**known, **found})
            found[spec.name] = guarded(spec, owner)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a package does while it is imported, sys.exit() as well
            _warn(owner, error)
        else:
            loaded.append(spec)
    return found


def _points() -> Iterator[tuple[str, EntryPoint]]:
    for distribution in distributions():
        try:
            points = [point for point in distribution.entry_points if point.group == GROUP]
        except Exception as error:  # another package's metadata may be of any kind
            _warn(f"what the package {_name(distribution)} adds", error)
        else:
            yield from ((_name(distribution), point) for point in points)


def _name(distribution: Distribution) -> str:
    return str(distribution.metadata["Name"] or "without a name")


def _warn(what: str, error: BaseException) -> None:
    logger.warning("%s is left out (%s); %s", what, said_by(error), MEND)


def _refuse_unfit(spec: Any, known: Mapping[str, HostSpec]) -> None:
    """TypeError or ValueError for what would break at its first use, or take the place of another host."""
    if not isinstance(spec, HostSpec):
        raise TypeError(f"it is a {type(spec).__name__}, expected a HostSpec")
    if not isinstance(spec.name, str) or not re.fullmatch(r"[\w.+-]{1,100}", spec.name):
        raise ValueError("its name is not a word")
    if spec.name in known:
        raise ValueError(f"the name {spec.name!r} is taken")
    _refuse_types(spec)
    for name, file in spec.weights.items():
        _refuse_weights(name, file, [other for host in known.values() for other in host.weights.items()])


def _refuse_types(spec: HostSpec) -> None:
    fits = {name: isinstance(getattr(spec, name), str) for name in _TEXTS}
    fits |= {name: _takes(getattr(spec, name), count) for name, count in _CALLS.items()}
    optional = {name: getattr(spec, name) for name in _OPTIONAL_CALLS}
    fits |= {name: call is None or _takes(call, _OPTIONAL_CALLS[name]) for name, call in optional.items()}
    for name in _KEYS:
        keys = getattr(spec, name)
        fits[name] = isinstance(keys, (tuple, list)) and all(isinstance(key, str) and key for key in keys)
    fits["has"] = fits["has"] and len(spec.has) > 0
    fits["parts"] = fits["parts"] and isinstance(spec.parts, tuple)
    fits["multiple"] = is_side(spec.multiple)
    fits["any_layout"] = isinstance(spec.any_layout, bool)
    fits |= {name: isinstance(getattr(spec, name), Mapping) for name in ("weights", "classes")}
    fits["classes"] = fits["classes"] and all(isinstance(way, str) for pair in spec.classes.items() for way in pair)
    if wrong := [name for name, good in fits.items() if not good]:
        raise TypeError(f"its {', '.join(wrong)} cannot be {getattr(spec, wrong[0])!r:.60}")


def _takes(call: Any, count: int) -> bool:
    """Whether something can be called with that many arguments by their place; where Python cannot say, it can."""
    try:
        signature(call).bind(*range(count))
    except (TypeError, ValueError) as error:  # no function, or one that takes others; a builtin without a signature
        return callable(call) and isinstance(error, ValueError)
    return True


def _refuse_weights(name: Any, file: Any, others: list[tuple[str, WeightFile]]) -> None:
    fits = isinstance(name, str) and isinstance(file, WeightFile)
    fits = fits and all(
        isinstance(value, str) for value in (file.url, file.licence, file.sha256 or "", file.mirror or "")
    )
    if not fits or not re.fullmatch(r"[\w.+-]*[\w+-]", file.filename):
        raise ValueError(f"its weight file {name!r:.60} has no name, address or licence that can be used")
    if any(name == other or file.filename == theirs.filename for other, theirs in others):
        raise ValueError(f"the name of its weight file {name!r} ({file.filename}) is taken")
