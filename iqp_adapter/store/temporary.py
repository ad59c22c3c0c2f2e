"""Temporary files: hidden names that say who writes, so that what a killed process left behind is known and removed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from functools import lru_cache
from pathlib import Path

_OURS = re.compile(r"\.iqp-(?P<machine>[0-9a-f]{8})-(?P<process>\d{1,9})-[0-9a-f]{12}(\.[^.]*)?", re.DOTALL)
_LONGEST_SUFFIX = 16
_DAY = 86_400.0


def temporary_name(name: str) -> str:
    """A new hidden name, short, with the same suffix, since many writers choose the format by it."""
    suffix = Path(name).suffix
    kept = suffix if len(os.fsencode(suffix)) <= _LONGEST_SUFFIX else ""
    return f".iqp-{_machine()}-{os.getpid()}-{secrets.token_hex(6)}{kept}"


def remove_strays(folder: Path) -> None:
    """Removes the temporary files and folders that killed processes left in a folder.

    What a living process of this machine writes stays, as does what another machine wrote in the last day.
    """
    for path in folder.iterdir():
        match = _OURS.fullmatch(path.name)
        if match is not None:
            with contextlib.suppress(FileNotFoundError):  # it has got its name, or another process was faster
                if path.is_symlink() or not _is_left(path, match):
                    continue
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.is_file():
                    path.unlink()


@lru_cache(maxsize=256)
def remove_strays_once(folder: Path) -> None:
    """As `remove_strays`, the first time that this process asks for it; a folder that cannot be listed has none."""
    with contextlib.suppress(PermissionError):
        remove_strays(folder)


def _is_left(path: Path, match: re.Match[str]) -> bool:
    if match["machine"] == _machine() and os.name == "posix":
        return not _is_alive(int(match["process"]))
    return time.time() - path.stat().st_mtime > _DAY


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@lru_cache(maxsize=1)
def _machine() -> str:
    """Tells apart machines, their starts, and containers, in each of which numbers of processes mean something else."""
    marks = [platform.node()]
    for read in (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text("ascii"),
        lambda: os.readlink("/proc/self/ns/pid"),
    ):
        with contextlib.suppress(OSError):  # Linux alone has them
            marks.append(read())
    return hashlib.sha256("\n".join(marks).encode(errors="replace")).hexdigest()[:8]
