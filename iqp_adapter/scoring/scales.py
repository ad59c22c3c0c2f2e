"""Score scales: those that ship with the library, and those that files hold."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from ..core.metrics import LITE, NEWEST, as_saved, canonical, is_computed, members
from ..core.quality import SET_SCALES, ScoreScale
from ..store import checkpoint, hub
from ..store.reading import Fields, json_file

logger = logging.getLogger(__name__)

MAX_SIDE = 1 << 16
"""Pixels, of the pictures that a scale is of."""

PUBLISHED = "ffhq/"
"""How the names of published score scales begin."""

NO_TABLE = {"ffhq/qalign": "FFHQ's scores by Q-Align were not published as a table"}
"""Score scales that one may expect by name, and why there are none."""

NOT_THEIRS = {
    "musiq": "pyiqa's musiq learned from KonIQ and gives 0 to 100, and the weights of MUSIQ-GFIQA are not public",
    "topiq_nr-face": "pyiqa's topiq_nr-face learned from CGFIQA, and topiq_nr-face-v1 is the earlier one, from GFIQA",
}
"""Metrics that one may take for those of published scales, and how they differ."""


@lru_cache(maxsize=1)
def lite_scale() -> ScoreScale:
    """The scale of iqp-lite on the pictures that it learned from, all sets together."""
    metric = canonical(LITE)
    config, _ = checkpoint.load(hub.BUILTIN / metric.replace("@", "-"))
    return ScoreScale(metric, False, tuple(config["scales"][config["default_scale"]]))


@cache
def stored_scales() -> Mapping[str, ScoreScale]:
    """The scales of metrics on good faces and slightly worse ones, by canonical name; ensembles are built on them."""
    return scales_in(hub.BUILTIN / "score_scales.json")


@cache
def named_scales() -> Mapping[str, ScoreScale]:
    """Published score scales of other people's pictures, by names like "ffhq/topiq-face"; the file says their source.

    A scale may be of a metric that nobody can compute here, as of MUSIQ-GFIQA, whose weights are not public. Such a
    scale turns a wanted quality into a score that a model takes, and scores no picture.
    """
    fields = Fields(json_file(hub.BUILTIN / "named_scales.json"), "named_scales.json")
    return {name: _without_source(fields.inside(name)) for name in fields.data}


def named_scale(name: str, metric: str | None = None) -> ScoreScale:
    """One of `named_scales()`.

    Args:
        metric: that it has to be of.

    Raises:
        ValueError: for another name, and for a scale of another metric.
    """
    known = named_scales()
    if name not in known:
        why = f": {NO_TABLE[name]}" if name in NO_TABLE else ""
        raise ValueError(f"there is no score scale {name!r}{why}; there are {', '.join(known)}")
    scale = known[name]
    if metric is not None and scale.metric != canonical(metric):
        why = f": {NOT_THEIRS[metric]}" if metric in NOT_THEIRS else ""
        advice = f"name {scale.metric}, or " if is_computed(scale.metric) else ""
        raise ValueError(
            f"the score scale {name} is of {scale.metric}, and the metric is {metric}{why}; {advice}leave the scale out"
        )
    return scale


def published_of(metric: str) -> dict[str, ScoreScale]:
    """Those of `named_scales()` that are of a metric."""
    return {name: scale for name, scale in named_scales().items() if scale.metric == canonical(metric)}


def scales_of_members(metric: str, path: str | Path) -> dict[str, ScoreScale]:
    """What a file of scales says of the members of an ensemble; nothing of another metric.

    Raises:
        ValueError, OSError: as `scales_in`.
    """
    known = scales_in(path)
    return {part: known[part] for part in members(metric) if part in known}


def scales_in(path: str | Path) -> dict[str, ScoreScale]:
    """The scales of a file, by the canonical names of their metrics.

    It holds {metric: {"source": ..., "metric": ..., "lower_better": ..., "quantiles": [worst, ..., best]}}, with
    "shares": [0, ..., 1] where the quantiles are not equally spaced. Two quantiles are the minimum and the maximum. The
    name of a published scale may stand in place of an entry: {"topiq_nr-face-v1": "ffhq/topiq-face"}.

    Raises:
        ValueError: for entries that are no scale, and for one under the name of another metric.
        OSError: for a file that cannot be read.
    """
    fields = Fields(json_file(path), str(path))
    return {as_saved(name): _scale_in(fields, name) for name in fields.data}


def _scale_in(fields: Fields, name: str) -> ScoreScale:
    if isinstance(fields.data[name], str):
        return named_scale(fields.data[name], as_saved(name))
    scale = _without_source(fields.inside(name))
    if scale.metric != as_saved(name):
        raise ValueError(f"{fields.source}: the scale for {name} is one of {scale.metric}; give it its own name")
    return scale


def _without_source(fields: Fields) -> ScoreScale:
    return read_scale(Fields({key: fields.data[key] for key in fields.data if key != "source"}, fields.source))


def read_scale(fields: Fields) -> ScoreScale:
    """The scale that a file holds; a metric without a version is the first one, as in `ScoreScale.from_dict`.

    Raises:
        ValueError: for entries that are no scale.
    """
    fields.only(("metric", "lower_better", "quantiles", "shares", "members", "side"))
    metric, lower_better = fields.text("metric"), fields.truth("lower_better")
    quantiles = fields.numbers("quantiles", (2, 100_000))
    shares = fields.numbers("shares", (2, 100_000)) if "shares" in fields.data else ()
    parts = tuple(map(read_scale, fields.each("members", (2, 100)))) if "members" in fields.data else ()
    side = fields.whole("side", 1, MAX_SIDE) if "side" in fields.data else None
    try:
        return ScoreScale(as_saved(metric), lower_better, quantiles, shares, parts, side)
    except ValueError as error:
        raise ValueError(f"{fields.source}: {error}") from None


def digest_of(*scales: ScoreScale) -> str:
    """A short hash of score scales; equal ones make equal qualities of equal scores."""
    texts = [[one.metric, one.lower_better, *map(float, one.quantiles), *_further(one)] for one in scales]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:8]


def _further(scale: ScoreScale) -> list[Any]:
    """What not every scale has: shares of the quantiles, scales of members, and a side."""
    shares = [list(map(float, scale.shares))] if scale.shares else []
    members = [digest_of(*scale.members)] if scale.members else []
    return [*shares, *members, *([scale.side] if scale.side else [])]


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
