"""The metrics of this project, from the folders of their weights; `core.metrics.NEWEST` is the table of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.metrics import family, refuse_unknown_version
from ..core.quality import ScoreScale
from ..store import checkpoint, hub
from ..store.files import sha256_of
from ..store.reading import Fields
from .backbones import VARIANTS
from .lite import IqpLite, Window
from .metric import Metric

SMALLEST = 64
"""Side in pixels below which the backbones leave too little of a face."""


def build(metric: str, weights: Path | None, options: Mapping[str, Any]) -> Metric:
    """A metric of this project on the CPU.

    Args:
        metric: its canonical name, such as "iqp-lite@1".
        weights: a folder that replaces the one in the package.
        options: of its network, which has none.

    Raises:
        ValueError: for another version than those that there are, for an option, and for weights that do not fit.
        ModuleNotFoundError: if the package of its backbone is missing.
    """
    name = family(metric)
    if options:
        raise ValueError(f"{name} takes no options, got {', '.join(options)}")
    refuse_unknown_version(metric)
    config, state = checkpoint.load(weights or hub.BUILTIN / metric.replace("@", "-"))
    fields = Fields(config, str(weights or metric))
    number = fields.whole("version", 1, 10_000, default=1)
    metric = metric if weights is None else f"{name}@{number}"
    scales = _scales(metric, fields)
    return Metric(
        metric,
        _network(fields, state),
        lower_better=False,
        protocol=f"{name}/v{number}" if weights is None else f"{name}/{sha256_of(weights / checkpoint.WEIGHTS)[:8]}",
        tiled=True,
        smallest=SMALLEST,
        scales=scales,
        default_scale=fields.text("default_scale", scales) if scales else None,
        earlier=tuple(f"{name}/v{before}" for before in range(1, number)) if weights is None else (),
    )


def _scales(metric: str, fields: Fields) -> dict[str, ScoreScale]:
    """The score scales of the config, by the set of pictures that each was fitted on."""
    sets = fields.inside("scales") if "scales" in fields.data else Fields({}, fields.source)
    try:
        return {name: ScoreScale(metric, False, sets.numbers(name, (2, 100_000))) for name in sets.data}
    except ValueError as error:
        raise ValueError(f"{fields.source}: scales: {str(error).removeprefix(f'{fields.source}: ')}") from None


def _network(fields: Fields, state: Any) -> IqpLite:
    levels, width = fields.wholes("levels", 0, 4, (1, 5)), fields.whole("width", 1, 8192)
    backbone, heads = fields.text("backbone", VARIANTS, default="lite0"), fields.whole("heads", 1, 100, default=1)
    network = IqpLite(levels, width, backbone, _window(fields), heads)
    checkpoint.load_strict(network.head, state, fields.source)
    return network


def _window(fields: Fields) -> Window | None:
    if "window" not in fields.data:
        return None
    x, y, wide, high = fields.numbers("window", (4, 4))
    if min(wide, high) <= 0:
        raise ValueError(f"{fields.source}: window is {wide:g} wide and {high:g} high; give sides above 0")
    return Window(x, y, wide, high)
