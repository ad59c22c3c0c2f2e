"""Keyword arguments that many functions share: declared once, shown by `help`, and refused where they are unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from inspect import Parameter, signature
from typing import Any, TypeVar, get_type_hints, is_typeddict

from .settings import unknown_names


class _Own:
    """Stands for a default that is that of whoever takes the argument in the end."""

    def __repr__(self) -> str:
        return "..."


_OWN = _Own()

Function = TypeVar("Function", bound=Callable[..., Any])


def passes_on(to: Any, more: Callable[[], Iterable[str]] = tuple) -> Callable[[Function], Function]:
    """For a function that passes its last parameter, `**rest`, on: `help` shows every name that it may hold.

    Args:
        to: the TypedDict of `**rest: Unpack[...]`, or the function that `rest` goes to.
        more: names that are known only when it is called.

    Returns:
        a decorator; the function then raises TypeError for an unknown name, with the nearest known one.
    """

    def decorate(function: Function) -> Function:
        own = signature(function)
        [*named, _] = own.parameters.values()
        shown = [*named, *(each for each in _keywords(to) if each.name not in own.parameters)]
        names = [each.name for each in shown if each.name not in ("self", "cls")]

        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            known = dict.fromkeys([*names, *more()])
            if unknown := unknown_names(kwargs, known, function.__qualname__):
                raise TypeError(f"unknown argument {unknown}")
            return function(*args, **kwargs)

        checked.__signature__ = own.replace(parameters=shown)  # type: ignore[attr-defined]
        return checked  # type: ignore[return-value]

    return decorate


def of_kind(kind: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some keyword arguments that a TypedDict has."""
    return {name: value for name, value in given.items() if name in get_type_hints(kind)}


def _keywords(to: Any) -> Iterable[Parameter]:
    """What can only be given by name."""
    if is_typeddict(to):
        hints = get_type_hints(to).items()
        return [Parameter(name, Parameter.KEYWORD_ONLY, default=_OWN, annotation=hint) for name, hint in hints]
    return [each for each in signature(to).parameters.values() if each.kind is Parameter.KEYWORD_ONLY]
