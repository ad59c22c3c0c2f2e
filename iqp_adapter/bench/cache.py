"""Scores that were computed before, by the content of the pictures and everything that the score depends on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from ..scoring.score_cache import ScoreCache
from ..store.files import sha256_of

_NO_VALUE = math.inf
"""Stands in the file for a picture that a protocol gives no value; SQLite keeps no NaN."""


class Cache:
    """Keeps a value for every (content, protocol). Every `put` is a transaction, so processes can share the file.

    Args:
        folder: of the benchmark.
    """

    def __init__(self, folder: Path) -> None:
        self._scores = ScoreCache(folder / "scores.sqlite")

    def get(self, content: str, protocol: str) -> float | None:
        """The value; NaN where the protocol gives none, None where it is not known yet."""
        value = self._scores.get(content, protocol)
        return math.nan if value == _NO_VALUE else value

    def put(self, content: str, protocol: str, value: float) -> None:
        self._scores.put(protocol, {content: _NO_VALUE if math.isnan(value) else value})


def content_of(*paths: Path) -> str:
    """The identity of some files in their order."""
    return digest(*(_content(path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths))


def check_unchanged(known: Mapping[Path, str]) -> None:
    """Raises OSError for a file whose content is not the known one any more, as `content_of` gave it."""
    if changed := next((path for path, content in known.items() if content_of(path) != content), None):
        raise OSError(f"{changed} has changed during the run; start the same command again")


def digest(*parts: str) -> str:
    """A hash of texts that differs between ("ab", "c") and ("a", "bc")."""
    return hashlib.sha256(
        "\n".join(hashlib.sha256(part.encode(errors="surrogatepass")).hexdigest() for part in parts).encode()
    ).hexdigest()


@lru_cache(maxsize=1 << 16)
def _content(path: Path, modified: int, size: int) -> str:
    """Reads a file once, as long as it does not change."""
    return sha256_of(path)
