"""What is to be compared, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .candidates import Candidate
from .names import again, is_plain
from .protocols import Protocol
from .test_sets import Sample


@dataclass(frozen=True)
class Benchmark:
    """What is to be compared.

    Attributes:
        candidates: what restores.
        samples: the test pictures.
        protocols: the metrics.
        folder: of restored pictures and scores; those that are there already are used again.
        scores: named scores, of `ntire.THRESHOLDS`.
        weights: protocol id -> the user's own files instead of the published ones.
        device: where metrics run.
        baseline: the row from which differences are taken.
        seed: of the degradations.
        raised: metrics that a candidate is conditioned on, or was made to raise.
        facts: more about the environment, for the report.

    Raises:
        ValueError: where the baseline is no candidate, two test pictures have one name, or a candidate lacks outputs or
            has too many.
    """

    candidates: Sequence[Candidate]
    samples: Sequence[Sample]
    protocols: Sequence[Protocol]
    folder: Path
    title: str = "Face restoration"
    scores: Sequence[str] = ()
    weights: dict[str, list[Path]] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    baseline: str = "input"
    seed: int = 0
    raised: frozenset[str] = frozenset()
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [candidate.name for candidate in self.candidates]
        if self.baseline not in names:
            raise ValueError(f"no candidate {self.baseline!r} to be the baseline; there are {', '.join(names)}")
        _check_names(self.samples)
        for candidate in self.candidates:
            candidate.check(self.samples)


def _check_names(samples: Sequence[Sample]) -> None:
    """Each test picture has a place of its own inside the folder of the benchmark."""
    if wrong := [name for sample in samples for name in (sample.dataset, sample.name) if not is_plain(name)]:
        raise ValueError(f"{wrong[0]!r} is no name for a test set or picture; give one that is no path")
    if twice := again([f"{sample.dataset}/{sample.name}" for sample in samples]):
        raise ValueError(f"two test pictures are {twice[0]}; rename the folder of one test set")
