"""Which kind of restorer is this? The host files in adapters/ and entry points of other packages know."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from torch import nn

from .. import adapters
from ..store.fetch import WeightFile
from ..store.files import some_of
from .forms import host_within, plain_keys
from .plugins import plugged_in
from .spec import HostSpec


@lru_cache(maxsize=1)
def hosts() -> dict[str, HostSpec]:
    """Every known kind of restorer, by name."""
    files = [import_module(f"{adapters.__name__}.{file.name}").HOST for file in iter_modules(adapters.__path__)]
    ours = {spec.name: spec for spec in files}
    return ours | plugged_in(ours)


def named(kind: str) -> HostSpec:
    """The kind of that name; ValueError where there is none."""
    if kind not in hosts():
        raise ValueError(f"unknown host {kind!r}; available: {', '.join(sorted(hosts()))}")
    return hosts()[kind]


def is_known(kind: Any) -> bool:
    """Whether a host file describes the kind of that name."""
    return isinstance(kind, str) and kind in hosts()


def recognise(host: nn.Module) -> HostSpec:
    """The kind of a restorer, by the keys of its state dict.

    Raises:
        ValueError: where no kind fits, naming the nearest, and where more than one does.
    """
    keys, name = plain_keys(host.state_dict()), type(host).__name__
    found = kind_of(lambda spec: keys, name)
    if found is not None:
        return found
    if held := host_within(host, _name_of):
        raise ValueError(f"{name} is no host, but its .{held[0]} is a {held[1]}; wrap that: wrap(model.{held[0]})")
    raise ValueError(
        f"{name} is no known host; {nearest(lambda spec: keys)}; give kind= if it is to count as one, available: "
        f"{', '.join(sorted(hosts()))}; else give sites=[...]"
    )


def kind_of(keys: Callable[[HostSpec], Collection[str]], name: str) -> HostSpec | None:
    """The one kind that recognises the keys of a restorer or a weight file; None where none does.

    Args:
        keys: as a kind has them; in weight files some have a prefix.
        name: of what is to be recognised, for the error's sake.

    Raises:
        ValueError: where more than one kind does.
    """
    found = [spec for spec in hosts().values() if spec.recognises(keys(spec))]
    if len(found) > 1:
        names = " and ".join(spec.name for spec in found)
        raise ValueError(f"{name} looks like {names}; say which by wrap(host, kind=...)")
    return found[0] if found else None


def nearest(keys: Callable[[HostSpec], Collection[str]]) -> str:
    """The kind nearest to keys that none recognises, and what sets them apart, for a message."""

    def closeness(spec: HostSpec) -> tuple[float, int]:
        return spec.likeness(keys(spec)), -len(spec.foreign(keys(spec)))

    spec = max(hosts().values(), key=closeness)
    said = f"the nearest is {spec.name} ({spec.likeness(keys(spec)):.0%} of its keys)"
    if spec.likeness(keys(spec)) < 1 or not spec.foreign(keys(spec)):
        return said
    return f"{said}, which has no {some_of(spec.foreign(keys(spec)))}"


def _name_of(keys: Collection[str]) -> str | None:
    """Name of a kind that recognises the keys."""
    return next((spec.name for spec in hosts().values() if spec.recognises(keys)), None)


def published() -> dict[str, WeightFile]:
    """Every published weight file, by the name that `wrap` and `iqp fetch` take."""
    return {name: file for spec in hosts().values() for name, file in spec.weights.items()}
