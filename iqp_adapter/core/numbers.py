"""The numbers that a caller may ask for: what is none, or none that means anything, is refused in one line."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from torch import Tensor

from .tracing import is_traced


def check_number(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> Any:
    """The value itself, if it is a finite number in [low, high].

    Raises:
        ValueError: says what it is instead.
    """
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not (math.isfinite(number) and low <= number <= high):
        raise ValueError(f"{name} is {_shown(value)}; use {_range(low, high)}")
    return value


def check_numbers(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> Any:
    """As `check_number`, for a number or a tensor (B,) with one for every picture.

    Raises:
        ValueError: says what it is instead.
    """
    if not isinstance(value, Tensor):
        return check_number(name, value, low, high)
    if value.ndim > 1 or not value.numel() or value.dtype.is_complex or str(value.dtype) == "torch.bool":
        raise ValueError(f"{name} is {_shown(value)}; use {_range(low, high)}, or a tensor (B,) of such")
    if not is_traced() and not bool((value.isfinite() & (value >= low) & (value <= high)).all()):
        raise ValueError(f"{name} is {value.flatten().tolist()}; use for each {_range(low, high)}")
    return value


def _range(low: float, high: float) -> str:
    bounds = [f"{bound:g}" for bound in (low, high) if math.isfinite(bound)]
    return f"a number in [{', '.join(bounds)}]" if bounds else "a finite number"


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {value.dtype}"
    return f"{value!r}" if isinstance(value, (str, Real, type(None))) else f"a {type(value).__name__}"
