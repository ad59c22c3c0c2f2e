"""Trained restorers that engines are compared on: the shipped model, and small hosts of the real classes."""

from __future__ import annotations

from pathlib import Path

import iqp_adapter as iqp
from benchmarks.hosts.small import load_host
from iqp_adapter.restorer import Restorer

ADAPTER = "reward-0/reward/model"
"""Place of a host's trained adapter in its run."""


def subject(name: str) -> Restorer:
    """Of "tiny", the shipped model; of "HOST:SIDE:RUN", a small host that `benchmarks.hosts.train` trained, with the
    adapter that `benchmarks.hosts.adapt` trained for it, if it did."""
    if ":" not in name:
        return iqp.load(name, device="cpu")
    host, side, run = name.split(":", 2)
    adapter = Path(run) / ADAPTER
    return iqp.load(load_host(host, Path(run), side=int(side)), adapter=adapter if adapter.is_dir() else None)
