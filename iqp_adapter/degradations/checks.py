"""Checks of attributes and pictures that every kind of degradation makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from ..store.settings import in_short, several


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
    if unknown := sorted(in_short(key) for key in given if key not in known):
        raise ValueError(f"{name} has no {several(unknown)}; it has {', '.join(known)}")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}


def check_range(name: str, ends: tuple[float, float], low: float, high: float) -> None:
    """Raises ValueError unless two numbers ascend within [low, high]."""
    if not low <= ends[0] <= ends[1] <= high:
        raise ValueError(f"{name} is {ends}; give two ascending numbers between {low:g} and {high:g}")


def check_share(name: str, value: float) -> None:
    """Raises ValueError unless the value is in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; give a number in [0, 1]")


def check_picture(image: np.ndarray) -> None:
    """Raises TypeError unless `image` is (H, W, 3) float32."""
    if image.dtype != np.float32 or image.ndim != 3 or image.shape[2] != 3:
        raise TypeError(f"picture is {image.dtype} {image.shape}; give (H, W, 3) float32, RGB in [0, 1]")
