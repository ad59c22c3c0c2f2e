"""Files with arrays that are made once and kept; a damaged one is left out with a warning, and made again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..store.files import atomic_path

logger = logging.getLogger(__name__)


def write_arrays(path: Path, **arrays: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as made:
        np.savez(made, **arrays)


def read_arrays(
    path: Path, *names: str, check: Callable[..., None] = lambda *arrays: None
) -> tuple[np.ndarray, ...] | None:
    """What a file holds, whose checksums numpy compares; None for a damaged one.

    Args:
        names: of its arrays.
        check: of their values; raises ValueError for arrays that cannot be right.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = tuple(file[name] for name in names)
        check(*arrays)
    except (BadZipFile, OSError, ValueError, KeyError, EOFError) as error:
        logger.warning("%s is damaged (%s); what it holds is made again", path, error)
        return None
    return arrays
