"""The table of degradations, by the name that a configuration or a command gives.

To add one, write its dataclass in a file of its own (see `base.Kind`) and add one line to `DEGRADATIONS`.
"""

from __future__ import annotations

from typing import Any

from .base import Kind
from .face import Degradation
from .underwater import UnderwaterDegradation

DEGRADATIONS: dict[str, type[Kind]] = {
    "face": Degradation,
    "underwater": UnderwaterDegradation,
}


def degradation_of(px: int, kind: str = "face", **changes: Any) -> Kind:
    """The degradation of a configuration, for pictures of `px` x `px` pixels.

    Raises:
        ValueError: for an unknown kind or attribute.
    """
    if kind not in DEGRADATIONS:
        raise ValueError(f"degradation of kind {kind!r}; available: {', '.join(DEGRADATIONS)}")
    return DEGRADATIONS[kind].for_resolution(px, **changes)
