"""Parts of model cards that tell of metrics: their licences, and what a quality means on each training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..core.metrics import NEWEST, families
from ..core.quality import BEST, ScoreScale
from ..store.publishing import UNKNOWN, table

OURS = "Apache-2.0, trained on CC BY 4.0 photos"
PYIQA = "pyiqa, PolyForm Noncommercial 1.0.0"
"""Licences of this project's metrics, and of every other one."""


def scorer_licence(metric: str) -> str:
    """Of a metric, or of every member of an ensemble."""
    return "; ".join(dict.fromkeys(OURS if name in NEWEST else PYIQA for name in families(metric)))


def scorers(metrics: Sequence[str]) -> str:
    """Metrics with their licences."""
    return "; ".join(f"{metric} ({scorer_licence(metric)})" for metric in metrics) or UNKNOWN


def training_sets(scales: Mapping[str, Any]) -> str:
    """A section on what quality means in each training set; nothing where there was one set alone.

    Args:
        scales: score scales by the name of the set, as a config has them.
    """
    if not scales:
        return ""
    asked = (0.0, 0.5, BEST)
    rows = [
        (name, *map("{:.4g}".format, _scores(ScoreScale.from_dict(scale), asked))) for name, scale in scales.items()
    ]
    return f"""
## Training sets

Trained on several sets of pictures. Quality is that within a picture's own set, so that the score of a quality differs
by set:

{table(("set", *(f"score at quality {quality:g}" for quality in asked)), rows)}
"""


def _scores(scale: ScoreScale, qualities: Sequence[float]) -> list[float]:
    return scale.score(torch.tensor(qualities)).tolist()
