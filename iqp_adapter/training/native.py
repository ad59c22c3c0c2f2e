"""Trains the native model: from a folder of good face pictures and a configuration to the weights of each stage."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..native import IQPFR, IQPFRConfig, Tokenizer, preset
from ..store import checkpoint
from .config import TrainConfig
from .run import Progress, Run, silent
from .stages import CodebookStage, PredictionStage, QualityStage, Stage


class NativeTraining(Run):
    """The three stages of one run, which share a folder, a data set and a score scale.

    Args:
        config: settings of the run.
        hq, folder, watch: as for `Run`.
    """

    config: TrainConfig
    prediction = PredictionStage

    def __init__(self, config: TrainConfig, hq: Path, folder: Path, watch: Path | None = None):
        self.size: IQPFRConfig = preset(config.preset, **config.changes)
        super().__init__(config, self.size.resolution, hq, folder, watch)

    def run(self, number: int, progress: Progress = silent) -> Path:
        """Trains one stage, or goes on with it, and returns the folder of its weights."""
        network = self.train(f"stage{number}", number, lambda: self._stage(number), progress)
        folder = self.folder / f"stage{number}" / "model"
        self._keep(network, folder)
        return folder

    def _stage(self, number: int) -> Stage:
        config, perceptual = self.config.stage(number), self.perceptual()
        if number == 1:
            return CodebookStage(config, perceptual, Tokenizer(self.size), self.config.seed)
        if number == 2:
            tokenizer = self._tokenizer()
            model = IQPFR(self.size, self.scale)
            model.adopt(tokenizer)
            return self.prediction(config, perceptual, model, tokenizer)
        return QualityStage(config, perceptual, self._restorer(), self._restorer(), self.scorer)

    def _tokenizer(self) -> Tokenizer:
        tokenizer = Tokenizer(self.size)
        _, state = checkpoint.load(self._finished(1))
        checkpoint.load_strict(tokenizer, state, source="stage 1")
        return tokenizer.to(self.device).to(memory_format=torch.channels_last)

    def _restorer(self) -> IQPFR:
        model = IQPFR.from_pretrained(self._finished(2))
        return model.to(self.device).to(memory_format=torch.channels_last)

    def _finished(self, number: int) -> Path:
        path = self.folder / f"stage{number}" / "model"
        if not path.exists():
            raise FileNotFoundError(
                f"stage {number} is not finished in {self.folder}; run it first with --stage {number}"
            )
        return path

    def _keep(self, network: nn.Module, folder: Path) -> None:
        if not self.accelerator.is_main_process:
            return
        if isinstance(network, IQPFR):
            network.save_pretrained(folder)
        else:
            checkpoint.save(folder, network.state_dict(), {"tokenizer": self.size.to_dict()})
