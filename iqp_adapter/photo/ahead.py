"""Working ahead: one more thread calls a function for the next things while the caller is busy with earlier ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

Thing = TypeVar("Thing")
Answer = TypeVar("Answer")


def ahead(
    call: Callable[[Thing], Answer], things: Iterable[Thing], has_room: Callable[[Sequence[Thing]], bool]
) -> Iterator[Answer]:
    """The answers for things, in their order; an error is raised in the place of its answer.

    Things are asked for in the caller's thread. The thread calls for one at a time, in a copy of the caller's context,
    and ends with the iterator, which therefore must be closed.

    Args:
        has_room: whether one more may be worked on, given those whose answers were not asked for yet.
    """
    source, given = iter(things), deque[tuple[Thing, Future[Answer]]]()
    pool = ThreadPoolExecutor(1, "iqp-ahead")
    try:
        while True:
            while not given or has_room([thing for thing, _ in given]):
                try:
                    thing = next(source)
                except StopIteration:
                    break
                given.append((thing, pool.submit(copy_context().run, call, thing)))
            if not given:
                return
            yield given.popleft()[1].result()
    finally:
        pool.shutdown(cancel_futures=True)
