"""Random draws that depend on the sample alone: (seed, epoch, index) gives the same numbers everywhere.

A resumed run, a run with other workers and a run with more processes therefore see the same pictures.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def sample_seed(seed: int, epoch: int, index: int, *purpose: str | int) -> int:
    """The seed of one sample in one epoch, or of one of its purposes ("ladder", "jitter", ...).

    It is a hash, equal on every platform, Python version and process. Different purposes are independent.

    Returns:
        an integer in [0, 2**63), which fits an int64 tensor.
    """
    text = repr((int(seed), int(epoch), int(index), *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def numpy_rng(seed: int, stream: int = 0) -> np.random.Generator:
    """A new NumPy generator; streams of one seed are independent. Leaves the global generator alone."""
    return np.random.Generator(np.random.PCG64([seed, stream]))


def legacy_rng(seed: int) -> np.random.RandomState:
    """A new generator of the kind that NumPy's global one is, for draws that other code makes by that."""
    return np.random.RandomState(_halves(seed))


def torch_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A new torch generator. Leaves the global generator alone."""
    return torch.Generator(device).manual_seed(seed)


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seeds NumPy's and Python's global generators within the block, for functions that use only these.

    Restores both states afterwards, also after an error. Threads of a process share these generators, so only one
    thread at a time may be inside the block.
    """
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        np.random.seed(_halves(seed))
        random.seed(seed)
        yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def _halves(seed: int) -> list[int]:
    return [seed & 0xFFFFFFFF, seed >> 32]
