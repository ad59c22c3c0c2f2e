"""Training without a condition on the better targets alone: the simple rival of a condition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from iqp_adapter.training.config import StageConfig
from iqp_adapter.training.stages import Batch, PredictionStage, Stage, Terms


def better_half(batch: Batch) -> Batch:
    """The samples whose targets have the higher quality."""
    return batch.at(batch.quality.topk(len(batch.quality) // 2).indices)


class BetterHalf(Stage):
    """Trains the stage that it is mixed into on the better half of batches twice as large."""

    def __init__(self, config: StageConfig, *given: Any):
        super().__init__(replace(config, batch=2 * config.batch), *given)

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        yield from super().updates(better_half(batch), step)


class FilteredPrediction(BetterHalf, PredictionStage):
    """Stage 2 on the better half."""
