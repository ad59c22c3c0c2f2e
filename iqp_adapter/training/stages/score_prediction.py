"""Stage 2 of the authors' model: predicts the codes of the target from a degraded picture and the target's score."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor, nn

from ...core.codes import decide, straight_through
from ...core.quality import BEST
from ...native.iqpir import IQPIR
from ...native.iqpir.model import Prediction
from ...scoring.scorer import Scorer
from .. import losses
from ..config import StageConfig
from ..target_codes import TargetCodes
from .stage import Batch, Grid, Stage, Terms

Way = Callable[[IQPIR, Prediction], Tensor]
"""Gives the sum (B, D, h, w) of the most likely codes, with the gradient that is to change these."""


def through_latent(model: IQPIR, prediction: Prediction) -> Tensor:
    """Straight through to what the Transformer reads: it moves the encoder and the score's map.

    Source: IQPIR. Codes change only because what the Transformer reads changes.
    """
    codes = model.look_up([logits.argmax(-1) for logits in prediction.logits])
    return straight_through(codes, prediction.features.float())


def through_logits(model: IQPIR, prediction: Prediction) -> Tensor:
    """Through the code logits: it moves the Transformer too. Source: this project."""
    return model.mix(tuple(decide(logits.float()) for logits in prediction.logits))


WAYS: dict[str, Way] = {"latent": through_latent, "logits": through_logits}
"""By `optimised` of the configuration."""


class ScorePredictionStage(Stage):
    """Stage 2 of IQPIR: trains encoder, Transformer and the map of the score; codebooks and generator are frozen.

    The condition is the score of the target. Terms: common and plus, the cross-entropy of the codes of the target,
    those of HQ+ for every picture; feature, the distance of the encoder's output, with the map, to the sum of these
    codes; and quality after `quality_from` steps: by how much the scores of the decoded pictures are below the best
    one of the training set, of which its range is 1. The fidelity path is not trained.

    Options: `quality_from`; by default there is no such term.

    Source: IQPIR (https://github.com/fengyang1399-pixel/IQPIR at a4408c7). Differs: scores are those of `metric`; the
    metric sees pictures in [0, 1], not in [-1, 1].

    Args:
        model: starts from the tokenizer of stage 1.
        targets: gives the codes of targets.
        scorer: of the quality term.
        way: of its gradient, one of `WAYS`.
    """

    term_names = ("common", "plus", "feature", "quality")
    defaults = {"quality_from": 1e9}

    def __init__(
        self,
        config: StageConfig,
        perceptual: nn.Module,
        model: IQPIR,
        targets: TargetCodes,
        scorer: Scorer,
        way: Way = through_latent,
    ):
        super().__init__(config, perceptual)
        self.model, self.targets, self.scorer, self.way = model, targets, scorer, way
        for frozen in (model.generator, model.fuse_convs_dict, *(book for book, _ in model.books)):
            frozen.requires_grad_(False)

    def models(self) -> dict[str, nn.Module]:
        return {"model": self.model}

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        prediction = self.model.predict(2 * batch.lq - 1, self.model.dial.score(batch.quality))
        terms = self.code_terms(prediction, batch)
        if step >= self.options["quality_from"]:
            terms["quality"] = self.quality(prediction, batch)
        yield "model", terms

    def code_terms(self, prediction: Prediction, batch: Batch) -> Terms:
        wanted = self.targets(batch.hq)
        terms = {
            name: losses.code_cross_entropy(logits, codes)
            for name, logits, codes in zip(("common", "plus"), prediction.logits, wanted, strict=False)
        }
        return terms | {"feature": losses.feature_distance(prediction.features, self.model.look_up(list(wanted)))}

    def quality(self, prediction: Prediction, batch: Batch) -> Tensor:
        decoded = self.model.decode(self.way(self.model, prediction), prediction, 0, adain=False)
        scores = self.scorer((decoded.float() / 2 + 0.5).clamp(0, 1))
        return losses.short_of_best(batch.scale.position(scores))

    def after_step(self, step: int) -> Terms:
        if step + 1 == self.config.steps:
            self.targets.keep()
        return {}

    def look(self, model: IQPIR, batch: Batch) -> Grid:
        rows = {f"q {quality}": model.restore(batch.lq, quality=quality) for quality in (0.1, 0.5, BEST)}
        return {"lq": batch.lq, **rows, "target": batch.hq}
