"""Commands run in forked children, so that each costs no start-up, can be killed at any moment, and cannot hang us.

The parent imports everything once and computes nothing, since a fork does not take threads along.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

HANGS_AFTER = 120.0
"""Seconds after which a command hangs; every one here takes a few."""

KILLED = -signal.SIGKILL
TOLD_TO_END = (-signal.SIGTERM, 128 + signal.SIGTERM)
"""Status of a command that got SIGTERM before it could clean up, and after."""

_CHANGES = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.truncate", "os.symlink", "os.rmdir")


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, less than 0 for a signal; None if it hung."""

    status: int | None
    output: str
    seconds: float

    @property
    def traced(self) -> bool:
        return "Traceback (most recent call last)" in self.output or (self.status or 0) not in (
            0,
            1,
            2,
            KILLED,
            *TOLD_TO_END,
        )


@dataclass(frozen=True)
class Kill:
    """When a child is killed, by the clock or just before its n-th change to a folder, and by which signal."""

    after_seconds: float | None = None
    before_change: int | None = None
    number: int = signal.SIGKILL

    @classmethod
    def at_random(cls, rng: Random, seconds: float, changes: int, number: int = signal.SIGKILL) -> Kill:
        """Half of the kills by the clock; the other half where files change, which the clock seldom meets."""
        if rng.random() < 0.5:
            return cls(after_seconds=rng.uniform(0, seconds), number=number)
        return cls(before_change=rng.randint(1, max(1, changes)), number=number)


Work = Callable[[], object]


def run(work: Work, log: Path, kill: Kill = Kill(), watched: Path | None = None) -> Ended:
    """Runs work in a child, with its output in a file."""
    return run_all([(work, log, kill)], watched)[0]


def run_all(jobs: Sequence[tuple[Work, Path, Kill]], watched: Path | None = None) -> list[Ended]:
    """Runs works at once, each in a child of its own, with its output in a file."""
    children = [_Child(work, log, kill, watched) for work, log, kill in jobs]
    while not all([child.has_ended() for child in children]):
        time.sleep(0.002)
    return [child.ended() for child in children]


class _Child:
    """Work in a process of its own."""

    def __init__(self, work: Work, log: Path, kill: Kill, watched: Path | None) -> None:
        self.log, self.kill = log, kill
        self.started = time.perf_counter()
        self.hangs_after = HANGS_AFTER + (kill.after_seconds or 0)
        self.status: int | None = None
        self.seconds: float | None = None
        self.number = os.fork()
        if self.number == 0:
            _become(work, log, kill, watched)

    def has_ended(self) -> bool:
        """Whether it has ended by now; kills it when its time has come."""
        if self.seconds is not None:
            return True
        seconds = time.perf_counter() - self.started
        done, status = os.waitpid(self.number, os.WNOHANG)
        if done:
            self.status, self.seconds = os.waitstatus_to_exitcode(status), seconds
        elif seconds > self.hangs_after:
            os.kill(self.number, signal.SIGKILL)
            os.waitpid(self.number, 0)
            shutil.copy(self.log, self.log.with_suffix(".hang"))  # says where it hung
            self.seconds = seconds
        elif self.kill.after_seconds is not None and seconds > self.kill.after_seconds:
            os.kill(self.number, self.kill.number)
            self.kill = Kill()
        return self.seconds is not None

    def ended(self) -> Ended:
        assert self.seconds is not None
        return Ended(self.status, self.log.read_text(errors="replace"), self.seconds)


def iqp(*words: object) -> Callable[[], object]:
    """A command line as work."""
    from iqp_adapter.cli import app

    return lambda: app([str(word) for word in words])


def changes_of(work: Callable[[], object], log: Path, watched: Path) -> tuple[Ended, int]:
    """Runs work undisturbed, and counts its changes to a folder."""
    counted = log.with_suffix(".changes")
    counted.write_bytes(b"")

    def counting() -> None:
        with _before_change(watched, lambda: counted.open("ab").write(b".")):
            work()

    ended = run(counting, log)
    return ended, counted.stat().st_size


def bound_memory(further: int) -> None:
    """This process gets at most so many bytes more than it has."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + further, used + further))


def _become(work: Callable[[], object], log: Path, kill: Kill, watched: Path | None) -> None:
    """Turns this child into the command; does not return."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    faulthandler.dump_traceback_later(HANGS_AFTER - 10, file=2)
    status = 70
    try:
        if kill.before_change is not None and watched is not None:
            left = iter(range(kill.before_change - 1, -1, -1))
            with _before_change(watched, lambda: next(left, 1) or os.kill(os.getpid(), kill.number)):
                work()
        else:
            work()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@contextmanager
def _before_change(folder: Path, call: Callable[[], object]) -> Iterator[None]:
    """Calls before every change to a file in a folder: opened to write, renamed, linked, removed."""
    active, place = True, str(folder)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if not active or (event != "open" and event not in _CHANGES):
            return
        reads = event == "open" and not _writes(arguments)
        if not reads and any(
            isinstance(path, (str, os.PathLike)) and str(path).startswith(place) for path in arguments
        ):
            call()

    sys.addaudithook(hook)
    try:
        yield
    finally:
        active = False


def _writes(arguments: tuple[object, ...]) -> bool:
    mode, flags = arguments[1], arguments[2]
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
