"""Results as text: JSON whose numbers keep six digits, and Markdown tables. Files are written whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..store.files import atomic_path
from .intervals import Interval

UTF8: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace"}
"""How files are written; bytes of a file's name that are no UTF-8 become escapes, as in Python and in JSON."""

WIDTH = 120
"""Columns of a line of JSON, its key not counted."""


def six_digits(value: float) -> float:
    return float(f"{value:.6g}")


def six_digits_or_null(value: float) -> float | None:
    """None where the number is not finite: JSON has no word for it."""
    return six_digits(value) if math.isfinite(value) else None


def plain(
    value: Any, interval: Callable[[Interval], Any] = list, number: Callable[[float], Any] = six_digits_or_null
) -> Any:
    """A value in the types that JSON knows; other objects become text.

    Args:
        interval: what an interval becomes; by default mean, low and high.
        number: what a float becomes.
    """
    if isinstance(value, Interval):
        return plain(interval(value), interval, number)
    if isinstance(value, Mapping):
        return {str(key): plain(item, interval, number) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item, interval, number) for item in value]
    value = value.item() if hasattr(value, "item") else value  # a number of numpy or torch
    if isinstance(value, float):
        return number(value)
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def json_text(content: Any) -> str:
    """Content of `plain` as JSON text; objects and lists that fit on a line stand on one.

    Raises:
        ValueError: for a number that is not finite.
    """
    return _lines(content, "") + "\n"


def _lines(value: Any, indent: str) -> str:
    line, inner = json.dumps(value, ensure_ascii=False, allow_nan=False), f"{indent} "
    if not isinstance(value, (dict, list)) or len(indent + line) <= WIDTH:
        return line
    if isinstance(value, dict):
        items = [f"{json.dumps(key, ensure_ascii=False)}: {_lines(item, inner)}" for key, item in value.items()]
    else:
        items = [_lines(item, inner) for item in value]
    return f"{line[0]}\n{inner}" + f",\n{inner}".join(items) + f"\n{indent}{line[-1]}"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes results, intervals as objects.

    Raises:
        ValueError: for a number that is not finite; nothing is written then.
    """
    write_text(path, json_text(plain(content, Interval._asdict, six_digits)))


def write_text(path: Path, text: str) -> None:
    """Writes the file whole or not at all, in a folder that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        partial.write_text(text, **UTF8)


def table(lines: Sequence[Sequence[str]]) -> str:
    """Cells, the header first -> a Markdown table."""
    head, *body = (f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |" for cells in lines)
    return "\n".join([head, f"|{' --- |' * len(lines[0])}", *body])
