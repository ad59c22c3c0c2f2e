"""Scores kept in a file, by content of the picture and protocol of the metric."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

_NAME = "scores_2"
"""Earlier versions, which misread 16-bit, floating-point and CMYK files, used a table `scores`."""

_TABLE = f"""CREATE TABLE IF NOT EXISTS {_NAME} (
    content TEXT, protocol TEXT, score REAL NOT NULL, PRIMARY KEY (content, protocol)
) WITHOUT ROWID"""

logger = logging.getLogger(__name__)


class ScoreCache:
    """Stores scores in one SQLite file, by the content of the image (sha256) and the protocol of the metric.

    Every `put` is a transaction: after a crash or a full disk the file still has all earlier scores. Several processes
    may share the file. Where the file fails later (full disk, damage, a lock), one warning says so, and no more scores
    are looked up or kept.

    Attributes:
        keeps: whether scores are kept on disk.

    Args:
        path: the file, created if it is missing; ":memory:" stores nothing on disk.

    Raises:
        OSError: if the file cannot be opened or is no score cache.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self._works = True
        try:
            if path != ":memory:":
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60)
            self._refuse_foreign()
            self._database.execute(_TABLE)
        except (sqlite3.Error, OSError) as error:
            raise OSError(f"{path} does not open as a score cache ({error}); name another file or remove it") from error

    def __enter__(self) -> ScoreCache:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    @property
    def keeps(self) -> bool:
        return self._works and self.path != ":memory:"

    def get(self, content: str, protocol: str) -> float | None:
        """The cached score, or None."""
        rows = self._run(f"SELECT score FROM {_NAME} WHERE content = ? AND protocol = ?", (content, protocol))
        return next((score for (score,) in rows if isinstance(score, float)), None)

    def all(self) -> dict[str, dict[str, float]]:
        """Every cached score, by protocol and content."""
        found: dict[str, dict[str, float]] = {}
        for content, protocol, score in self._run(f"SELECT content, protocol, score FROM {_NAME}", ()):
            if isinstance(score, float):
                found.setdefault(str(protocol), {})[str(content)] = score
        return found

    def put(self, protocol: str, scores: dict[str, float]) -> None:
        """Stores scores by content, all or none of them."""
        rows = [(content, protocol, score) for content, score in scores.items()]
        self._run(f"INSERT OR REPLACE INTO {_NAME} VALUES " + ", ".join(["(?, ?, ?)"] * len(rows)), sum(rows, ()))

    def _run(self, command: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        if not self._works:
            return []
        try:
            with self._database:
                return self._database.execute(command, values).fetchall()
        except sqlite3.Error as error:
            self._works = False
            logger.warning(
                "the score cache %s fails (%s): scores are no longer kept; name another file", self.path, error
            )
            return []

    def _refuse_foreign(self) -> None:
        tables = {name for (name,) in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and not tables & {"scores", _NAME}:
            raise OSError(f"it is a database of something else, with {', '.join(sorted(tables)):.60}")
