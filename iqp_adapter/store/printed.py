"""What other packages print, which is for a log and not for the terminal."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def logged(logger: logging.Logger) -> Iterator[io.StringIO]:
    """Keeps what is printed within it from the terminal, hands it out, and logs it at the end."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield printed
    finally:
        logger.debug("%s", printed.getvalue().strip())
