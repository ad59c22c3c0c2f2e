"""Scoring pictures on a cluster: `scoring.score_files`, by actors that know what was scored before."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path

from ..scoring.score_cache import ScoreCache
from ..scoring.score_files import FileScores
from ..scoring.score_files import score_files as score_here
from ..scoring.scorer import Scorer
from .spread import Row, Worker, spread

Known = dict[str, dict[str, float]]
"""Protocol -> content -> score."""


def score_files(
    paths: Sequence[Path],
    make: Callable[[], Sequence[Scorer]],
    cache: ScoreCache,
    batch: int = 8,
    *,
    ray: str,
    actors: int | None = None,
    gpu: bool = True,
) -> Generator[FileScores, None, None]:
    """Scores files by actors of Ray Data, as `scoring.score_files` does by this process; in any order.

    The files are on storage that all machines see at the same path. The cache is this process's: actors are told what
    it knows, and what they find is stored here as it comes.

    Args:
        make: makes the metrics, once in each actor; it is pickled.
        cache, batch: as for `scoring.score_files`.
        ray, actors, gpu: where, and by how many actors, as `address` and so on of `spread`.

    Raises:
        ImportError: without the extra `ray`.
        ConnectionError: where no cluster is at the address.
    """
    known = cache.all()
    rows = [str(path.absolute()) for path in paths]
    given = dict(zip(rows, paths, strict=True))
    for row, found in spread(rows, partial(_worker, make, known, batch), ray, actors, gpu):
        file = FileScores(**row | {"path": given[row["path"]], "stale": tuple(row["stale"])})
        for protocol, score in found.items():
            if file.content not in known.get(protocol, {}):
                cache.put(protocol, {file.content: score})
        yield file


def _worker(make: Callable[[], Sequence[Scorer]], known: Known, batch: int) -> Worker:
    """Scores the files that an actor is given; runs in the actor."""
    scorers, cache = make(), ScoreCache(":memory:")
    for protocol, scores in known.items():
        entries = iter(scores.items())
        while some := dict(islice(entries, _AT_ONCE)):
            cache.put(protocol, some)

    def work(rows: Sequence[Row]) -> Iterator[Row]:
        for file in score_here(map(Path, rows), scorers, cache, batch):
            found = {one.protocol: file.scores[one.metric] for one in scorers if one.metric in file.scores}
            yield [asdict(file) | {"path": str(file.path)}, found]

    return work


_AT_ONCE = 1000
"""Scores that are stored by one command of SQL, which takes no more than some 30,000 values."""
