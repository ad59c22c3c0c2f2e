"""The device that everything runs on unless the user names another one."""

from __future__ import annotations

import torch


def default_device() -> torch.device:
    """The accelerator of this machine (CUDA, MPS, ...), else the CPU."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")
