"""What reaches the terminal: names of files come from anywhere, so nothing in them is obeyed, and nothing stops a run.

Control characters are spelt out, and what the terminal's encoding lacks is replaced.
"""

from __future__ import annotations

import logging
import sys
import unicodedata
from collections.abc import Iterable
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from ..restorer import Restorer

_OBEYED = {"Cc", "Zl", "Zp", "Cs"}
"""Unicode's categories of control characters, separators of lines and paragraphs, and halves of surrogates."""

_TURNING = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of the text, so that a name looks like another one."""


def shown(text: object) -> str:
    """A text as one line to be printed: every character that a terminal would obey is spelt out, such as `\\x1b`."""
    return "".join(_spelt(sign) if _is_obeyed(sign) else sign for sign in str(text))


def say(text: object, *, error: bool = False, colour: str | None = None) -> None:
    """Prints one line, `shown`, to the standard output or the standard error."""
    encoding = (sys.stderr if error else sys.stdout).encoding or "utf-8"  # typer takes UTF-8 where it is ASCII
    printable = shown(text).encode(encoding, "backslashreplace").decode(encoding)
    typer.secho(printable, fg=colour, err=error)


def cell(text: object) -> Text:
    """A text as `shown`, for tables and lines of rich, which takes none of it for markup."""
    from rich.text import Text

    return Text(shown(text))


def say_left_out(paths: Iterable[str | Path]) -> None:
    """Prints what the named folders hold and nobody looks into."""
    from ..store.files import left_out

    for line in left_out(paths):
        say(f"left out: {line}", error=True)


def say_licence(model: Restorer) -> None:
    """Prints the licence of weights that others made."""
    if model.licence:
        say(f"licence of {model.name}: {model.licence}", error=True)


class Lines(logging.Handler):
    """Prints what the library logs."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            say(self.format(record), error=True)
        except Exception:
            self.handleError(record)


def print_anything() -> None:
    """Has both streams replace what their encoding lacks, and prints what the library logs."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(Lines())


def _is_obeyed(sign: str) -> bool:
    return sign in _TURNING or unicodedata.category(sign) in _OBEYED


def _spelt(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")
