"""A command that is told to stop, by Ctrl-C or by a scheduler, cleans up and ends in one line."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from .terminal import say


class Stopped(KeyboardInterrupt):
    """A signal by which systems end a process; whatever cleans up on Ctrl-C does so here, too."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Has the signals by which systems end a process raise `Stopped`, so that it cleans up; once is enough."""
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # in a copy of the process, such as a worker
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for each in taken:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    wanted = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    taken = [number for number in wanted if signal.getsignal(number) is signal.SIG_DFL and _in_main_thread()]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def stopped_by_signals(advice: str) -> Iterator[None]:
    """Turns Ctrl-C and such signals into one line, which says how the command goes on, and the usual exit status."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise ended(stop, f"interrupted; {advice}") from None


def ended(stop: KeyboardInterrupt, line: str) -> typer.Exit:
    """Prints why the command ends; its exit status: 130 for Ctrl-C, 143 for SIGTERM."""
    say(line, error=True)
    return typer.Exit(128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT))


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
