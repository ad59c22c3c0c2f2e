"""Stage 4 of the native model: the finish, which draws what is finer than codes can say."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ...core.quality import BEST
from ...native import IQPFR
from ...native.finish import doubled, fine, halved
from .. import losses
from ..config import StageConfig
from ..discriminator import PatchDiscriminator
from .stage import Batch, Grid, Stage, Terms

LOUDER = 24
"""Times which fine detail is made stronger before the discriminator sees it: it is a hundredth of a picture's range."""

ALONE = 50
"""Steps for which the discriminator learns before the finish is to deceive it: a new one pulls in any direction."""


class FinishStage(Stage):
    """Trains the finish of a model whose other parts are frozen, on pictures of its full side.

    A share of the samples finishes the target itself, reduced; there the detail that is missing is known. The others
    finish a restoration at a random fidelity and at the quality of the target. A target that was enlarged has no detail
    to learn from: it counts for the adversarial terms alone.

    The discriminator sees fine detail and nothing else, so that it cannot tell sets by their content. It compares the
    detail of good targets with what is drawn on good pictures of all sets, in batches that have such targets.

    Terms: l1, of the detail; perceptual, of the target with the drawn detail in place of its own; adversarial, after
    `adversarial_from` steps, in units of the weight by which it pulls as hard at the last layer as the other terms
    together; discriminator is the loss of the discriminator itself.

    Options: `adversarial_from`; `own`, the share of samples that finish their target; `good`, the quality above which
    detail is compared.
    """

    term_names = ("l1", "perceptual", "adversarial", "discriminator")
    defaults = {"adversarial_from": 1e9, "own": 0.5, "good": 0.5}

    def __init__(self, config: StageConfig, perceptual: nn.Module, model: IQPFR):
        super().__init__(config, perceptual)
        if model.finish is None:
            raise ValueError("stage 4 trains the finish, and this model has none; set finish_width, or leave it out")
        self.model, self.finish = model.requires_grad_(False), model.finish.requires_grad_(True)
        self.discriminator = PatchDiscriminator()

    def models(self) -> dict[str, nn.Module]:
        return {"model": self.model, "discriminator": self.discriminator}

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        drawn, real = self.drawn(batch).float(), fine(batch.hq)
        terms, since = self.known_terms(drawn, real, batch), step - self.options["adversarial_from"]
        good = batch.quality > self.options["good"]
        yield "model", terms | (self.adversarial(drawn, good, terms) if since >= ALONE else {})
        if since >= 0:
            yield "discriminator", {"discriminator": self.mistaken(drawn, real, good, batch.full)}

    def adversarial(self, drawn: Tensor, good: Tensor, terms: Terms) -> Terms:
        """The adversarial term of good pictures, beside the other terms."""
        deceived = self.discriminator.deceived(_seen(drawn), _equally(good))
        pull = losses.adaptive_weight(self.together(terms), deceived, self.finish.leave.weight)
        return {"adversarial": pull * deceived}

    def mistaken(self, drawn: Tensor, real: Tensor, good: Tensor, full: Tensor) -> Tensor:
        """The discriminator's loss (); a batch without good detail to compare with teaches nothing."""
        there = good & full
        return self.discriminator.mistaken(_seen(real), _seen(drawn), _equally(there), _equally(good & there.any()))

    def drawn(self, batch: Batch) -> Tensor:
        """The detail (B, 3, R, R) that the finish adds."""
        model = self.model
        own = batch.uniform(1) < self.options["own"]
        fidelity = batch.uniform(2)
        with torch.no_grad():
            prediction = model.predict(halved(batch.lq), batch.quality[:, None])
            codes = model.books.lookup(*(x.argmax(-1) for x in prediction.code_logits))
            restored = model.decode(codes, prediction, fidelity).clamp(0, 1)
            coarse = torch.where(own[:, None, None, None], halved(batch.hq), restored)
        return fine(self.finish(coarse, batch.lq, prediction.tokens, fidelity[:, None, None, None]))

    def known_terms(self, drawn: Tensor, real: Tensor, batch: Batch) -> Terms:
        """Terms of the samples whose detail is known."""
        drawn, real, hq = drawn[batch.full], real[batch.full], batch.hq[batch.full]
        if not len(hq):
            return {"l1": drawn.sum(), "perceptual": drawn.sum()}
        with_drawn = (doubled(halved(hq)) + drawn).clamp(0, 1)
        return {"l1": losses.l1(drawn, real), "perceptual": self.perceptual(with_drawn, hq)}

    def look(self, model: IQPFR, batch: Batch) -> Grid:
        """Rows: degraded pictures, restorations without and with the finish at three qualities, and targets."""
        rows = {"lq": batch.lq}
        for quality in (0.1, 0.5, BEST):
            restored = model.restore(batch.lq, quality=quality)
            rows[f"q {quality} coded"] = doubled(halved(restored))
            rows[f"q {quality}"] = restored
        return rows | {"target": batch.hq}


def _seen(detail: Tensor) -> Tensor:
    """Detail around 0 as a picture in [0, 1]; what is too strong still has a gradient."""
    return 0.5 + (LOUDER * detail).tanh() / 2


def _equally(chosen: Tensor) -> Tensor:
    """How much each sample (B,) counts in a mean over all, so that it becomes the mean over the chosen ones."""
    return chosen * len(chosen) / chosen.sum().clamp_min(1)
