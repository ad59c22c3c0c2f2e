"""Calls that ask a server: their result, their error, or an end to the waiting."""

from __future__ import annotations

import itertools
import time

import pytest

from iqp_adapter.store import waiting
from iqp_adapter.store.waiting import patiently


def test_a_result_and_an_error_come_through():
    assert patiently(lambda: 3) == 3
    with pytest.raises(KeyError, match="oh"):
        patiently(lambda: {}["oh"])
    with pytest.raises(TimeoutError, match="of its own"):
        patiently(lambda: (_ for _ in ()).throw(TimeoutError("of its own")))


def test_nothing_is_waited_for_without_end():
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="nothing more came for 0.2 seconds"):
        patiently(lambda: time.sleep(30), answer=0.2)
    assert time.monotonic() - start < 5


def test_as_long_as_something_comes_it_is_waited_for(monkeypatch):
    monkeypatch.setattr(waiting, "BLOCK", 0.3)
    assert patiently(lambda: time.sleep(1) or "all", itertools.count().__next__, answer=0.1) == "all"
    came = iter([0, 1])
    with pytest.raises(TimeoutError, match="0.3 seconds"):
        patiently(lambda: time.sleep(30), lambda: next(came, 1), answer=0.1)
