"""The table of degradations, by the name that a configuration or a command gives.

To add one, write its dataclass in a file of its own, with the interface of `Kind`, and add one line to `DEGRADATIONS`.
`underwater` is the example; `checks` has what every kind checks, `rng.numpy_rng(seed)` gives its draws. Then
`degradation: {kind: NAME}` in a training configuration and `iqp bench --degradation kind=NAME` work.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..store.words import said_by
from .face import Degradation, HeavyDegradation
from .underwater import UnderwaterDegradation


class Kind(Protocol):
    """The interface of a degradation: a dataclass whose attributes are its settings."""

    @classmethod
    def for_resolution(cls, px: int, /, **changes: Any) -> Kind:
        """The default for pictures of `px` x `px` pixels, with the attributes in `changes` replaced as they are.

        Raises:
            ValueError: for an attribute that does not exist or is out of range.
        """

    def __call__(self, hq: np.ndarray, seed: int) -> np.ndarray:
        """Degrades a picture, (H, W, 3) float32 RGB in [0, 1], to one of the same form; `seed` decides every draw."""


DEGRADATIONS: dict[str, type[Kind]] = {
    "face": Degradation,
    "heavy": HeavyDegradation,
    "underwater": UnderwaterDegradation,
}


def degradation_of(px: int, /, kind: str = "face", **changes: Any) -> Kind:
    """The degradation of a configuration, for pictures of `px` x `px` pixels.

    Raises:
        ValueError: for an unknown kind or attribute, and whatever else a kind raises.
    """
    if not isinstance(kind, str) or kind not in DEGRADATIONS:
        raise ValueError(f"degradation of kind {kind!r:.80}; available: {', '.join(DEGRADATIONS)}")
    try:
        made = DEGRADATIONS[kind].for_resolution(px, **changes)
    except ValueError as error:
        raise ValueError(f"degradation of kind {kind!r}: {error}") from None
    except Exception as error:  # a kind may be another one's
        raise ValueError(f"degradation of kind {kind!r} cannot be made ({said_by(error)})") from error
    if not callable(made):
        raise ValueError(f"degradation of kind {kind!r} is made as a {type(made).__name__}, expected something to call")
    return made
