"""What is different while a graph is traced that other engines run: numbers are not known, only where they go."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def is_traced() -> bool:
    """Whether a graph is being traced or compiled, which is to hold for all numbers: none can be looked at."""
    return torch.compiler.is_compiling()


class Weight:
    """A weight for each picture, or one that stays an input of a graph: above zero to every question of a host, and a
    tensor to every product.

    Hosts that leave something out at a weight of zero multiply it by zero instead, which gives the same.

    Args:
        value: any shape that multiplies what the host weighs.
    """

    def __init__(self, value: Tensor):
        self.value = value

    def __gt__(self, other: Any) -> bool:
        return True

    def __mul__(self, other: Tensor) -> Tensor:
        return self.value * other

    __rmul__ = __mul__
