"""Stages of training: the models that learn, their loss terms, and their sample grids."""

from .adaptation import Adaptation
from .codebooks import CodebookStage
from .distillation import CodeDistillation
from .finish import FinishStage
from .imitation import CodeImitation, HostImitation, ImageImitation
from .prediction import PredictionStage
from .quality_optimisation import LatentQualityStage, QualityStage
from .reward import CodeReward, ImageReward
from .score_prediction import ScorePredictionStage
from .stage import Batch, Stage, Terms
from .summed_codebooks import SummedCodebookStage

__all__ = [
    "Adaptation",
    "Batch",
    "CodeDistillation",
    "CodeImitation",
    "CodeReward",
    "CodebookStage",
    "FinishStage",
    "HostImitation",
    "ImageImitation",
    "ImageReward",
    "LatentQualityStage",
    "PredictionStage",
    "QualityStage",
    "ScorePredictionStage",
    "Stage",
    "SummedCodebookStage",
    "Terms",
]
