"""Heads of scorers: trained on statistics of frozen backbones, and how well they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.scorer.measuring import Samples
from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.scoring.backbones import efficientnet_lite
from iqp_adapter.scoring.lite import LiteHead

PAIRS = ((0, 1), (1, 2), (0, 2))
"""Of the three severities: the milder and the more severe one."""


@dataclass(frozen=True)
class Weights:
    """Of the terms of a head's loss.

    Attributes:
        order: pairs of severities of one picture whose scores are in the wrong order, or too close.
        looks: squared difference between the two looks of a picture.
        slope: squared slopes of the error over the luminance of the cheeks and the busyness of the background.
        extras: error on pictures that generators made.
    """

    order: float = 3.0
    looks: float = 0.05
    slope: float = 3.0
    extras: float = 0.5


@cache
def channels(backbone: str) -> tuple[int, ...]:
    return efficientnet_lite(backbone).channels


def of_levels(statistics: Tensor, levels: Sequence[int], backbone: str = "lite0", where: str = "whole") -> Tensor:
    """(..., C of all levels) -> (..., C of some); where is "whole" or "face"."""
    half = statistics.shape[-1] // 2
    statistics = statistics[..., :half] if where == "whole" else statistics[..., half:]
    parts = statistics.split([2 * count for count in channels(backbone)], dim=-1)
    return torch.cat([parts[level] for level in levels], dim=-1)


def teachers(samples: Samples) -> Samples:
    """Both higher for a better image; a VIF above 1 is too much contrast, as far from the original as its inverse."""
    return {"vif": torch.minimum(samples["vif"], 1 / samples["vif"]), "nlpd": -samples["nlpd"]}


class Target:
    """Full-reference quality, 0 to 100: the mean of an image's ranks by VIF and by NLPD among the training images."""

    def __init__(self, train: Samples) -> None:
        self.scales = {name: ScoreScale.fit(name, False, of.flatten()) for name, of in teachers(train).items()}

    def __call__(self, samples: Samples) -> Tensor:
        """Samples of any shape -> targets of the same."""
        ranks = [self.scales[name].quality(scores.double()) for name, scores in teachers(samples).items()]
        return 100 * torch.stack(ranks).mean(0).float()


def attributes(groups: Samples) -> Tensor:
    """Luminance and busyness (G, 2), standardised within each set, so that sets may differ."""
    raw = torch.stack([groups["luminance"], (groups["busyness"] + 0.1).log()], dim=-1).float()
    for which in groups["set"].unique():
        own = groups["set"] == which
        raw[own] = (raw[own] - raw[own].mean(0)) / raw[own].std(0)
    return raw


