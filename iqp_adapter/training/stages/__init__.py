"""Stages of training: the models that learn, their loss terms, and their sample grids."""

from .adaptation import Adaptation
from .base import Batch, Stage, Terms
from .codebooks import CodebookStage
from .imitation import CodeImitation, ImageImitation
from .prediction import PredictionStage
from .quality import QualityStage
from .reward import CodeReward, ImageReward

__all__ = [
    "Adaptation",
    "Batch",
    "CodeImitation",
    "CodeReward",
    "CodebookStage",
    "ImageImitation",
    "ImageReward",
    "PredictionStage",
    "QualityStage",
    "Stage",
    "Terms",
]
