"""Settings as dataclasses: values are of their declared types, and names that do not exist are told the nearest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, get_origin, get_type_hints

from .words import in_short, several

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a number",
    "string": "a text",
    "bool": "true or false",
    "dict": "names with values",
    "sequence": "a list",
    "tuple": "a list",
}
"""What would do, by the first word of an error's type in pydantic."""


def check_types(settings: Any) -> None:
    """Checks every field of a dataclass against its declared type, which may have bounds (`Annotated`) or be a choice.

    Nothing is converted: "3" is no number, True is none either, and numbers are finite.

    Raises:
        ValueError: for the first value that does not fit: its name, what it is, and what would do.
    """
    from pydantic import ValidationError

    hints = get_type_hints(type(settings), include_extras=True)
    for item in fields(settings):
        try:
            _adapter(hints[item.name]).validate_python(getattr(settings, item.name))
        except ValidationError as error:
            raise ValueError(_line(item.name, dict(error.errors()[0]))) from None


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    from pydantic import ConfigDict, Strict, TypeAdapter

    if get_origin(hint) is tuple:
        hint = Annotated[hint, Strict(False)]  # a file has lists
    return TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False))


def _line(name: str, error: Mapping[str, Any]) -> str:
    place = ".".join(map(str, (name, *error["loc"])))
    return f"{place} is {error['input']!r:.80}; {_advice(error)}"


def _advice(error: Mapping[str, Any]) -> str:
    bounds = error.get("ctx", {})
    match error["type"]:
        case "greater_than_equal":
            return f"give {bounds['ge']:g} or more"
        case "greater_than":
            return f"give more than {bounds['gt']:g}"
        case "less_than_equal":
            return f"give {bounds['le']:g} or less"
        case "less_than":
            return f"give less than {bounds['lt']:g}"
        case "literal_error":
            return f"choose from {bounds['expected']}"
    words = _WORDS.get(error["type"].partition("_")[0])
    return f"give {words}" if words else error["msg"]


def unknown_names(given: Iterable[Any], known: Collection[str], owner: str) -> str:
    """A message for names that `owner` does not know, with the nearest known one; empty where it knows all."""
    wrong = sorted(in_short(name) for name in given if name not in known)
    if not wrong:
        return ""
    near = get_close_matches(wrong[0], known, n=1)
    return f"{several(wrong)}; {owner} knows {', '.join(known)}" + (f"; nearest: {near[0]}" if near else "")
