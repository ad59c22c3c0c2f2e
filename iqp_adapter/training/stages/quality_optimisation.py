"""Stage 3 of the native model: discrete quality optimisation. It changes codes and never pixels."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from ...core.codes import decide, divergences
from ...core.quality import BEST
from ...native import IQPFR
from ...scoring.scorer import Scorer
from .. import losses
from ..config import StageConfig
from .prediction import look_at_dial
from .stage import Batch, Grid, Stage, Terms


class QualityStage(Stage):
    """Trains the Transformer to predict codes whose picture has the requested score.

    Codes are drawn by straight-through Gumbel-softmax and decoded by the frozen decoder. The loss compares the score of
    the picture with the requested score, which is that of the requested quality within the sample's own set. Terms:
    quality, that difference; kl, the KL divergence from the codes of stage 2.

    Options: `best`, the share of samples that request the best quality, while the others request a random one;
    `temperature` of the softmax; `fidelity` of the decoding.

    Source: IQPFR (arXiv 2503.09294). Differs: the paper maximises the score; here the model learns to reach the
    requested score at every quality.
    """

    term_names = ("quality", "kl")
    defaults = {"temperature": 1.0, "best": 0.5, "fidelity": 0.5}

    def __init__(self, config: StageConfig, perceptual: nn.Module, model: IQPFR, before: IQPFR, scorer: Scorer):
        super().__init__(config, perceptual)
        self.model, self.before, self.scorer = model, before.eval().requires_grad_(False), scorer
        if model.embedding is None or model.score_scale is None:
            raise ValueError("stage 3 trains for a requested quality; a model with condition: false ends with stage 2")
        model.requires_grad_(False)
        for learning in (model.transformer, model.embedding):
            learning.requires_grad_(True)

    def models(self) -> dict[str, nn.Module]:
        return {"model": self.model}

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        requested = torch.where(batch.uniform(3) < self.options["best"], BEST, batch.uniform(4))
        prediction = self.model.predict(batch.lq, requested[:, None])
        with torch.no_grad():
            before = self.before.predict(batch.lq, requested[:, None]).code_logits
        logits = [x.float() for x in prediction.code_logits]
        weights = [
            decide(x, self.options["temperature"], batch.gumbel(x.shape[1:], 5 + i)) for i, x in enumerate(logits)
        ]
        restored = self.model.decode(self.model.books.mix(*weights), prediction, self.options["fidelity"])
        measured = self.scorer(restored.float().clamp(0, 1))
        yield (
            "model",
            {
                "quality": losses.quality_shortfall(measured, batch.scale.score(requested), batch.scale.spread),
                "kl": divergences(logits, [x.float() for x in before]).mean(),
            },
        )

    def look(self, model: IQPFR, batch: Batch) -> Grid:
        return look_at_dial(model, batch)
