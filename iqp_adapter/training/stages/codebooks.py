"""Stage 1 of the native model: codebooks, encoder and decoder."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from ...degradations.rng import torch_generator
from ...native import Tokenizer
from .. import losses
from ..config import StageConfig
from ..discriminator import PatchDiscriminator
from .stage import Batch, Grid, Stage, Terms


class CodebookStage(Stage):
    """Trains an autoencoder of pictures whose codes come from two codebooks.

    Terms: l1, perceptual, commitment, and adversarial after `adversarial_from` steps; discriminator is the loss of the
    discriminator itself. It sees only pictures that are good enough for the HQ+ branch. The other pictures are soft or
    compressed, and the decoder should reproduce that.

    Options: `adversarial_from`; `revive_every`, the steps between two replacements of unused codes; `revive_until`, the
    share of training after which none are replaced.
    """

    term_names = ("l1", "perceptual", "commitment", "adversarial", "discriminator")
    rates = {"discriminator": 4.0}  # two time scales (arXiv 1706.08500)
    defaults = {"adversarial_from": 1e9, "revive_every": 25, "revive_until": 0.8}

    def __init__(self, config: StageConfig, perceptual: nn.Module, tokenizer: Tokenizer, seed: int):
        super().__init__(config, perceptual)
        self.tokenizer, self.discriminator, self.seed = tokenizer, PatchDiscriminator(), seed

    def models(self) -> dict[str, nn.Module]:
        return {"tokenizer": self.tokenizer, "discriminator": self.discriminator}

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        restored, quantised = self.tokenizer(batch.hq, batch.quality)
        restored = restored.float()
        terms = {
            "l1": losses.l1(restored, batch.hq),
            "perceptual": self.perceptual(restored, batch.hq),
            "commitment": quantised.commitment,
        }
        adversarial = step >= self.options["adversarial_from"]
        if adversarial:
            self.discriminator.requires_grad_(False)
            terms["adversarial"] = losses.hinge_generator(self.discriminator(restored), quantised.rich)
            self.discriminator.requires_grad_(True)
        yield "tokenizer", terms
        self.quantised = quantised
        if adversarial:
            real, fake = self.discriminator(batch.hq), self.discriminator(restored.detach())
            yield "discriminator", {"discriminator": losses.hinge_discriminator(real, fake, quantised.rich)}

    def after_step(self, step: int) -> Terms:
        books = self.tokenizer.books
        self.tokenizer.update_codebooks(self.quantised)
        revived = 0
        if step % self.options["revive_every"] == 0 and step < self.options["revive_until"] * self.config.steps:
            generator = torch_generator(self.seed + step)
            revived += books.common.revive(self.quantised.common_tokens.flatten(0, 1), generator)
            if len(self.quantised.plus_tokens):
                revived += books.plus.revive(self.quantised.plus_tokens.flatten(0, 1), generator)
        return {
            "common_perplexity": books.common.perplexity(),
            "plus_perplexity": books.plus.perplexity(),
            "revived": torch.tensor(float(revived)),
        }

    def look(self, model: Tokenizer, batch: Batch) -> Grid:
        without_plus, _ = model(batch.hq, torch.zeros_like(batch.quality))
        with_plus, _ = model(batch.hq, torch.ones_like(batch.quality))
        return {"target": batch.hq, "common + HQ+": with_plus, "common only": without_plus}
