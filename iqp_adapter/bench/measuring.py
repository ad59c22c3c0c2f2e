"""What judging files and judging pictures in memory share: loading a protocol, and values that come again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from ..degradations.rng import global_seed
from ..store.words import message_of
from .protocols import Measure


class NotRunError(Exception):
    """A protocol cannot be run here; the message says why."""


@contextmanager
def not_run_on(*errors: type[Exception]) -> Iterator[None]:
    """Turns these errors into NotRunError, with the reason in one line."""
    try:
        yield
    except errors as error:
        raise NotRunError(_line(error)) from error


@torch.no_grad()
def values_of(measure: Measure, restored: Tensor, reference: Tensor, names: Sequence[str] = ()) -> Tensor:
    """The values (B,) of pictures (B, 3, H, W).

    Metrics that draw patches draw the same ones every time, and the global generators stay as they were.
    """
    with global_seed(0), torch.random.fork_rng():
        torch.manual_seed(0)
        return measure.values(restored, reference, names)


def _line(error: Exception) -> str:
    """An error in one line, without the name of this user's home."""
    return message_of(error).replace(str(Path.home()), "~")
