"""Which kind of restorer is this? The files in adapters/ and the entry points of other packages say what they know."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules

from torch import nn

from .. import adapters
from ..store.fetch import WeightFile
from .spec import HostSpec

GROUP = "iqp_adapter.hosts"
"""Entry points of this group name a `HostSpec`."""


@lru_cache(maxsize=1)
def hosts() -> dict[str, HostSpec]:
    """Every known kind of restorer, by name."""
    ours = [import_module(f"{adapters.__name__}.{file.name}").HOST for file in iter_modules(adapters.__path__)]
    others = [point.load() for point in entry_points(group=GROUP)]
    return {spec.name: spec for spec in [*ours, *others]}


def recognise(host: nn.Module) -> HostSpec:
    """The kind of a restorer, by the keys of its state dict.

    Raises:
        ValueError: where no kind fits, naming the nearest, and where more than one does.
    """
    keys = list(host.state_dict())
    found = [spec for spec in hosts().values() if spec.recognises(keys)]
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(spec.name for spec in found)
        raise ValueError(f"{type(host).__name__} looks like {names}; say which by wrap(host, kind=...)")
    nearest = max(hosts().values(), key=lambda spec: spec.likeness(keys))
    raise ValueError(
        f"{type(host).__name__} is no known host; the nearest is {nearest.name} "
        f"({nearest.likeness(keys):.0%} of its keys), available: {', '.join(sorted(hosts()))}; else give sites=[...]"
    )


def published() -> dict[str, WeightFile]:
    """Every published weight file, by the name that `wrap` and `iqp fetch` take."""
    return {name: file for spec in hosts().values() for name, file in spec.weights.items()}
