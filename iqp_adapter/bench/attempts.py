"""Restoring picture by picture: one that fails is named in the report, and the others are restored all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..provenance import placeless
from .test_sets import Sample

FAILURES = (OSError, ValueError, TypeError, RuntimeError, FloatingPointError, MemoryError)
"""What restoring a single picture may raise."""


class Failure(NamedTuple):
    """Stands for a picture that could not be restored."""

    reason: str


Work = Callable[[Sequence[Sample]], Iterator[np.ndarray | Failure]]
"""Restores test pictures in their order, (H, W, 3) uint8 each."""


def one_by_one(restore: Callable[[Sample], np.ndarray], samples: Sequence[Sample]) -> Iterator[np.ndarray | Failure]:
    """Restores test pictures, each for itself."""
    for sample in samples:
        try:
            yield restore(sample)
        except FAILURES as error:
            yield Failure(_line(error))


def _line(error: Exception) -> str:
    words = "".join(sign if sign.isprintable() else " " for sign in str(error)).split()
    return placeless(" ".join(words))[:300] or type(error).__name__
