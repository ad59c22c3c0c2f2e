"""The device that everything runs on: the one that the user names, if this machine has it, else the best there is."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def default_device() -> torch.device:
    """The accelerator of this machine (CUDA, MPS, ...), else the CPU."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def device_of(name: torch.device | str | None) -> torch.device:
    """The device of that name ("cpu", "cuda", "cuda:1", "mps"); None is the default one.

    Raises:
        ValueError: for a device that this machine does not have; names those that it has.
    """
    if name is None:
        return default_device()
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = torch.device("meta")
    known = {default_device().type: torch.accelerator.device_count()} | {"cpu": 1}
    if (device.index or 0) >= known.get(device.type, 0):
        have = [f"{kind}:{number}" if count > 1 else kind for kind, count in known.items() for number in range(count)]
        raise ValueError(f"this machine has no device {str(name)!r}; it has {', '.join(have)}")
    return device


def placed(module: Module, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Module:
    """A module on a device and in a type of numbers, as by its `to`; it stays as it is where neither is given.

    Raises:
        ValueError: for a device that this machine does not have.
        TypeError: for a dtype that weights cannot have.
    """
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"dtype is {dtype!r}; give torch.float32, torch.float16 or torch.bfloat16")
    return module.to(device=None if device is None else device_of(device), dtype=dtype)
