"""Trains the native model: from folders of good face pictures and a configuration to the weights of each stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..native import IQPFR, IQPFRConfig, Tokenizer, preset
from .base_run import Folders
from .config import TrainConfig
from .staged_run import StagedRun
from .stages import CodebookStage, LatentQualityStage, PredictionStage, QualityStage, Stage

QUALITY: dict[str, type[QualityStage]] = {"logits": QualityStage, "latent": LatentQualityStage}
"""The kinds of stage 3, by `optimised` of the configuration."""


class NativeTraining(StagedRun):
    """The run of "stage1" (codebooks), "stage2" (prediction of codes) and "stage3" (optimisation of quality).

    Args:
        config: settings of the run.
        hq, folder, watch: as for `Run`.
    """

    config: TrainConfig
    prediction = PredictionStage

    def __init__(self, config: TrainConfig, hq: Folders, folder: Path, watch: Path | None = None):
        self.size: IQPFRConfig = preset(config.preset, **config.changes)
        super().__init__(config, self.size.resolution, hq, folder, watch)

    def kind(self, name: str) -> type[Stage]:
        return {"stage1": CodebookStage, "stage2": self.prediction, "stage3": QUALITY[self.config.optimised]}[name]

    def stage(self, name: str) -> Stage:
        config, perceptual, start = self.config.stages[name], self.perceptual(), self.before(name)
        if start is None:
            return CodebookStage(config, perceptual, Tokenizer(self.size), self.config.seed)
        if name == "stage2":
            tokenizer = Tokenizer.from_pretrained(start, self.size).to(self.device)
            tokenizer.to(memory_format=torch.channels_last)
            model = IQPFR(self.size, self.scale, set_scales=self.set_scales)
            model.adopt(tokenizer)
            return self.prediction(config, perceptual, model, tokenizer)
        before = self._restorer(start)
        return QUALITY[self.config.optimised](config, perceptual, self._restorer(start), before, self.scorer)

    def _restorer(self, folder: Path) -> IQPFR:
        return IQPFR.from_pretrained(folder).to(self.device).to(memory_format=torch.channels_last)

    def unfinished(self, name: str) -> str:
        number = name.removeprefix("stage")
        return f"stage {number} is not finished in {self.folder}; run it first with --stage {number}"

    def save(self, name: str, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)
