"""Seconds of several ways to do the same work, called in turn, and their ratios round by round."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np

Seconds = dict[str, np.ndarray]
"""By way, one number a round."""


def seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def in_turn(ways: Mapping[str, Callable[[], Any]], rounds: int) -> Seconds:
    """Calls each way once a round (A B C A B C ...), after a round that is not counted."""
    times = np.array([[seconds(call) for call in ways.values()] for _ in range(rounds + 1)])[1:]  # (rounds, ways)
    return dict(zip(ways, times.T, strict=True))


@dataclass
class Calls:
    """Calls of a method.

    Attributes:
        again: makes each of them once more, with the same arguments.
        seconds: that all of them took.
    """

    again: list[Callable[[], Any]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, call: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        try:
            return call()
        finally:
            self.seconds += time.perf_counter() - started
            self.again.append(call)


@contextmanager
def noted(owner: Any, name: str) -> Iterator[Calls]:
    """Within it every call of a method is noted."""
    calls, method = Calls(), getattr(owner, name)
    with patch.object(owner, name, lambda *arguments, **named: calls.add(partial(method, *arguments, **named))):
        yield calls


def ratio(times: np.ndarray, base: np.ndarray) -> dict[str, Any]:
    """Median over rounds of one way's seconds over another's, with its 95 % interval by bootstrap (seed 0)."""
    ratios = times / base
    draws = np.random.default_rng(0).choice(ratios, (10_000, len(ratios)))
    interval = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    return {"ratio": float(np.median(ratios)), "interval": interval.tolist()}
