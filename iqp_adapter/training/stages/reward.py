"""An adapter learns to make a picture's score the one that is asked for, held by the target or by the bare host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...core.codes import decide, divergences
from ...core.quality import ANY, BEST
from ...hosts.wrapped import WrappedHost
from .. import losses
from ..config import StageConfig
from ..guard import Guard
from .adaptation import Adaptation
from .base import Batch, Terms


class Attempt(NamedTuple):
    """Pictures (B, 3, R, R) in [0, 1], restored at the quality asked for and by the bare host, and further terms."""

    restored: Tensor
    bare: Tensor
    more: Terms


class Reward(Adaptation):
    """What both kinds share.

    Terms: quality, by how much the score misses what was asked for; what holds it are l1 and perceptual, the distances
    to the target, and leash, the perceptual distance to the bare host's picture. A share of the pictures is asked for
    nothing and is only held.

    Source: stage 3 of IQPFR (arXiv 2503.09294), on a host that is not ours. Differs: as in `QualityStage`, and the
    target's own quality is asked for, which the target shows how to reach.

    Options: `best` and `anything`, the shares that are asked for the best and for any number instead.
    """

    defaults = {**Adaptation.defaults, "best": 0.0, "anything": 0.0}

    def __init__(self, config: StageConfig, perceptual: nn.Module, model: WrappedHost, guard: Guard):
        super().__init__(config, perceptual, model, guard)
        [self.scale] = self.adapter.scales

    def turns(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        yield from super().turns(batch._replace(quality=self.asked(batch)), step)

    def asked(self, batch: Batch) -> Tensor:
        """The quality (B,) to be reached."""
        draw, best = batch.uniform(3), self.options["best"]
        asked = torch.where(draw < best + self.options["anything"], batch.uniform(4), batch.quality)
        return torch.where(self.dropped(batch), ANY, torch.where(draw < best, BEST, asked))

    def terms(self, batch: Batch) -> Terms:
        restored, bare, more = self.attempt(batch)
        held = {"l1": losses.l1(restored, batch.hq), "perceptual": self.perceptual(restored, batch.hq)}
        held["leash"] = self.perceptual(restored, bare)
        return {"quality": self.shortfall(restored, batch.quality)} | held | more

    def shortfall(self, restored: Tensor, asked: Tensor) -> Tensor:
        """By how much the scores of pictures miss the quality (B,); nothing where that is NaN."""
        measured = self.guard.driving(restored.clamp(0, 1))
        wanted = torch.where(asked.isnan(), measured.detach(), self.scale.score(asked.nan_to_num()))
        return losses.quality_shortfall(measured, wanted, self.scale.spread)

    def attempt(self, batch: Batch) -> Attempt:
        """Within a call of the host at the quality that is asked for."""
        raise NotImplementedError


class ImageReward(Reward):
    """Through the picture."""

    def attempt(self, batch: Batch) -> Attempt:
        restored = self.model.spec.restore(self.model.host, batch.lq).float()
        with torch.no_grad(), self.model.conditioned(None):
            bare = self.model.spec.restore(self.model.host, batch.lq).float()
        return Attempt(restored, bare, {})


class CodeReward(Reward):
    """Through choices of codes, never through pixels. One more term: divergence, from the bare host's codes in nats.

    Options: `temperature` of the straight-through softmax; `noise`, the share of Gumbel noise in the draws, at 0 the
    codes that the host would take. At 1 the reward rises where the draws get surer, without any change to those.
    """

    defaults = {**Reward.defaults, "temperature": 1.0, "noise": 0.0}

    def attempt(self, batch: Batch) -> Attempt:
        decision = self.model.decision(batch.lq)
        logits = [x.float() for x in decision.logits]
        own = self.own(batch)
        with torch.no_grad():
            bare = decision.decode(tuple(decide(x) for x in own))
        draws = (self.options["noise"] * batch.gumbel(x.shape[1:], 5 + book) for book, x in enumerate(logits))
        weights = tuple(decide(x, self.options["temperature"], noise) for x, noise in zip(logits, draws, strict=True))
        return Attempt(decision.decode(weights), bare, {"divergence": divergences(logits, own).mean()})

    @torch.no_grad()
    def own(self, batch: Batch) -> list[Tensor]:
        """The bare host's code logits."""
        with self.model.conditioned(None):
            return [x.float() for x in self.model.decision(batch.lq).logits]
