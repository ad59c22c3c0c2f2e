"""Every kind of degradation by the name that a configuration or a command gives it; a new one is a line here."""

from __future__ import annotations

from typing import Any

from .face import Degradation
from .underwater import UnderwaterDegradation

DEGRADATIONS: dict[str, type[Degradation] | type[UnderwaterDegradation]] = {
    "face": Degradation,
    "underwater": UnderwaterDegradation,
}
"""By the kind that a configuration names."""


def degradation_of(px: int, kind: str = "face", **changes: Any) -> Degradation | UnderwaterDegradation:
    """The degradation of a configuration, for pictures of `px` x `px` pixels.

    Raises:
        ValueError: on an unknown kind or attribute.
    """
    if kind not in DEGRADATIONS:
        raise ValueError(f"degradation of kind {kind!r}; available: {', '.join(DEGRADATIONS)}")
    return DEGRADATIONS[kind].for_resolution(px, **changes)
