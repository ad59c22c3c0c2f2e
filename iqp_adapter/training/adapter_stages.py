"""The stages of adapter training: the reward and the imitation have a kind for pictures, and one for codes."""

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


def kind_of_stage(name: str, learns: str, steers_codes: bool) -> type[Adaptation]:
    """The class of a stage.

    Args:
        name: of the stage.
        learns: what learns, as in `AdapterConfig`.
        steers_codes: whether the adapter acts before the codes of a host that decides some.
    """
    if name == "distillation":
        return CodeDistillation
    if name == "reward":
        return CodeReward if steers_codes else ImageReward
    if learns == HOST:
        return HostImitation
    return CodeImitation if steers_codes else ImageImitation
