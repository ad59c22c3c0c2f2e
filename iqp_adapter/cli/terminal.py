"""What reaches the terminal: names of files come from anywhere, so nothing in them is obeyed, and nothing stops a run.

Control characters are spelt out, and what the terminal's encoding lacks is replaced.
"""

from __future__ import annotations

import json
import logging
import sys
import unicodedata
from collections.abc import Iterable
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn
    from rich.text import Text

    from ..restorer import Restorer

_OBEYED = {"Cc", "Zl", "Zp", "Cs"}
"""Unicode's categories of control characters, separators of lines and paragraphs, and halves of surrogates."""

_TURNING = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of the text, so that a name looks like another one."""


_voice = logging.getLogger("iqp")
"""Its level is how much a command says: ERROR is quiet, INFO verbose, DEBUG with traces; else WARNING."""

_UNCUT = 10_000
"""Characters in a line of a table that nobody reads on a terminal."""


def shown(text: object) -> str:
    """A text as one line to be printed: every character that a terminal would obey is spelt out, such as `\\x1b`."""
    return "".join(_spelt(sign) if _is_obeyed(sign) else sign for sign in str(text))


def speak(quiet: bool = False, verbose: bool = False, debug: bool = False) -> None:
    """Sets how much a command says; without any of these, what earlier words of the same command asked for stays."""
    if quiet and (verbose or debug):
        raise ValueError("--quiet takes neither --verbose nor --debug; leave one out")
    if quiet or verbose or debug:
        _voice.setLevel(logging.ERROR if quiet else logging.DEBUG if debug else logging.INFO)
    logging.getLogger("iqp_adapter").setLevel(_voice.level)


def is_quiet() -> bool:
    """Whether results and errors alone are printed."""
    return _voice.level > logging.WARNING


def is_debugging() -> bool:
    """Whether errors are shown with their trace."""
    return _voice.level <= logging.DEBUG


def progress(*columns: str | ProgressColumn, **options: Any) -> Progress:
    """Bars of progress, which a quiet command has not."""
    from rich.progress import Progress

    return Progress(*columns, **{"disable": is_quiet(), **options})


def console() -> Console:
    """What prints tables: as wide as the terminal; elsewhere as wide as they are, so that nothing is cut."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=_UNCUT)


def say(text: object, *, error: bool = False, colour: str | None = None) -> None:
    """Prints one line, `shown`, to the standard output or the standard error; a quiet command prints errors alone."""
    if is_quiet() and colour != "red":
        return
    encoding = (sys.stderr if error else sys.stdout).encoding or "utf-8"  # typer takes UTF-8 where it is ASCII
    printable = shown(text).encode(encoding, "backslashreplace").decode(encoding)
    typer.secho(printable, fg=colour, err=error)


def cell(text: object) -> Text:
    """A text as `shown`, for tables and lines of rich, which takes none of it for markup."""
    from rich.text import Text

    return Text(shown(text))


STANDARD_OUTPUT = Path("-")


def put_json(place: Path, content: Any) -> None:
    """Writes a report into a new file, or prints it where the place is `STANDARD_OUTPUT`.

    Raises:
        FileExistsError: where there is a file already.
    """
    from ..store.files import atomic_path, put_new

    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    if place == STANDARD_OUTPUT:
        sys.stdout.write(text)
        return
    with atomic_path(place, put_new) as partial:
        partial.write_text(text, encoding="utf-8")


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
    _voice.setLevel(logging.WARNING)
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(Lines())


def _is_obeyed(sign: str) -> bool:
    return sign in _TURNING or unicodedata.category(sign) in _OBEYED


def _spelt(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")
