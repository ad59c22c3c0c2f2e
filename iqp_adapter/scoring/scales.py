"""Score scales: the one that ships with the library, and those that files hold."""

from __future__ import annotations

import logging
from functools import cache, lru_cache

from ..core.metrics import NEWEST, as_saved, canonical
from ..core.quality import ScoreScale
from ..store import checkpoint, hub
from ..store.reading import Fields

logger = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def lite_scale() -> ScoreScale:
    """The scale of iqp-lite on the training pictures of the model that ships."""
    config, _ = checkpoint.load(hub.resolve("tiny", prefix="iqpfr-"))
    return ScoreScale.from_dict(config["score_scale"])


def read_scale(fields: Fields) -> ScoreScale:
    """The scale that a file holds; a metric without a version is the first one, as in `ScoreScale.from_dict`.

    Raises:
        ValueError: for entries that are no scale.
    """
    fields.only(("metric", "lower_better", "quantiles"))
    metric, lower_better = fields.text("metric"), fields.truth("lower_better")
    quantiles = fields.numbers("quantiles", (2, 100_000))
    try:
        return ScoreScale(as_saved(metric), lower_better, quantiles)
    except ValueError as error:
        raise ValueError(f"{fields.source}: {error}") from None


def say_stale(source: str, metric: str) -> None:
    """Logs, once for a file, that an earlier release conditioned it on a metric of which there is a newer version.

    Args:
        source: the file.
        metric: as the file names it; one that it names with its version is no news.
    """
    if metric in NEWEST and as_saved(metric) != canonical(metric):
        _say_stale(source, metric)


@cache
def _say_stale(source: str, metric: str) -> None:
    logger.warning(
        "%s is stale: it is conditioned on %s; it still works, its scores are not comparable with those of %s, and "
        "training it again moves it there",
        *(source, as_saved(metric), canonical(metric)),
    )
