"""Faces under every distortion at rising severity, and how well the scores of a metric follow it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from benchmarks.scorer.distortions import SEEN, UNSEEN, Distortion, as_tensor, distort, load_face
from iqp_adapter.bench.intervals import Interval, People, interval, spearman
from iqp_adapter.scoring.scorer import Scorer

SEVERITIES = (0.1, 0.4, 0.7, 1.0)
DISTORTIONS = SEEN | UNSEEN
GROUPS = {"seen": range(len(SEEN)), "unseen": range(len(SEEN), len(DISTORTIONS)), "all": range(len(DISTORTIONS))}
"""Positions of the distortions that iqp-lite was trained on, of those that it was not, and of both."""


def ladder(clean: np.ndarray, distortion: Distortion, key: str) -> Tensor:
    """A clean image (H, W, 3) and one distortion of it at every severity -> (L, 3, H, W), the clean one first."""
    rng = np.random.default_rng(crc32(f"{distortion.__name__} {key}".encode()))
    return torch.cat([as_tensor(clean), *(as_tensor(distort(clean, distortion, s, rng)) for s in SEVERITIES)])


@torch.no_grad()
def scores_on_ladders(
    files: Sequence[Path],
    size: int,
    scorers: Sequence[Scorer],
    distortions: Collection[Distortion] = tuple(DISTORTIONS.values()),
) -> dict[str, np.ndarray]:
    """Scores turned so that higher is better, of every metric: (L levels, T distortions, N files)."""
    rows: dict[str, list[Tensor]] = {scorer.metric: [] for scorer in scorers}
    for images in _ladders(files, size, distortions):
        for scorer in scorers:
            rows[scorer.metric].append(scorer(images) * (-1 if scorer.lower_better else 1))
    shape = (len(files), len(distortions), 1 + len(SEVERITIES))
    return {metric: torch.stack(parts).reshape(shape).numpy().T for metric, parts in rows.items()}


def _ladders(files: Sequence[Path], size: int, distortions: Collection[Distortion]) -> Iterator[Tensor]:
    from rich.progress import track

    for file in track(files, f"{size} px"):
        clean = load_face(file, size)
        for distortion in distortions:
            yield ladder(clean, distortion, f"{file.stem} {size}")


def follows(scores: np.ndarray, people: Sequence[str]) -> dict[str, Interval]:
    """How scores (L, T, N), higher is better, of N images of these people fall with severity.

    Returns:
        `per_image`: rank correlation with severity within one image and distortion, 1 is perfect; the mean of all;
        `pooled`: the same over all images and distortions at once, which asks for comparable scores as well;
        `raised`: the share of distorted images that score better than their original, 0 is perfect;
        `in_order`: the share of pairs of levels of one image and distortion whose milder one scores better.
    """
    drawn, levels = People(people), -np.arange(len(scores))[:, None, None]
    return {
        "per_image": drawn.interval(spearman(-scores).mean(0)),
        "pooled": pooled(scores, np.broadcast_to(levels, scores.shape), people),
        "raised": drawn.interval((scores[1:] > scores[0]).mean((0, 1))),
        "in_order": drawn.interval(in_order(scores).mean(0)),
    }


def in_order(scores: np.ndarray) -> np.ndarray:
    """Scores (L, T, N) -> the share of pairs of levels whose milder one scores better (T, N)."""
    return np.mean([scores[mild] > scores[severe] for mild, severe in combinations(range(len(scores)), 2)], axis=0)


def by_distortion(scores: np.ndarray) -> Mapping[str, Any]:
    """Mean score (L, T, N) at every level, and rank correlation, of each distortion."""
    means, rho, ordered = scores.mean(2), spearman(-scores).mean(1), in_order(scores).mean(1)
    return {
        name: {"spearman": rho[index], "in_order": ordered[index], "mean_scores": means[:, index].tolist()}
        for index, name in enumerate(DISTORTIONS)
    }


def pooled(scores: np.ndarray, truth: np.ndarray, people: Sequence[str], draws: int = 300) -> Interval:
    """Rank correlation of scores and truth, both (..., N), over everything at once; N images of these people."""
    from scipy.stats import spearmanr

    owned = [np.flatnonzero(np.array(people) == person) for person in sorted(set(people))]
    rng = np.random.default_rng(0)

    def correlation(files: np.ndarray) -> float:
        return float(spearmanr(scores[..., files].ravel(), truth[..., files].ravel())[0])

    drawn = [np.concatenate([owned[i] for i in rng.integers(len(owned), size=len(owned))]) for _ in range(draws)]
    return interval(correlation(np.arange(scores.shape[-1])), np.array([correlation(files) for files in drawn]))
