"""What every kind of degradation has in common: its interface, and the checks of its attributes and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Protocol

import numpy as np


class Kind(Protocol):
    """The interface of a degradation: a dataclass whose attributes are its settings."""

    @classmethod
    def for_resolution(cls, px: int, **changes: Any) -> Kind:
        """The default for pictures of `px` x `px` pixels, with the attributes in `changes` replaced.

        Raises:
            ValueError: for an attribute that does not exist or is out of range.
        """

    def __call__(self, hq: np.ndarray, seed: int) -> np.ndarray:
        """Degrades a picture, (H, W, 3) float32 RGB in [0, 1], to one of the same form; `seed` decides every draw."""


def attributes(kind: type, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that a configuration gives, with tuples for lists.

    Args:
        kind: the dataclass that they belong to.
        name: of the kind, for the message.
        given: by name.

    Raises:
        ValueError: for an attribute that `kind` does not have.
    """
    known = [item.name for item in fields(kind)]
    if unknown := sorted(given.keys() - set(known)):
        raise ValueError(f"{name} has no {', '.join(unknown)}; it has {', '.join(known)}")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}


def check_range(name: str, ends: tuple[float, float], low: float, high: float) -> None:
    """Raises ValueError unless `ends` are two ascending numbers within [low, high]."""
    if len(ends) != 2 or not low <= ends[0] <= ends[1] <= high:
        raise ValueError(f"{name} is {ends}; give two ascending numbers between {low:g} and {high:g}")


def check_picture(image: np.ndarray) -> None:
    """Raises TypeError unless `image` is (H, W, 3) float32."""
    if image.dtype != np.float32 or image.ndim != 3 or image.shape[2] != 3:
        raise TypeError(f"picture is {image.dtype} {image.shape}; give (H, W, 3) float32, RGB in [0, 1]")
