"""Stage 3: discrete quality optimisation, through choices of codes and never through pixels."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from ...core.codes import decide, divergences
from ...core.quality import BEST, ScoreScale
from ...native import IQPFR
from ...scoring.scorer import Scorer
from .. import losses
from ..config import StageConfig
from .base import Batch, Grid, Stage, Terms
from .prediction import look_at_dial


class QualityStage(Stage):
    """Teaches the Transformer to choose codes whose picture scores what was asked for.

    Codes are drawn by straight-through Gumbel-softmax and decoded by the frozen decoder; the score of the picture
    should be the one that was asked for, half of the time the best. Terms: quality, and leash, which is the divergence
    from stage 2.

    Source: IQPFR (arXiv 2503.09294). Differs: the paper raises the score; here the asked-for score is the aim at every
    quality, so that the dial stays a dial.
    """

    defaults = {"temperature": 1.0, "best": 0.5, "fidelity": 0.5}

    def __init__(self, config: StageConfig, perceptual: nn.Module, model: IQPFR, before: IQPFR, scorer: Scorer):
        super().__init__(config, perceptual)
        self.model, self.before, self.scorer = model, before.eval().requires_grad_(False), scorer
        if model.embedding is None or model.score_scale is None:
            raise ValueError("stage 3 aims at the quality asked for; a model with condition: false ends with stage 2")
        self.scale: ScoreScale = model.score_scale
        model.requires_grad_(False)
        for learning in (model.transformer, model.embedding):
            learning.requires_grad_(True)

    def players(self) -> dict[str, nn.Module]:
        return {"model": self.model}

    def turns(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        asked = torch.where(batch.uniform(3) < self.options["best"], BEST, batch.uniform(4))
        prediction = self.model.predict(batch.lq, asked[:, None])
        with torch.no_grad():
            before = self.before.predict(batch.lq, asked[:, None]).code_logits
        logits = [x.float() for x in prediction.code_logits]
        weights = [
            decide(x, self.options["temperature"], batch.gumbel(x.shape[1:], 5 + i)) for i, x in enumerate(logits)
        ]
        restored = self.model.decode(self.model.books.mix(*weights), prediction, self.options["fidelity"])
        measured = self.scorer(restored.float().clamp(0, 1))
        yield (
            "model",
            {
                "quality": losses.quality_shortfall(measured, self.scale.score(asked), self.scale.spread),
                "leash": divergences(logits, [x.float() for x in before]).mean(),
            },
        )

    def look(self, model: IQPFR, batch: Batch) -> Grid:
        return look_at_dial(model, batch)
