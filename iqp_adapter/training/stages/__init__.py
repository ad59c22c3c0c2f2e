"""The three stages of native training: what is learned, from which terms, and what is looked at meanwhile."""

from .base import Batch, Stage, Terms
from .codebooks import CodebookStage
from .prediction import PredictionStage
from .quality import QualityStage

__all__ = ["Batch", "CodebookStage", "PredictionStage", "QualityStage", "Stage", "Terms"]
