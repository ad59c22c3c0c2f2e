"""The option `--ray` of commands that a cluster can do."""

from __future__ import annotations

RAY = "Spread the work by Ray: local, auto, or HOST:PORT of a cluster (pip install iqp_adapter\\[ray])."


def wants_gpu(device: str | None) -> bool:
    """Whether actors take GPUs where a cluster has some: unless another device is named."""
    return device is None or device.startswith("cuda")