def fit(statistics: Tensor, targets: Tensor, width: int = 128, epochs: int = 60, seed: int = 0) -> LiteHead:
    """A head trained on statistics (N, C) to give the targets (N,)."""
    torch.manual_seed(seed)
    head = _standardised(statistics, width)
    batches = DataLoader(TensorDataset(statistics, targets), batch_size=128, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(head.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, epochs * len(batches))
    for _ in range(epochs):
        for inputs, wanted in batches:
            loss = functional.smooth_l1_loss(head(inputs), wanted, beta=2.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return head.eval()


def _standardised(statistics: Tensor, width: int) -> LiteHead:
    """An untrained head for statistics (N, C)."""
    head = LiteHead(statistics.shape[1], width)
    head.center.copy_(statistics.mean(0))
    head.spread.copy_(statistics.std(0) + 1e-3)
    return head


@torch.no_grad()
def agreement(head: LiteHead, statistics: Tensor, targets: Tensor) -> dict[str, float]:
    """How well a head predicts: over all images, and within the better part, where restorers compete."""
    from scipy.stats import spearmanr

    scores = head(statistics)
    good = targets > 70
    return {
        "mean_absolute_error": float((scores - targets).abs().mean()),
        "spearman": float(spearmanr(scores, targets)[0]),
        "spearman_above_70": float(spearmanr(scores[good], targets[good])[0]),
    }


def fit_groups(
    groups: Samples,
    targets: Tensor,
    extras: Tensor,
    extra_targets: Tensor,
    *,
    width: int = 128,
    weights: Weights = Weights(),
    steps: int = 1500,
    batch: int = 256,
    rate: float = 2e-3,
    seed: int = 0,
) -> LiteHead:
    """A head trained on groups.

    Args:
        groups: `statistics` (G, 2, 3, C), and what `attributes` needs.
        targets: (G, 3) of the groups.
        extras: statistics (N, C) of pictures that generators made, and their targets (N,).
    """
    torch.manual_seed(seed)
    statistics, places = groups["statistics"], attributes(groups)
    flat = statistics.reshape(-1, statistics.shape[-1])
    head = _standardised(flat, width)
    optimizer = torch.optim.AdamW(head.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    for _ in range(steps):
        drawn = torch.randint(len(statistics), (batch,))
        scores = head(statistics[drawn].reshape(-1, flat.shape[1])).reshape(batch, *statistics.shape[1:3])
        loss = group_loss(scores, targets[drawn], places[drawn], weights)
        if len(extras):
            some = torch.randint(len(extras), (batch,))
            loss = loss + weights.extras * functional.smooth_l1_loss(head(extras[some]), extra_targets[some], beta=2.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return head.eval()


def group_loss(scores: Tensor, targets: Tensor, places: Tensor, weights: Weights) -> Tensor:
    """Scores (G, 2, 3), targets (G, 3), attributes (G, 2) -> ()."""
    wanted = targets[:, None].expand_as(scores)
    error = scores - wanted
    slopes = (error.mean((1, 2))[:, None] * places).mean(0)
    return (
        functional.smooth_l1_loss(scores, wanted, beta=2.0)
        + weights.order * disorder(scores, targets)
        + weights.looks * (scores[:, 0] - scores[:, 1]).square().mean()
        + weights.slope * slopes.square().sum()
    )


def disorder(scores: Tensor, targets: Tensor) -> Tensor:
    """By how much scores (G, 2, 3) fall too little with severity; half of the targets' fall (G, 3) suffices."""
    terms = []
    for mild, severe in PAIRS:
        enough = (0.5 * (targets[:, mild] - targets[:, severe])).clamp(0.2, 5)
        terms.append((enough[:, None] - (scores[..., mild] - scores[..., severe])).relu())
    return torch.stack(terms).mean()


@torch.no_grad()
def grades(head: nn.Module, groups: Samples, targets: Tensor) -> dict[str, float]:
    """How a head does on groups that it did not learn from."""
    from scipy.stats import spearmanr

    statistics = groups["statistics"]
    scores = head(statistics.reshape(-1, statistics.shape[-1])).reshape(statistics.shape[:3])
    error = scores - targets[:, None]
    pairs = [scores[..., a] > scores[..., b] for a, b in PAIRS]
    clear = [(targets[:, a] - targets[:, b] > 2)[:, None].expand(-1, 2) for a, b in PAIRS]
    slopes = slope(error.mean((1, 2)), attributes(groups))
    return {
        "mean_absolute_error": float(error.abs().mean()),
        "spearman": float(spearmanr(scores.flatten(), targets[:, None].expand_as(scores).flatten())[0]),
        "in_order": float(torch.stack(pairs).float().mean()),
        "in_order_where_clear": float(torch.stack(pairs)[torch.stack(clear)].float().mean()),
        "look_shift": float((scores[:, 1] - scores[:, 0]).mean()),
        "look_difference": float((scores[:, 1] - scores[:, 0]).abs().mean()),
        "luminance_slope": float(slopes[0]),
        "busyness_slope": float(slopes[1]),
    }


def slope(values: Tensor, places: Tensor) -> np.ndarray:
    """Regression of values (G,) on attributes (G, A) and a constant: slopes (A,)."""
    design = np.concatenate([np.ones((len(values), 1)), places.numpy()], axis=1)
    return np.linalg.lstsq(design, values.numpy(), rcond=None)[0][1:]


def with_levels(samples: Samples, levels: Sequence[int], backbone: str, where: str) -> Samples:
    """Samples with `statistics` of some levels of one backbone."""
    return dict(samples) | {"statistics": of_levels(samples[f"statistics-{backbone}"], levels, backbone, where)}


def merged(parts: Sequence[Mapping[str, Tensor]]) -> Samples:
    shared = set.intersection(*(set(part) for part in parts))
    return {key: torch.cat([part[key] for part in parts]) for key in sorted(shared)}
