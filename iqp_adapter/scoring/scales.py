"""Score scales: the one that ships with the library, and those that files hold."""

from __future__ import annotations

from functools import lru_cache

from ..core.quality import ScoreScale
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
