"""The device that everything runs on: the one that the user names, if this machine has it, else the best there is."""

from __future__ import annotations

import torch


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
