"""The stages of each kind of native model, and what each of them starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch

from ..core.quality import ScoreScale
from ..native import IQPFR, IQPFRConfig, Tokenizer
from ..native.iqpir import IQPIR, IQPIRConfig, IQPIRTokenizer
from ..native.presets import Size
from ..store.checkpoint import WEIGHTS
from ..store.files import sha256_of
from .config import TrainConfig
from .staged_run import StagedRun
from .stages import (
    CodebookStage,
    FinishStage,
    LatentQualityStage,
    PredictionStage,
    QualityStage,
    ScorePredictionStage,
    Stage,
    SummedCodebookStage,
)
from .stages.score_prediction import WAYS
from .target_codes import KeptCodes, TargetCodes

CODES = "codes"
"""Folder in that of the run for the codes of targets, in one folder for each tokenizer."""


QUALITY: dict[str, type[QualityStage]] = {"logits": QualityStage, "latent": LatentQualityStage}
"""The kinds of stage 3 of our model, by `optimised` of the configuration; `WAYS` has those of the authors' model."""


def kind_of_stage(name: str, size: Size, optimised: str) -> type[Stage]:
    """The class of a stage of a native model.

    Raises:
        ValueError: for a stage that this kind of model does not have.
    """
    if not isinstance(size, IQPIRConfig):
        ours = {"stage1": CodebookStage, "stage2": PredictionStage, "stage3": QUALITY[optimised], "stage4": FinishStage}
        return ours[name]
    theirs: dict[str, type[Stage]] = {"stage1": SummedCodebookStage, "stage2": ScorePredictionStage}
    if name not in theirs:
        raise ValueError(
            f"the authors' model has no {name}; leave it out: its quality term is an option of stage2, quality_from"
        )
    return theirs[name]


class NativeRun(StagedRun):
    """A run of native training, as its stages see it."""

    config: TrainConfig
    prediction = PredictionStage
    """Stage 2 of our model."""


class NativeStages(Protocol):
    """The stages of one kind of model in a run."""

    def kind(self, name: str) -> type[Stage]:
        """The class of a stage.

        Raises:
            ValueError: for a stage that this kind of model does not have.
        """

    def make(self, name: str) -> Stage:
        """A stage at its start."""


class IQPFRStages:
    """Ours: codebooks, prediction of codes, optimisation of quality, the finish."""

    def __init__(self, run: NativeRun, size: IQPFRConfig):
        self.run, self.size = run, size

    def kind(self, name: str) -> type[Stage]:
        kind = kind_of_stage(name, self.size, self.run.config.optimised)
        return self.run.prediction if kind is PredictionStage else kind

    def make(self, name: str) -> Stage:
        run = self.run
        config, perceptual, start = run.config.stages[name], run.perceptual(), run.before(name)
        if start is None:
            return CodebookStage(config, perceptual, Tokenizer(self.size), run.config.seed)
        if name == "stage2":
            tokenizer = Tokenizer.from_pretrained(start, self.size).to(run.device)
            tokenizer.to(memory_format=torch.channels_last)
            model = IQPFR(self.size, run.scale, set_scales=run.set_scales)
            model.adopt(tokenizer)
            return run.prediction(config, perceptual, model, tokenizer)
        if name == "stage4":
            return FinishStage(config, perceptual, self._restorer(start))
        quality, before = QUALITY[run.config.optimised], self._restorer(start)
        return quality(config, perceptual, self._restorer(start), before, run.scorer)

    def _restorer(self, folder: Path) -> IQPFR:
        return IQPFR.from_pretrained(folder).to(self.run.device).to(memory_format=torch.channels_last)


class IQPIRStages:
    """The authors': codebooks, and prediction of codes with a quality term as an option."""

    def __init__(self, run: NativeRun, size: IQPIRConfig):
        self.run, self.size = run, size

    def kind(self, name: str) -> type[Stage]:
        return kind_of_stage(name, self.size, self.run.config.optimised)

    def make(self, name: str) -> Stage:
        run = self.run
        config, perceptual, start = run.config.stages[name], run.perceptual(), run.before(name)
        if start is None:
            return SummedCodebookStage(config, perceptual, IQPIRTokenizer(self.size))
        tokenizer = IQPIRTokenizer.from_pretrained(start).to(run.device).to(memory_format=torch.channels_last)
        scale = run.scale.of_positions()
        model = IQPIR(self.size, score_scale=scale, any=commonest(scale, self.size))
        model.adopt(tokenizer)
        way = WAYS[run.config.optimised]
        return ScorePredictionStage(config, perceptual, model, self._targets(tokenizer, start), run.scorer, way)

    def _targets(self, tokenizer: IQPIRTokenizer, folder: Path) -> TargetCodes:
        """Gives the codes of targets, which are kept where they come again."""
        if not all(each.recurs for each in self.run.data.folders.values()):
            return TargetCodes(tokenizer)
        return KeptCodes(tokenizer, self.run.folder / CODES / sha256_of(folder / WEIGHTS)[:16])


def commonest(scale: ScoreScale, size: IQPIRConfig) -> float:
    """The middle score of the row of a score's table that most pictures of a scale fall into."""
    rows = size.rows[0] if size.rows else 1
    shares = scale.quality(torch.linspace(0, 1, rows + 1)).diff()
    return (int(shares.argmax()) + 0.5) / rows


def stages_of(run: NativeRun, size: Size) -> NativeStages:
    return IQPIRStages(run, size) if isinstance(size, IQPIRConfig) else IQPFRStages(run, size)
