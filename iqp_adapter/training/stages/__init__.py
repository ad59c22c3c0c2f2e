"""Stages of training: what is learned, from which terms, and what is looked at meanwhile."""

from .adaptation import CodeAdaptation, ImageAdaptation
from .base import Batch, Stage, Terms
from .codebooks import CodebookStage
from .prediction import PredictionStage
from .quality import QualityStage

__all__ = [
    "Batch",
    "CodeAdaptation",
    "CodebookStage",
    "ImageAdaptation",
    "PredictionStage",
    "QualityStage",
    "Stage",
    "Terms",
]
