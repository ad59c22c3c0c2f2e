"""An adapter learns to reach the requested score, and is regularised by the target and by the bare host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ...core.codes import decide, divergences
from ...core.quality import ANY, BEST
from ...hosts.wrapped import WrappedHost
from ...restorer import Decision
from .. import losses
from .adaptation import Adaptation
from .stage import Batch, Terms


class Attempt(NamedTuple):
    """What a host with its adapter makes of a batch.

    Attributes:
        restored: pictures (B, 3, R, R) in [0, 1].
        bare: those of the bare host; None where no term needs them.
        terms: those of this kind of host alone.
    """

    restored: Tensor
    bare: Tensor | None
    terms: Terms


class Reward(Adaptation):
    """What both kinds share.

    Terms: quality, the difference between measured and requested score; as regularisers l1 and perceptual, the
    distances to the target, and from_bare and coarse, the distances to the bare host's picture: the perceptual one, and
    the difference of what is left after a blur; where codes are steered also kl, the KL divergence from the bare
    host's codes. The requested score is that of the requested quality within the sample's own set. Samples without a
    condition have no quality term.

    A metric also rises by contrast and shade, which change who a person seems to be. Under a large weight of coarse the
    adapter has fine detail alone to reach the score with.

    Source: stage 3 of IQPFR (arXiv 2503.09294), applied to other hosts. Differs: as in `QualityStage`, and the
    requested quality is that of the target, so that the target shows how to reach it.

    Options: `best` and `anything`, the shares of samples that request the best and a random quality instead; `blur`,
    the standard deviation of the blur, as a share of the side.
    """

    term_names = ("quality", "l1", "perceptual", "from_bare", "coarse", "kl")
    defaults = {**Adaptation.defaults, "best": 0.0, "anything": 0.0, "blur": 1 / 256}

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        yield from super().updates(batch._replace(quality=self.requested(batch)), step)

    def requested(self, batch: Batch) -> Tensor:
        """The quality (B,) that each sample requests."""
        draw, best = batch.uniform(3), self.options["best"]
        quality = torch.where(draw < best + self.options["anything"], batch.uniform(4), batch.quality)
        return torch.where(self.dropped(batch), ANY, torch.where(draw < best, BEST, quality))

    def terms(self, batch: Batch) -> Terms:
        restored, bare, own = self.attempt(batch)
        held = {"l1": losses.l1(restored, batch.hq), "perceptual": self.perceptual(restored, batch.hq)}
        if bare is not None:
            held |= self.departures(restored, bare)
        return {"quality": self.shortfall(restored, batch)} | held | own

    def departures(self, restored: Tensor, bare: Tensor) -> Terms:
        """Distances to the bare host's pictures (B, 3, R, R), those that count."""
        distances = {}
        if self.counts("from_bare"):
            distances["from_bare"] = self.perceptual(restored, bare)
        if self.counts("coarse"):
            distances["coarse"] = losses.coarse_difference(restored, bare, self.options["blur"] * bare.shape[-1])
        return distances

    def shortfall(self, restored: Tensor, batch: Batch) -> Tensor:
        """Difference between the scores of pictures and the requested ones; 0 where no quality is requested."""
        measured = self.guard.driving(restored.clamp(0, 1))
        wanted = torch.where(batch.quality.isnan(), measured.detach(), batch.scale.score(batch.quality.nan_to_num()))
        return losses.quality_shortfall(measured, wanted, batch.scale.spread)

    def attempt(self, batch: Batch) -> Attempt:
        """Restores a batch; the adapter's condition is already set."""
        raise NotImplementedError


class ImageReward(Reward):
    """For adapters to which the picture has a gradient."""

    def attempt(self, batch: Batch) -> Attempt:
        restored = self.model.spec.restore(self.model.host, batch.lq).float()
        if not self.counts("from_bare", "coarse"):
            return Attempt(restored, None, {})
        with torch.no_grad(), self.model.as_given():
            return Attempt(restored, self.model.spec.restore(self.model.host, batch.lq).float(), {})


class CodeReward(Reward):
    """For adapters that steer codes; changes codes and never pixels.

    Options: `temperature` of the straight-through softmax; `noise`, the share of Gumbel noise in the draws. At 0 the
    codes are the most likely ones. At 1 the reward can rise because draws become less random, while the most likely
    codes stay the same.
    """

    defaults = {**Reward.defaults, "temperature": 1.0, "noise": 0.0}

    @classmethod
    def seen(cls, model: WrappedHost, lq: Tensor) -> Tensor:
        return decoded_with_gradient(model, model.decision(lq), "reward")

    def attempt(self, batch: Batch) -> Attempt:
        decision = self.model.decision(batch.lq)
        logits = [x.float() for x in decision.logits]
        draws = (self.options["noise"] * batch.gumbel(x.shape[1:], 5 + book) for book, x in enumerate(logits))
        weights = tuple(decide(x, self.options["temperature"], noise) for x, noise in zip(logits, draws, strict=True))
        restored = decision.decode(weights)
        if not self.counts("from_bare", "coarse", "kl"):
            return Attempt(restored, None, {})
        own, bare = self.own(batch)
        return Attempt(restored, bare, {"kl": divergences(logits, own).mean()})

    @torch.no_grad()
    def own(self, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """The bare host's code logits, and its picture of them."""
        with self.model.as_given():
            decision = self.model.decision(batch.lq)
            logits = [x.float() for x in decision.logits]
            return logits, decision.decode(tuple(decide(x) for x in logits))


def decoded_with_gradient(model: WrappedHost, decision: Decision, stage: str) -> Tensor:
    """What a code host makes of what it decides, with a gradient to its code logits.

    Raises:
        ValueError: where there is none, so that the stage has to be left out.
    """
    try:
        return decision.decode(tuple(decide(logits.float()) for logits in decision.logits))
    except ValueError as error:
        reason = str(error).partition(",")[0]
        raise ValueError(f"{reason}: no reward reaches the codes of a {model.name}; leave {stage} out") from error
