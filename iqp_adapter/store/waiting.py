"""Calls that ask a server: given up when nothing comes any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from threading import Thread
from typing import Any, TypeVar

Result = TypeVar("Result")

ANSWER, BLOCK = 60, 600
"""Seconds until something comes at first, and then until more comes. The Hub's client writes blocks of 10 MB."""


def patiently(
    call: Callable[[], Result], arrived: Callable[[], Any] = lambda: None, answer: float | None = None
) -> Result:
    """The result of a call that asks a server, however slowly the server speaks.

    The call runs in a thread of its own: the client's time limits are for a single read, so that a byte now and then
    keeps it waiting for ever. A call that is given up is left alone and ends with the process.

    Args:
        call: what asks.
        arrived: tells what has come so far; another value than before means that more has come.
        answer: seconds until something comes; by default `ANSWER`.

    Raises:
        TimeoutError: if nothing comes for too long; besides what the call raises.
    """
    future: Future[Result] = Future()
    Thread(target=copy_context().run, args=(_run, call, future), daemon=True).start()
    seen, since, limit = arrived(), time.monotonic(), ANSWER if answer is None else answer
    while not wait([future], timeout=min(0.5, limit)).done:
        if (now := arrived()) != seen:
            seen, since, limit = now, time.monotonic(), BLOCK
        elif time.monotonic() - since > limit:
            raise TimeoutError(f"nothing more came for {limit:g} seconds")
    return future.result()


def _run(call: Callable[[], Result], future: Future[Result]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # it is raised where the result is asked for
        future.set_exception(error)
