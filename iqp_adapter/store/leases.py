"""Leases: several runs share the work on one folder, on one machine or on many, and each thing is done by one of them.

A lease is a file with a holder's name, made by exclusive creation, which is one step on local file systems and on
network ones (NFS since version 3, SMB). The holder touches it every now and then. Who sees it unchanged for `LIFETIME`
seconds by its own clock takes it over, so that no two clocks have to agree; a holder on the same machine is known to
be dead by its process, at once. All this is the work of `filelock`.

What is relied on: files that one machine makes are seen by the others within seconds; machines have host names of
their own. A holder that stood still for longer than `LIFETIME`, as on a machine that was suspended, loses its lease,
and `holds` says so. Then a thing may be begun twice; what it leaves has to be harmless.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLease, SoftFileLock, Timeout

LIFETIME = 90.0
"""Seconds; longer than network file systems keep a file's time for a machine that looks at it again."""

_RUN, _ALONE = "run", "alone"
_POLL = 0.01


class Leases:
    """The leases of a run, to be used as a context, at whose end all are given back and the folder is removed.

    Args:
        folder: of the leases, whose parent is there.
        work: tells apart what runs do; two that do different things are kept from the same folder.
    """

    def __init__(self, folder: Path, work: str) -> None:
        self.folder = folder
        self._work = work
        self._held: dict[str, SoftFileLease] = {}
        self._others: dict[str, SoftFileLease] = {}
        """Leases of others, each in the object that has seen since when it is unchanged."""

    def __enter__(self) -> Leases:
        """Raises BlockingIOError where a run with other work is at the folder."""
        self._run = self._begun()
        try:
            self._refuse_other_work()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for name in list(self._held):
            self.release(name)
        self._end()

    def take(self, name: str) -> bool:
        """Whether the thing of that name is this run's from now on; false while it is another's."""
        lease = self._others.pop(name, None) or self._lease(hashlib.sha256(os.fsencode(name)).hexdigest()[:24])
        is_taken = self._acquire(lease)
        (self._held if is_taken else self._others)[name] = lease
        return is_taken

    def take_over(self, name: str) -> bool:
        """As `take`; where the lease looks like that of a dead holder, waits until it is known whether it is one."""
        end = time.monotonic() + LIFETIME + _TOUCHED
        while not self.take(name):
            if time.monotonic() > end or not _is_old(Path(self._others[name].lock_file), self._now()):
                return False
            time.sleep(_POLL)
        return True

    def holds(self, name: str) -> bool:
        """Whether a thing that was taken is still this run's."""
        lease = self._held[name]
        return lease.is_locked and lease.compromise is None

    def release(self, name: str) -> None:
        """Gives a thing back that was taken, and forgets one that another has done."""
        self._others.pop(name, None)
        if lease := self._held.pop(name, None):
            lease.release()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Waits until no other run is in such a block, which is far shorter than `LIFETIME`, so that nobody touches."""
        lock = SoftFileLock(self.folder / f"{_ALONE}.lock", thread_local=False)
        while not self._acquire(lock):
            time.sleep(_POLL)
        try:
            yield
        finally:
            lock.release()

    # -- runs

    def _begun(self) -> SoftFileLease:
        while True:
            self.folder.mkdir(exist_ok=True)
            run = self._lease(f"{_RUN}-{self._work}-{secrets.token_hex(4)}")
            with contextlib.suppress(FileNotFoundError):  # another run has just ended and removed the folder
                run.acquire()
                return run

    def _refuse_other_work(self) -> None:
        now = self._now()
        for path in self._runs():
            if not path.name.startswith(f"{_RUN}-{self._work}-") and self._is_alive(path, now):
                owner = self._lease(path.stem).owner
                who = f" (process {owner.pid} on {owner.hostname})" if owner is not None else ""
                raise BlockingIOError(
                    f"{self.folder.parent} is being written by a run with other options or weights{who}; wait for its "
                    f"end, or choose another output"
                )

    def _runs(self) -> list[Path]:
        return sorted(self.folder.glob(f"{_RUN}-*.lock"))

    def _end(self) -> None:
        """Ends the run; the last one removes what killed runs left, and the folder."""
        now = self._now()
        self._run.release()
        with contextlib.suppress(FileNotFoundError):  # another run ended just now
            if not any([self._is_alive(path, now) for path in self._runs()]):
                for path in self.folder.iterdir():
                    if path.suffix != ".lock" or not path.stat().st_size or not self._is_alive(path, now):
                        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it is gone, or another run is at it
            self.folder.rmdir()

    def _is_alive(self, path: Path, now: float) -> bool:
        """Whether a lease is somebody's; one that is nobody's is removed."""
        lease = self._lease(path.stem)
        if not self._acquire(lease):
            if not _is_old(path, now):
                return True
            lease.break_lock()
        lease.release()
        return False

    # -- files

    def _lease(self, name: str) -> SoftFileLease:
        return SoftFileLease(
            self.folder / f"{name}.lock", lease_duration=LIFETIME, heartbeat_interval=_TOUCHED, thread_local=False
        )

    def _acquire(self, lock: SoftFileLock) -> bool:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            path = Path(lock.lock_file)
            is_judged = isinstance(lock, SoftFileLease) and not _is_empty(path)  # by filelock itself
            if is_judged or not _is_old(path, self._now()):
                return False
            lock.break_lock()
            return self._acquire(lock)
        return True

    def _now(self) -> float:
        """The time by the clock of the file system; long ago where the run's own file is gone, so that none is old."""
        with contextlib.suppress(OSError):
            os.utime(self._run.lock_file)
            return os.stat(self._run.lock_file).st_mtime
        return -math.inf


def _is_empty(path: Path) -> bool:
    """Whether its holder died between making the file and writing into it, so that nobody can tell whose it is."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size == 0
    return False


def _is_old(path: Path, now: float) -> bool:
    """Whether a file was not touched for longer than leases last."""
    with contextlib.suppress(FileNotFoundError):
        return now - path.stat().st_mtime > LIFETIME
    return False


_TOUCHED = 20.0
"""Seconds between two touches of a lease by its holder."""
