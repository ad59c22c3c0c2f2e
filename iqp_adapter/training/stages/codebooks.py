"""Stage 1: codebooks, encoder and decoder. What it is for every native model, and for ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...degradations.rng import torch_generator
from ...native import Tokenizer
from .. import losses
from ..config import StageConfig
from ..discriminator import PatchDiscriminator
from .stage import Batch, Grid, Stage, Terms


class Reconstructed(NamedTuple):
    """Pictures (B, 3, R, R) in [0, 1] from their codes, the commitment (), and which of them the discriminator sees."""

    pictures: Tensor
    commitment: Tensor
    judged: Tensor


class Reconstruction(Stage):
    """Trains an autoencoder of pictures whose codes come from codebooks.

    Terms: l1, perceptual, commitment, and adversarial after `adversarial_from` steps; discriminator is the loss of the
    discriminator itself.
    """

    term_names = ("l1", "perceptual", "commitment", "adversarial", "discriminator")
    defaults = {"adversarial_from": 1e9}

    def __init__(self, config: StageConfig, perceptual: nn.Module, tokenizer: nn.Module):
        super().__init__(config, perceptual)
        self.tokenizer, self.discriminator = tokenizer, PatchDiscriminator()

    def models(self) -> dict[str, nn.Module]:
        return {"tokenizer": self.tokenizer, "discriminator": self.discriminator}

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        pictures, commitment, judged = self.reconstruct(batch)
        pictures = pictures.float()
        terms = {
            "l1": losses.l1(pictures, batch.hq),
            "perceptual": self.perceptual(pictures, batch.hq),
            "commitment": commitment,
        }
        adversarial = step >= self.options["adversarial_from"]
        if adversarial:
            terms["adversarial"] = self.adversarial(self.discriminator.deceived(pictures, judged), terms)
        yield "tokenizer", terms
        if adversarial:
            yield "discriminator", {"discriminator": self.discriminator.mistaken(batch.hq, pictures, judged)}

    def adversarial(self, deceived: Tensor, terms: Terms) -> Tensor:
        """The generator's adversarial term (), beside its other terms."""
        return deceived

    def reconstruct(self, batch: Batch) -> Reconstructed:
        raise NotImplementedError

    def look(self, model: nn.Module, batch: Batch) -> Grid:
        with_plus, without = (self.pictures(model, batch.hq, torch.full_like(batch.quality, x)) for x in (1.0, 0.0))
        return {"target": batch.hq, "common + HQ+": with_plus, "common only": without}

    def pictures(self, model: Any, hq: Tensor, quality: Tensor) -> Tensor:
        """What a tokenizer makes of pictures (B, 3, R, R) in [0, 1], taken for ones of a quality (B,)."""
        raise NotImplementedError


class CodebookStage(Reconstruction):
    """Stage 1 of IQPFR: entries are moving averages, and dead ones are revived.

    The discriminator sees only pictures that are good enough for the HQ+ branch. The other pictures are soft or
    compressed, and the decoder should reproduce that.

    Options: `adversarial_from`; `revive_every`, the steps between two replacements of unused codes; `revive_until`, the
    share of training after which none are replaced.
    """

    rates = {"discriminator": 4.0}  # two time scales (arXiv 1706.08500)
    defaults = {**Reconstruction.defaults, "revive_every": 25, "revive_until": 0.8}
    tokenizer: Tokenizer

    def __init__(self, config: StageConfig, perceptual: nn.Module, tokenizer: Tokenizer, seed: int):
        super().__init__(config, perceptual, tokenizer)
        self.seed = seed

    def reconstruct(self, batch: Batch) -> Reconstructed:
        pictures, self.quantised = self.tokenizer(batch.hq, batch.quality)
        return Reconstructed(pictures, self.quantised.commitment, self.quantised.rich)

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

    def pictures(self, model: Tokenizer, hq: Tensor, quality: Tensor) -> Tensor:
        return model(hq, quality)[0]
