"""Where scorers' results are written, and pictures that are measured once, whose samples a cache of the user keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.common.results import RESULTS
from iqp_adapter.store.files import atomic_path

Samples = dict[str, Tensor]
OUT = RESULTS / "scorer"
STORE = Path.home() / ".cache" / "iqp_adapter" / "score-groups"


def kept(name: str, make: Any) -> Samples:
    """The samples of that name, which `make` makes where they are not kept yet."""
    file = STORE / f"{name}.pt"
    if not file.exists():
        samples = make()
        STORE.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as part:
            torch.save(samples, part)
    return torch.load(file, weights_only=True)


def measured(data: Dataset[Samples], name: str) -> Samples:
    """All samples of a data set, measured by two processes and joined."""
    from rich.progress import track

    def make() -> Samples:
        batches = list(track(DataLoader(data, batch_size=8, num_workers=2), f"measuring {name}"))
        return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}

    return kept(name, make)
