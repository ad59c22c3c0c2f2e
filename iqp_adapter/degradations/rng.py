"""Random draws that belong to a sample, not to a process: (seed, epoch, index) gives the same numbers anywhere.

So a resumed run, one with other workers and one with more processes all see the same pictures.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def sample_seed(seed: int, epoch: int, index: int, *purpose: str | int) -> int:
    """The seed of one sample in one epoch, or of one purpose within it ("ladder", "jitter", ...).

    A hash: equal on every platform, Python version and process; different purposes are independent.

    Returns:
        an integer in [0, 2**63), which fits an int64 tensor.
    """
    text = repr((int(seed), int(epoch), int(index), *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def numpy_rng(seed: int, stream: int = 0) -> np.random.Generator:
    """An own NumPy generator; streams of one seed are independent, and the global state is not touched."""
    return np.random.Generator(np.random.PCG64([seed, stream]))


def torch_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """An own torch generator for one seed; the global state is not touched."""
    return torch.Generator(device).manual_seed(seed)


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Lends a seed to NumPy's and Python's global generators, for functions that draw from nothing else.

    Both states are put back on leaving, also after an error. Each process has its own; threads share them, so
    two threads must not be inside at once.
    """
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
        random.seed(seed)
        yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
