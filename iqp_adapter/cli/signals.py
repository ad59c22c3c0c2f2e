"""Ends a long command in one line when it is told to stop, by Ctrl-C or by a scheduler."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer


class _TerminatedError(BaseException):
    """SIGTERM has come; no handler of errors takes it for one."""


@contextmanager
def stopped_by_signals(advice: str) -> Iterator[None]:
    """Turns Ctrl-C and SIGTERM into one line and the exit status 130 or 143; what is open is cleaned up.

    Args:
        advice: how the command goes on, for the line.
    """
    try:
        with _terminating():
            yield
    except (KeyboardInterrupt, _TerminatedError) as stop:
        typer.echo(f"interrupted; {advice}", err=True)
        raise typer.Exit(130 if isinstance(stop, KeyboardInterrupt) else 143) from None


@contextmanager
def _terminating() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # signals are not taken elsewhere
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(*_: Any) -> None:
    raise _TerminatedError
