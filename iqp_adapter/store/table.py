"""Tables as CSV files that are safe to open in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from os import replace
from pathlib import Path
from typing import Any

from .files import atomic_path, spelt

_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def write_csv(path: Path, rows: Iterable[Iterable[Any]], put: Callable[[Path, Path], None] = replace) -> None:
    """Writes rows, in UTF-8, whole or not at all, with every cell `harmless`.

    Args:
        put: as for `atomic_path`; `put_new` replaces no file.

    Raises:
        OSError: where the file cannot be written.
    """
    with atomic_path(path, put) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([harmless(cell) for cell in row] for row in rows)


def harmless(cell: Any) -> Any:
    """The cell; a text that a spreadsheet would run as a formula gets an apostrophe in front. Numbers stay."""
    if not isinstance(cell, (str, Path)):
        return cell
    text = spelt(str(cell))
    return f"'{text}" if text.startswith(_STARTS_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
