"""Hashes of pictures' contents, kept in the cache: a file that has not changed since is not read again."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..store.fetch import cache
from ..store.files import sha256_of
from ..store.words import message_of
from .kept_arrays import read_arrays, write_arrays

logger = logging.getLogger(__name__)

SETTLED = 2 * 10**9
"""Nanoseconds since its last change after which a hash is kept; a younger file may change within the same tick."""

Hashes = dict[bytes, bytes]
"""sha256 of a file's content by that of its path, size and times; 32 bytes each."""


def content_hashes(root: Path, files: Sequence[Path]) -> list[str]:
    """sha256 of every file in hex, in their order; of one with the size and times of a former call, that call's.

    Args:
        root: folder or glob of the files; it has a file of hashes of its own in the cache.

    Raises:
        OSError: for a file that cannot be read.
    """
    place = cache() / "hashes" / f"{_digest(os.path.abspath(root)).hex()[:32]}.npz"
    known, found, settled = _known(place), [], {}
    before = time.time_ns() - SETTLED
    for file in files:
        state, changed = _state(file)
        content = known.get(state) or bytes.fromhex(sha256_of(file))
        found.append(content.hex())
        if changed < before:
            settled[state] = content
    if settled.keys() != known.keys():
        _keep(place, settled)
    return found


def _state(file: Path) -> tuple[bytes, int]:
    """What is seen of a file without reading it, and when it changed last in nanoseconds."""
    seen = file.stat()
    times = (seen.st_mtime_ns, seen.st_ctime_ns)
    return _digest(f"{os.path.abspath(file)}\n{seen.st_size} {times}"), max(times)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _known(place: Path) -> Hashes:
    arrays = read_arrays(place, "states", "contents", check=_check) if place.exists() else None
    return {} if arrays is None else dict(zip(*(map(bytes, rows) for rows in arrays), strict=True))


def _check(*arrays: np.ndarray) -> None:
    if any(rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape != (len(arrays[0]), 32) for rows in arrays):
        raise ValueError("it has no rows of 32 bytes")


def _keep(place: Path, hashes: Mapping[bytes, bytes]) -> None:
    rows = (np.frombuffer(b"".join(column), np.uint8).reshape(-1, 32) for column in (hashes, hashes.values()))
    states, contents = rows  # (N, 32) each
    try:
        write_arrays(place, states=states, contents=contents)
    except OSError as error:
        logger.warning(
            "hashes of pictures cannot be kept (%s); the next start reads all of them again", message_of(error)
        )
