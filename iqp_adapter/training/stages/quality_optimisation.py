"""Stage 3 of the native model: discrete quality optimisation. It changes codes and never pixels."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ...core.codes import decide, divergences, straight_through
from ...core.quality import BEST
from ...native import IQPFR
from ...native.model import Prediction
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
        if not model.takes_quality or model.score_scale is None:
            raise ValueError("stage 3 trains for a requested quality; a model with condition: false ends with stage 2")
        model.requires_grad_(False)
        for part in self.learning():
            part.requires_grad_(True)

    def learning(self) -> list[nn.Module]:
        """The parts of the model that are trained."""
        return [self.model.transformer, *self.model.embeddings]

    def models(self) -> dict[str, nn.Module]:
        return {"model": self.model}

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        requested = torch.where(batch.uniform(3) < self.options["best"], BEST, batch.uniform(4))
        prediction = self.model.predict(batch.lq, requested[:, None])
        with torch.no_grad():
            before = self.before.predict(batch.lq, requested[:, None]).code_logits
        restored = self.restored(prediction, batch)
        measured = self.scorer(restored.float().clamp(0, 1))
        logits = [x.float() for x in prediction.code_logits]
        yield (
            "model",
            {
                "quality": losses.quality_shortfall(measured, batch.scale.score(requested), batch.scale.spread),
                "kl": divergences(logits, [x.float() for x in before]).mean(),
            },
        )

    def restored(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Pictures (B, 3, R, R) of whole codes, with the gradient that is to change these."""
        weights = [
            decide(x.float(), self.options["temperature"], batch.gumbel(x.shape[1:], 5 + book))
            for book, x in enumerate(prediction.code_logits)
        ]
        return self.model.decode(self.model.books.mix(*weights), prediction, self.options["fidelity"])

    def look(self, model: IQPFR, batch: Batch) -> Grid:
        return look_at_dial(model, batch)


class LatentQualityStage(QualityStage):
    """The same by another way of the gradient: straight through the most likely codes to the encoder's features.

    It trains the encoder and the score embedding, and changes codes only because what the Transformer reads changes.
    Terms and options are those of `QualityStage`; there is no draw, and so no `temperature`.

    Source: IQPIR (https://github.com/fengyang1399-pixel/IQPIR). Differs: the aim is the requested score, and the KL
    divergence holds the codes, where the authors go on with the losses of stage 2; the fidelity path is decoded as
    well, without a gradient, so that no pixel changes past the codes.
    """

    defaults = {name: value for name, value in QualityStage.defaults.items() if name != "temperature"}

    def learning(self) -> list[nn.Module]:
        return [self.model.encoder, *self.model.embeddings]

    def restored(self, prediction: Prediction, batch: Batch) -> Tensor:
        books = self.model.books
        codes = books.lookup(*(x.argmax(-1) for x in prediction.code_logits))
        latent = books.scaled(self.model.transformer.latent(prediction.features[-1]).float())
        seen = prediction._replace(
            features=[x.detach() for x in prediction.features],
            tokens=None if prediction.tokens is None else prediction.tokens.detach(),
        )
        return self.model.decode(straight_through(codes, latent), seen, self.options["fidelity"])
