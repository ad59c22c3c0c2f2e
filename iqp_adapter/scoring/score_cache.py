"""Scores of image files, cached by content: a second run, or one after a crash, scores only new files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..pictures import read_tensor
from ..store.files import sha256_of
from .scorer import Scorer

_TABLE = """CREATE TABLE IF NOT EXISTS scores (
    content TEXT, protocol TEXT, score REAL NOT NULL, PRIMARY KEY (content, protocol)
) WITHOUT ROWID"""


class ScoreCache:
    """Stores scores in one SQLite file, by the content of the image (sha256) and the protocol of the metric.

    Every `put` is a transaction: after a crash or a full disk the file still has all earlier scores. Several processes
    may share the file.

    Args:
        path: the file, created if it is missing; ":memory:" stores nothing on disk.

    Raises:
        OSError: if the file cannot be opened or is no score cache.
    """

    def __init__(self, path: str | Path) -> None:
        if path != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = sqlite3.connect(path, timeout=60)
            self._database.execute(_TABLE)
        except sqlite3.Error as error:
            raise OSError(f"{path} does not open as a score cache ({error}); name another file or remove it") from error

    def __enter__(self) -> ScoreCache:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def get(self, content: str, protocol: str) -> float | None:
        """The cached score, or None."""
        row = self._database.execute(
            "SELECT score FROM scores WHERE content = ? AND protocol = ?", (content, protocol)
        ).fetchone()
        return row[0] if row else None

    def put(self, protocol: str, scores: dict[str, float]) -> None:
        """Stores scores by content, all or none of them."""
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO scores VALUES (?, ?, ?)",
                [(content, protocol, score) for content, score in scores.items()],
            )


@dataclass
class FileScores:
    """The scores of one file by metric; `error` is one line that says why some are missing."""

    path: Path
    content: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    error: str = ""


def score_files(
    paths: Iterable[Path], scorers: Sequence[Scorer], cache: ScoreCache, batch: int = 8
) -> Iterator[FileScores]:
    """Scores files in their order, neighbours of one size in one batch; memory does not grow with their number.

    Args:
        paths: image files. A file that cannot be read or scored gets an `error`, and the next one is scored.
        scorers: the metrics.
        cache: of scores; new ones are stored at once.
        batch: number of images that are read and scored together.
    """
    group: list[tuple[FileScores, Tensor | None]] = []
    for path in paths:
        file, image = _opened(path, scorers, cache)
        if group and (len(group) == batch or _shape(image) != _shape(group[0][1])):
            yield from _scored(group, scorers, cache)
            group = []
        group.append((file, image))
    yield from _scored(group, scorers, cache)


def _opened(path: Path, scorers: Sequence[Scorer], cache: ScoreCache) -> tuple[FileScores, Tensor | None]:
    """A file with its cached scores, and its image if a score is missing."""
    try:
        content = sha256_of(path)
        known = {scorer.metric: cache.get(content, scorer.protocol) for scorer in scorers}
        file = FileScores(path, content, {metric: score for metric, score in known.items() if score is not None})
        return file, None if len(file.scores) == len(scorers) else read_tensor(path)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        return FileScores(path, error=str(error)), None


def _shape(image: Tensor | None) -> torch.Size | None:
    return None if image is None else image.shape


def _scored(
    group: list[tuple[FileScores, Tensor | None]], scorers: Sequence[Scorer], cache: ScoreCache
) -> Iterator[FileScores]:
    for scorer in scorers:
        unknown = [(file, image) for file, image in group if image is not None and scorer.metric not in file.scores]
        if unknown:
            _score(unknown, scorer, cache)
    return (file for file, _ in group)


@torch.no_grad()
def _score(group: list[tuple[FileScores, Tensor]], scorer: Scorer, cache: ScoreCache) -> None:
    """Adds the scores of one metric and caches them; if a batch fails, scores its images one by one."""
    try:
        scores = scorer(torch.stack([image for _, image in group])).tolist()
    except ValueError as error:
        if len(group) > 1:
            for single in group:
                _score([single], scorer, cache)
        else:
            group[0][0].error = str(error)
        return
    for (file, _), score in zip(group, scores, strict=True):
        file.scores[scorer.metric] = score
    cache.put(scorer.protocol, {file.content: file.scores[scorer.metric] for file, _ in group})
