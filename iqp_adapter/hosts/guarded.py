"""Functions of other packages' hosts: what they raise or return wrong is one line that names the package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import update_wrapper
from typing import Any

import torch
from torch import Tensor, nn

from ..core.own_dial import OwnDial
from ..core.sites import Site
from ..store.words import said_by, wants_memory
from .spec import CodeAccess, HostSpec

Fits = Callable[[Any, tuple[Any, ...]], bool]
"""Whether a function may return that for its arguments."""


LARGEST = 1 << 15
"""Side of pictures, in pixels."""


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def is_side(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LARGEST


def _are_sites(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(site, Site) for site in value)


def _is_restored(value: Any, arguments: tuple[Any, ...]) -> bool:
    """Pictures (B, 3, h, w) of the proportions of the second argument (B, 3, H, W)."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim != 4:
        return False
    if value.layout != torch.strided or (value.is_meta and not arguments[1].is_meta):
        return False
    (height, width), (own_height, own_width) = value.shape[2:], arguments[1].shape[2:]
    return value.shape[:2] == arguments[1].shape[:2] and height * own_width == width * own_height > 0


def _is_decision(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and callable(value[1])


def _or_none(fits: Callable[[Any], bool]) -> Fits:
    return lambda value, arguments: value is None or fits(value)


_RESULTS: dict[str, tuple[Fits, str]] = {
    "sites": (lambda value, arguments: _are_sites(value), "a list of Site"),
    "restore": (_is_restored, "a tensor of pictures (B, 3, h, w) like those that it is given"),
    "resolution": (_or_none(is_side), f"a number of pixels from 1 to {LARGEST}, or None"),
    "fidelity": (_or_none(_is_share), "a number in [0, 1], or None"),
    "build": (lambda value, arguments: isinstance(value, nn.Module), "a module"),
    "codes": (_or_none(lambda value: isinstance(value, CodeAccess)), "a CodeAccess, or None"),
    "decide": (lambda value, arguments: _is_decision(value), "code logits, and a function that decodes others"),
    "traceable": (lambda value, arguments: hasattr(value, "__enter__"), "a context"),
    "dial": (_or_none(lambda value: isinstance(value, OwnDial)), "an OwnDial, or None"),
    "swallowed": (lambda value, arguments: isinstance(value, Mapping), "names of arguments with texts"),
}
"""What each function of a `HostSpec` returns."""


class Guarded:
    """A function of another package's host.

    Args:
        function: of the field `name` of a `HostSpec`; it has a name of its own, so that this can be pickled too.
        owner: the host and its package, for the message.
    """

    def __init__(self, function: Callable[..., Any], name: str, owner: str):
        update_wrapper(self, function)
        self._function, self._name, self._owner = function, name, owner

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What the function returns.

        Raises:
            ValueError: where it raises anything but want of memory.
            TypeError: where it returns something else than it should.
        """
        try:
            found = self._function(*arguments, **named)
        except (Exception, SystemExit) as error:
            if wants_memory(error):
                raise
            raise ValueError(f"{self._name} of {self._owner} fails ({said_by(error)}); {MEND}") from error
        fits, wanted = _RESULTS[self._name]
        if not fits(found, arguments):
            given = f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else f"{found!r:.60}"
            raise TypeError(f"{self._name} of {self._owner} gives {given}, expected {wanted}; {MEND}")
        return found


MEND = "mend or uninstall the package"


def guarded(spec: HostSpec, owner: str) -> HostSpec:
    """The same host, whose functions are `Guarded`."""
    given = {name: getattr(spec, name) for name in _RESULTS}
    functions: dict[str, Any] = {name: Guarded(each, name, owner) for name, each in given.items() if each is not None}
    return replace(spec, **functions)
