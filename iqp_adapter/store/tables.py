"""What files and terminals can hold: cells of a table for a spreadsheet, and texts to be shown."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

_FORMULA = ("=", "+", "-", "@")


def csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: texts that begin like one get an apostrophe."""
    if not isinstance(value, (str, PurePath)):
        return value
    text = shown(str(value))
    return f"'{text}" if text.startswith(_FORMULA) else text


def shown(text: str, encoding: str = "utf-8") -> str:
    r"""A text without control characters and without what an encoding lacks, which become escapes such as \x1b."""
    plain = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return plain.encode(encoding, "backslashreplace").decode(encoding)
