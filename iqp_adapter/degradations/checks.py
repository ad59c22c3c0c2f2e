"""Checks of attributes and pictures that every kind of degradation makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from ..store.words import in_short, said_by, several


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


def degraded(degradation: Callable[[np.ndarray, int], np.ndarray], hq: np.ndarray, seed: int) -> np.ndarray:
    """What a degradation makes of a picture (H, W, 3) float32 in [0, 1]: one of the same form.

    Raises:
        ValueError: where the degradation raises anything, and for values outside [0, 1]; names its class.
        TypeError: where it gives something else.
    """
    name = f"the degradation {type(degradation).__name__}"
    try:
        lq = degradation(hq, seed)
    except Exception as error:
        raise ValueError(f"{name} fails: {said_by(error)}") from error
    if not isinstance(lq, np.ndarray) or lq.dtype != np.float32 or lq.shape != hq.shape:
        given = f"{lq.dtype} {lq.shape}" if isinstance(lq, np.ndarray) else f"a {type(lq).__name__}"
        raise TypeError(f"{name} gives {given}, expected float32 {hq.shape}, as it was given")
    if not (lq.min() >= -ROUNDING and lq.max() <= 1 + ROUNDING):  # NaN is in no range
        raise ValueError(f"{name} gives values from {lq.min():.3g} to {lq.max():.3g}, expected [0, 1]")
    return lq


ROUNDING = 1e-3
"""By how much a degraded picture may leave [0, 1]."""


def check_picture(image: np.ndarray) -> None:
    """Raises TypeError unless `image` is (H, W, 3) float32."""
    if image.dtype != np.float32 or image.ndim != 3 or image.shape[2] != 3:
        raise TypeError(f"picture is {image.dtype} {image.shape}; give (H, W, 3) float32, RGB in [0, 1]")
