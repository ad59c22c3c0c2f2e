"""Score scales that ship with the library, for models that bring none of their own."""

from __future__ import annotations

from functools import lru_cache

from ..core.quality import ScoreScale
from ..store import checkpoint, hub


@lru_cache(maxsize=1)
def lite_scale() -> ScoreScale:
    """The scale of iqp-lite on the training pictures of the model that ships."""
    config, _ = checkpoint.load(hub.resolve("tiny", prefix="iqpfr-"))
    return ScoreScale.from_dict(config["score_scale"])
