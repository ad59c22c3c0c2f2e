"""Settings as dataclasses: every value is of its declared type, and names that do not exist are told the nearest."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from numbers import Integral, Real
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


def check_types(settings: Any) -> None:
    """Raises ValueError for the first field of a dataclass whose value is not of its type, or is no finite number."""
    hints = get_type_hints(type(settings))
    for item in fields(settings):
        value = getattr(settings, item.name)
        if not fits(value, hints[item.name]):
            raise ValueError(f"{item.name} is {value!r:.80}; give {_words(hints[item.name])}")


def check_least(settings: Any, least: Mapping[str, float]) -> None:
    """Raises ValueError for a field that is below its least value."""
    for name, low in least.items():
        if getattr(settings, name) < low:
            raise ValueError(f"{name} is {getattr(settings, name)}; give {low:g} or more")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type as annotations name it; numbers are finite, and True is none."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if hint in (int, float):
        kind = Integral if hint is int else Real
        return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
    if origin is tuple:
        if not isinstance(value, (tuple, list)):
            return False
        wanted = parts[:1] * len(value) if parts[1:] == (...,) else parts
        return len(value) == len(wanted) and all(map(fits, value, wanted))
    if origin is Sequence:
        return isinstance(value, (tuple, list)) and all(fits(item, parts[0]) for item in value)
    if origin is dict:
        pairs = value.items() if isinstance(value, Mapping) else [(None, None)]
        return all(fits(name, parts[0]) and fits(item, parts[1]) for name, item in pairs)
    return isinstance(value, type(None) if hint is None else hint)


def unknown_names(given: Iterable[Any], known: Collection[str], owner: str) -> str:
    """A message for names that `owner` does not know, with the nearest known one; empty where it knows all."""
    wrong = sorted(str(name) for name in given if name not in known)
    if not wrong:
        return ""
    near = get_close_matches(wrong[0], known, n=1)
    return f"{', '.join(wrong)}; {owner} knows {', '.join(known)}" + (f"; nearest: {near[0]}" if near else "")


def _words(hint: Any) -> str:
    """A type in words."""
    simple = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "nothing"}
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(_words, parts))
    if origin is dict:
        return f"names with values, each {_words(parts[1])}" if parts[1] is not Any else "names with values"
    if origin in (tuple, Sequence):
        count = "" if origin is Sequence or parts[1:] == (...,) else f"{len(parts)} "
        return f"a list of {count}values, each {_words(parts[0])}"
    return simple.get(hint, getattr(hint, "__name__", str(hint)))
