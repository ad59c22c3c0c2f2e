"""Stage 2 of the native model: predicts the codes of the target from a degraded picture and the target's quality."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ...core.quality import ANY, BEST
from ...native import IQPFR, Tokenizer
from ...native.model import Prediction
from .. import losses
from ..config import StageConfig
from ..discriminator import PatchDiscriminator
from .stage import Batch, Grid, Stage, Terms


class PredictionStage(Stage):
    """Trains the encoder of degraded pictures, the quality-conditioned Transformer and the fidelity path.

    Terms: common and plus, the cross-entropy of the codes; feature, the distance of the encoders' features; l1 and
    perceptual, of pictures decoded at a random fidelity, which train the fidelity path; adversarial, of the same
    pictures, after `adversarial_from` steps; discriminator is the loss of the discriminator itself. The condition is
    the quality of the target. It is dropped for a share of the samples, so that the model also learns "any".

    The discriminator sees good pictures alone, as in stage 1.

    Options: `drop`, that share; `smoothing` of the code labels; `pictures`, the number of samples that are decoded;
    `adversarial_from`; `good`, the quality of the target above which the discriminator sees a picture.
    """

    term_names = ("common", "plus", "feature", "l1", "perceptual", "adversarial", "discriminator")
    rates = {"table": 10.0, "discriminator": 4.0}
    # of a score map, each of whose ten rows is seen by a tenth of the samples; and as in stage 1
    defaults = {"drop": 0.15, "smoothing": 0.1, "pictures": 4, "adversarial_from": 1e9, "good": 0.5}

    def __init__(self, config: StageConfig, perceptual: nn.Module, model: IQPFR, tokenizer: Tokenizer):
        super().__init__(config, perceptual)
        self.model, self.tokenizer = model, tokenizer.eval().requires_grad_(False)
        self.discriminator = PatchDiscriminator()
        model.books.requires_grad_(False)
        model.decoder.requires_grad_(False)

    def models(self) -> dict[str, nn.Module]:
        return {"model": self.model, "discriminator": self.discriminator}

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        dropped = batch.uniform(1) < self.options["drop"]
        quality = torch.where(dropped, ANY, batch.quality)[:, None]
        prediction = self.model.predict(batch.lq, quality)
        restored, some = self.restored(prediction, batch), batch.first(int(self.options["pictures"]))
        terms = self.code_terms(prediction, batch) | {
            "l1": losses.l1(restored, some.hq),
            "perceptual": self.perceptual(restored, some.hq),
        }
        if step < self.options["adversarial_from"]:
            yield "model", terms
            return
        good = some.quality > self.options["good"]
        yield "model", terms | {"adversarial": self.discriminator.deceived(restored, good)}
        yield "discriminator", {"discriminator": self.discriminator.mistaken(some.hq, restored, good)}

    def code_terms(self, prediction: Prediction, batch: Batch) -> Terms:
        with torch.no_grad():
            wanted = self.tokenizer.encoder(batch.hq)[-1]
            common, plus = self.tokenizer.quantise_features(wanted, batch.quality).codes
        common_logits, plus_logits = prediction.code_logits
        return {
            "common": losses.code_cross_entropy(common_logits, common, self.options["smoothing"]),
            "plus": losses.code_cross_entropy(plus_logits, plus, self.options["smoothing"]),
            "feature": losses.feature_distance(prediction.features[-1], wanted),
        }

    def restored(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Pictures of the first few samples only, since decoding costs as much as everything else together."""
        few = slice(int(self.options["pictures"]))
        some = Prediction(
            prediction.lq[few],
            tuple(x[few] for x in prediction.code_logits),
            [x[few] for x in prediction.features],
            None if prediction.tokens is None else prediction.tokens[few],
        )
        code_tokens = self.model.books.lookup(*(x.argmax(-1) for x in some.code_logits))
        return self.model.decode(code_tokens, some, batch.uniform(2)[few]).float()

    def look(self, model: IQPFR, batch: Batch) -> Grid:
        return look_at_dial(model, batch)


def look_at_dial(model: IQPFR, batch: Batch) -> Grid:
    """Rows: degraded pictures, restorations at three qualities and three fidelities, and targets."""
    rows = {"lq": batch.lq}
    for fidelity in (0.0, 0.5, 1.0):
        for quality in (0.1, 0.5, BEST):
            rows[f"q {quality} w {fidelity}"] = model.restore(batch.lq, quality=quality, fidelity=fidelity)
    return rows | {"target": batch.hq}
