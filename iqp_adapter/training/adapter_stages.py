"""The stages of adapter training, each of which has a kind for every kind of host."""

from __future__ import annotations

from .config import HOST
from .stages import (
    Adaptation,
    CodeDistillation,
    CodeImitation,
    CodeReward,
    HostImitation,
    ImageImitation,
    ImageReward,
)


def kind_of_stage(name: str, learns: str, decides_codes: bool) -> type[Adaptation]:
    """The class of a stage.

    Args:
        name: of the stage.
        learns: what learns, as in `AdapterConfig`.
        decides_codes: whether the host does.
    """
    if name == "distillation":
        return CodeDistillation
    if name == "reward":
        return CodeReward if decides_codes else ImageReward
    if learns == HOST:
        return HostImitation
    return CodeImitation if decides_codes else ImageImitation
