"""Score scales: the one that ships with the library, and those that files hold."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from ..core.quality import SET_SCALES, ScoreScale
from ..store import checkpoint, hub
from ..store.reading import Fields


@lru_cache(maxsize=1)
def lite_scale() -> ScoreScale:
    """The scale of iqp-lite on the training pictures of the model that ships."""
    config, _ = checkpoint.load(hub.resolve("tiny", prefix="iqpfr-"))
    return ScoreScale.from_dict(config["score_scale"])


def read_scale(fields: Fields) -> ScoreScale:
    """The scale that a file holds.

    Raises:
        ValueError: for entries that are no scale.
    """
    fields.only(("metric", "lower_better", "quantiles"))
    metric, lower_better = fields.text("metric"), fields.truth("lower_better")
    quantiles = fields.numbers("quantiles", (2, 100_000))
    try:
        return ScoreScale(metric, lower_better, quantiles)
    except ValueError as error:
        raise ValueError(f"{fields.source}: {error}") from None


def read_set_scales(fields: Fields, metrics: Collection[str]) -> dict[str, ScoreScale]:
    """The scale of each set by its name, of a config that may have them; empty where it has none.

    Args:
        metrics: those that the model is conditioned on, of which the scales must be.

    Raises:
        ValueError: for entries that are no scales, and for one of another metric.
    """
    if SET_SCALES not in fields.data:
        return {}
    sets = fields.inside(SET_SCALES)
    scales = {name: read_scale(sets.inside(name)) for name in sets.data}
    for name, scale in scales.items():
        if scale.metric not in metrics:
            raise ValueError(f"{sets.source}: {sets.place}{name} is of {scale.metric}, expected {' or '.join(metrics)}")
    return scales
