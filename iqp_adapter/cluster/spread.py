"""Work that Ray Data spreads: one actor a device makes its worker once, and is given a few rows at a time.

An actor that dies with its machine is started again where there is room, and what it was at is given out again, as
often as it takes: that is what Ray Data does by default. No more rows are on their way than actors can take.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import re
import signal
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..store.words import message_of

logger = logging.getLogger(__name__)

Row = Any
"""What JSON holds: so that it reaches an actor whatever the names of files are."""

Worker = Callable[[Sequence[Row]], Iterator[Row]]

LOCAL, AUTO = "local", "auto"

ROWS, PARTS = 32, 8
"""Rows that an actor is given at once, at most, and parts that there are for each actor, at least."""


def spread(
    rows: Sequence[Row], make: Callable[[], Worker], address: str, actors: int | None = None, gpu: bool = True
) -> Generator[Row, None, None]:
    """What workers give for the rows, as it comes, in any order.

    Args:
        make: makes a worker in an actor, whose current folder is the caller's, where its machine has it; it is pickled.
        address: "local" starts Ray on this machine, for as long as this lasts; "auto" takes the cluster that this
            machine belongs to, "HOST:PORT" another one. Where this process is connected to a cluster already, it is
            used.
        actors: how many at most; by default one for each GPU of the cluster, and without one, one for each machine.
        gpu: whether actors take GPUs, where the cluster has some.

    Raises:
        ImportError: without the extra `ray`.
        ValueError: for an address of another form.
        ConnectionError: where no cluster is at the address.
        Exception: what a worker raises.
    """
    _refuse_address(address)
    ray = _imported()
    with _connected(ray, address):
        size = _size(ray.nodes(), actors, gpu)
        given = [{"row": json.dumps(row)} for row in rows]
        parts = min(len(rows), max(-(-len(rows) // ROWS), PARTS * size.actors))
        done = ray.data.from_items(given, override_num_blocks=parts).map_batches(
            _Actor,
            fn_constructor_args=(make, os.getcwd()),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=size.actors, max_size=size.actors),
            num_cpus=size.cpus,
            num_gpus=size.gpus,
        )
        for answer in done.iter_rows():
            if answer["error"]:
                raise pickle.loads(answer["error"])
            yield json.loads(answer["row"])


class _Actor:
    """A worker in a process of its own."""

    def __init__(self, make: Callable[[], Worker], folder: str) -> None:
        with contextlib.suppress(OSError):  # a machine that lacks the caller's folder is told absolute names
            os.chdir(folder)
        self._make = make
        self._worker: Worker | None = None

    def __call__(self, part: dict[str, Any]) -> Iterator[dict[str, list[Any]]]:
        """What the worker gives; an error travels as it is, since Ray would add its own words."""
        try:
            self._worker = self._worker or self._make()  # not before: Ray makes an actor again that cannot be made
            for row in self._worker([json.loads(row) for row in part["row"]]):
                yield {"row": [json.dumps(row)], "error": [b""]}
        except Exception as error:
            logger.exception("the worker failed")
            yield {"row": [""], "error": [_packed(error)]}


def _packed(error: Exception) -> bytes:
    """An error for another process; its words alone, where it is of a kind that does not travel."""
    try:
        pickle.loads(packed := pickle.dumps(error))
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return packed


class Size(NamedTuple):
    """How many actors there are at first, and what each takes of its machine."""

    actors: int
    cpus: int
    gpus: int


def _size(nodes: Sequence[dict[str, Any]], actors: int | None, gpu: bool) -> Size:
    """One actor a GPU, or else one a machine; they share the processors of their machine."""
    if actors is not None and actors < 1:
        raise ValueError(f"actors is {actors}; give 1 or more")
    machines = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    with_gpu = [machine for machine in machines if gpu and machine.get("GPU", 0) >= 1]
    if not machines:
        raise ValueError("no machine of the cluster has a processor to give; add one by `ray start --num-cpus`")
    used = with_gpu or machines
    devices = [int(machine["GPU"]) if with_gpu else 1 for machine in used]
    share = min(machine["CPU"] // number for machine, number in zip(used, devices, strict=True))
    wanted = actors or sum(devices)
    if not with_gpu:
        share = min(share, sum(machine["CPU"] for machine in used) // wanted)
    return Size(wanted, max(1, int(share)), 1 if with_gpu else 0)


def _refuse_address(address: str) -> None:
    if address not in (LOCAL, AUTO) and not re.fullmatch(r"[^\s/:]+:\d{1,5}", address):
        raise ValueError(f"the address of Ray is {address!r}; give {LOCAL}, {AUTO} or HOST:PORT")


def _imported() -> Any:
    """Ray, without its statistics of usage, and without what its core prints."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_worker_niceness", "0")  # actors do what this process would do: they do not stand back
    try:
        import ray
        import ray.data
    except ImportError:
        raise ImportError("work on Ray needs a further package: pip install 'iqp_adapter[ray]'") from None
    return ray


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """A connection to a cluster, which is ended unless it was there before."""
    has_one = ray.is_initialized()
    with _quiet(ray):
        if not has_one:
            _connect(ray, address)
        try:
            yield
        finally:
            if not has_one:
                ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    """Raises ConnectionError where no cluster answers; Ray itself would try for minutes."""
    try:
        if address not in (LOCAL, AUTO):
            host, port = address.split(":")
            socket.create_connection((host, int(port)), _PATIENCE).close()
        with _kept_signal(), _no_stderr():
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (OSError, OverflowError) as error:
        raise ConnectionError(
            f"no Ray cluster answers at {address} ({message_of(error):.120}); start one by `ray start "
            f"--head`, or give {LOCAL}"
        ) from None


_PATIENCE = 5.0
"""Seconds in which the head of a cluster answers."""


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Keeps the lines and bars of Ray off the terminal."""
    context = ray.data.DataContext.get_current()
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
    levels, bars = [each.level for each in loggers], context.enable_progress_bars
    for each in loggers:
        each.setLevel(logging.CRITICAL)
    context.enable_progress_bars = False
    try:
        yield
    finally:
        context.enable_progress_bars = bars
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


@contextmanager
def _kept_signal() -> Iterator[None]:
    """Puts back what SIGTERM does in this process, which Ray changes."""
    kept = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, kept)


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Keeps off the terminal what the core of Ray, which is no Python, says of its settings."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
