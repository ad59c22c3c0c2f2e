"""Trains a native model: from folders of good face pictures and a configuration to the weights of each stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..native import preset
from .base_run import Folders
from .config import TrainConfig
from .native_stages import NativeRun, stages_of
from .stages import Stage
from .trackers import Tracker


class NativeTraining(NativeRun):
    """The run of "stage1" (codebooks), "stage2" (prediction of codes), "stage3" (optimisation of quality) and "stage4".

    The preset says which model it is: ours, IQPFR, or that of the paper's authors, IQPIR, which ends with stage 2. The
    last stage is for a model of ours that has a finish. It alone sees pictures of the full side; the others, which are
    about codes, see them at the side that codes are of. A picture of that side is large enough for training.

    Args:
        config: settings of the run.
        hq, folder, watch, log_with: as for `Run`.
    """

    def __init__(
        self,
        config: TrainConfig,
        hq: Folders,
        folder: Path,
        watch: Folders | None = None,
        log_with: Sequence[Tracker] = (),
    ):
        self.size = preset(config.preset, **config.changes)
        self.stages = stages_of(self, self.size)
        self.scored_side = self.size.coded if self.size.coded < self.size.resolution else None
        super().__init__(config, self.size.coded, hq, folder, watch, log_with=log_with)

    def side_of(self, name: str) -> int:
        return self.size.resolution if name == "stage4" else self.resolution

    def kind(self, name: str) -> type[Stage]:
        return self.stages.kind(name)

    def stage(self, name: str) -> Stage:
        return self.stages.make(name)

    def unfinished(self, name: str) -> str:
        number = name.removeprefix("stage")
        return f"stage {number} is not finished in {self.folder}; run it first with --stage {number}"

    def save(self, name: str, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)
