"""Settings that no training can begin with are refused when they are read, and not when pictures are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..core.adapter import Adapter, kind_of_block
from ..core.sites import Site
from ..degradations.checks import attributes
from ..degradations.kinds import degradation_of
from ..degradations.ladder import Ladder
from ..native import preset
from ..scoring.perceptual import PERCEPTUAL
from ..scoring.scorer import refuse_unknown
from .augmentation import Augmentation

if TYPE_CHECKING:
    from .config import AdapterConfig, RunConfig, TrainConfig

_SIDE = 256
"""Pixels; which settings a degradation takes does not depend on it."""


def refuse_infeasible(config: RunConfig) -> None:
    """
    Raises:
        ValueError: for a metric or a perceptual loss that does not exist, and for settings that a degradation, the
            ladder or the augmentation does not take.
    """
    refuse_unknown(config.metric)
    if config.perceptual not in PERCEPTUAL:
        raise ValueError(f"perceptual is {config.perceptual!r:.80}; choose from {', '.join(PERCEPTUAL)}")
    degradation_of(_SIDE, **config.degradation)
    _named("ladder", lambda: Ladder(**attributes(Ladder, "it", config.ladder)))
    _named("augmentation", lambda: Augmentation(**attributes(Augmentation, "it", config.augmentation)))


def refuse_size(config: TrainConfig) -> None:
    """Raises ValueError for a preset or a change of one that cannot be."""
    preset(config.preset, **config.changes)


def refuse_block(config: AdapterConfig) -> None:
    """Raises ValueError for a kind of block or a size that does not exist, and for a judge that does not."""
    kind_of_block(config.block, config.sizes)
    numbers: dict[str, Any] = {name: value for name, value in config.sizes.items() if isinstance(value, int)}
    _named("sizes", lambda: Adapter([Site("any", 8, "BLC")], block=config.block, **numbers))
    for judge in config.judges:
        refuse_unknown(judge)


def _named(name: str, make: Callable[[], Any]) -> None:
    """Makes something of settings, whose name an error then begins with."""
    try:
        make()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
