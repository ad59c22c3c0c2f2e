"""Asking for many things at once, so that one that fails costs the others nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor

from ..store.words import message_of, wants_memory

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


def answers(ask: Callable[[Sequence[Item]], Tensor], items: Sequence[Item]) -> list[Tensor | Exception]:
    """One answer for each of N items; the answer for an item that cannot be asked for is its error.

    Where asking for all fails, each half is asked for by itself, and so on: this finds the item at fault, and the
    number of items that the memory holds.

    Args:
        ask: items -> (N, ...).
    """
    if not items:
        return []
    try:
        return _one_each(ask(items), items)
    except Exception as error:
        if len(items) == 1:
            logger.debug("failed: %s", items[0], exc_info=True)
            return [error.with_traceback(None)]
    half = len(items) // 2
    return answers(ask, items[:half]) + answers(ask, items[half:])


def reason(error: Exception) -> str:
    """What went wrong, in one short line that names the kind of error."""
    if wants_memory(error):
        return "no memory for even one face at once; use another device or a smaller model"
    return f"{type(error).__name__}: {message_of(error):.{_LONGEST}}" if str(error).strip() else type(error).__name__


_LONGEST = 200


def _one_each(found: Tensor, items: Sequence[Item]) -> list[Tensor | Exception]:
    if not isinstance(found, Tensor) or found.ndim == 0 or len(found) != len(items):
        given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise TypeError(f"gave {given}, expected a tensor of {len(items)}, one for each face")
    return list(found)
