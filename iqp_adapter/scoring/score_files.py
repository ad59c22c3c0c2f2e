"""Scores of image files: a second run, or one after a crash, scores only new files."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..pictures import read_tensor
from ..store.files import sha256_of
from . import tiles
from .score_cache import ScoreCache
from .scorer import Scorer

logger = logging.getLogger(__name__)


@dataclass
class FileScores:
    """The scores of one file by metric; `error` is one line that says why some are missing.

    `stale` names metrics of which the cache knew the score by an earlier version alone.
    """

    path: Path
    content: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    error: str = ""
    stale: tuple[str, ...] = ()


Opened = tuple[FileScores, Tensor | None]
"""A file with its cached scores, and its image (3, H, W) if a score is missing."""


def score_files(
    paths: Iterable[Path], scorers: Sequence[Scorer], cache: ScoreCache, batch: int = 8
) -> Iterator[FileScores]:
    """Scores files in their order, neighbours of one size in one batch.

    Memory grows neither with the number of files nor with the batch beyond `tiles.WHOLE` pixels: larger pictures are
    scored one at a time, and the first of them is announced in the log.

    Args:
        paths: image files. A file that cannot be read or scored gets an `error`, and the next one is scored.
        scorers: the metrics.
        cache: of scores; new ones are stored at once.
        batch: number of images that are read and scored together, at most.
    """
    group: list[Opened] = []
    announced = False
    for path in paths:
        opened = _opened(path, scorers, cache)
        if group and _shape(opened) != _shape(group[0]):
            yield from _scored(group, scorers, cache)
        group.append(opened)
        if not announced and (announced := _is_large(opened)):
            _announce(opened, scorers)
        del opened  # the next image is read while nothing holds this one
        if len(group) == batch or (len(group) + 1) * _pixels(group[0]) > tiles.WHOLE:
            yield from _scored(group, scorers, cache)
    yield from _scored(group, scorers, cache)


def _opened(path: Path, scorers: Sequence[Scorer], cache: ScoreCache) -> Opened:
    """A file with its cached scores, and its image if a score is missing."""
    try:
        before = path.stat()
        content = sha256_of(path)
        known = {scorer.metric: cache.get(content, scorer.protocol) for scorer in scorers}
        scores = {metric: score for metric, score in known.items() if score is not None and math.isfinite(score)}
        stale = tuple(one.metric for one in scorers if one.metric not in scores and _has_earlier(one, content, cache))
        image = None if len(scores) == len(scorers) else read_tensor(path)
        after = path.stat()
    except OSError as error:
        return FileScores(path, error=str(error).removeprefix(f"{path}: ")), None
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        return FileScores(path, error="it changed while it was read; score it again"), None
    return FileScores(path, content, scores, stale=stale), image


def _has_earlier(scorer: Scorer, content: str, cache: ScoreCache) -> bool:
    return any(cache.get(content, protocol) is not None for protocol in scorer.earlier)


def _shape(opened: Opened) -> torch.Size | None:
    return None if opened[1] is None else opened[1].shape


def _pixels(opened: Opened) -> int:
    return 0 if opened[1] is None else opened[1][0].numel()


def _is_large(opened: Opened) -> bool:
    return opened[1] is not None and tiles.is_large(opened[1])


def _announce(opened: Opened, scorers: Sequence[Scorer]) -> None:
    """Says once that large pictures are scored alone, and which metrics have no tiles for them."""
    height, width = (_shape(opened) or (0, 0, 0))[1:]
    whole = [scorer.metric for scorer in scorers if not scorer.tiled]
    logger.warning(
        "%s has %d x %d pixels: pictures above %.0f megapixels are scored one at a time%s",
        *(opened[0].path, width, height, tiles.WHOLE / 1e6),
        f", and {', '.join(whole)} takes them whole, in memory that grows with their size" if whole else ", in tiles",
    )


def _scored(group: list[Opened], scorers: Sequence[Scorer], cache: ScoreCache) -> Iterator[FileScores]:
    """The files of a group with all their scores; empties the group, so that its images are free."""
    for scorer in scorers:
        unknown = [(file, image) for file, image in group if image is not None and scorer.metric not in file.scores]
        if unknown:
            _score(unknown, scorer, cache)
        del unknown
    files = [file for file, _ in group]
    group.clear()
    yield from files


@torch.no_grad()
def _score(group: list[tuple[FileScores, Tensor]], scorer: Scorer, cache: ScoreCache) -> None:
    """Adds the scores of one metric and caches them; if a batch fails, scores its images one by one."""
    try:
        scores = scorer(group[0][1][None] if len(group) == 1 else torch.stack([image for _, image in group])).tolist()
    except ValueError as error:
        if len(group) > 1:
            for single in group:
                _score([single], scorer, cache)
        else:
            file = group[0][0]
            file.error = "; ".join(filter(None, (file.error, str(error))))
        return
    for (file, _), score in zip(group, scores, strict=True):
        file.scores[scorer.metric] = score
    cache.put(scorer.protocol, {file.content: file.scores[scorer.metric] for file, _ in group})
