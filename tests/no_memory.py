"""What Python, numpy and torch raise where no memory is left: on a CPU as raised here, on devices as they word it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

MUCH = 1 << 60


def raised_by(ask: Callable[[], Any]) -> Exception:
    try:
        ask()
    except Exception as error:
        return error.with_traceback(None)
    raise AssertionError("so much memory is here")


NO_MEMORY = {
    "cpu": raised_by(lambda: torch.empty(MUCH, dtype=torch.uint8)),
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "mps": RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB, max allowed: 9.07 GB)."),
    "numpy": raised_by(lambda: np.empty(MUCH, np.uint8)),
    "python": MemoryError(),
}
