"""An adapter learns its host's dial: from the picture, or from the codes of a host whose picture teaches nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...quality import ANY, BEST
from ...wrapped_host import DEFAULT, WrappedHost
from .. import losses
from ..config import StageConfig
from .base import Batch, Grid, Stage, Terms


class Adaptation(Stage):
    """What both kinds share: the adapter is the player, the host is frozen, the condition is the target's quality.

    Args:
        model: the wrapped host, whose default adapter learns.
    """

    defaults = {"drop": 0.15}

    def __init__(self, config: StageConfig, perceptual: nn.Module, model: WrappedHost):
        super().__init__(config, perceptual)
        self.model = model.train()

    def players(self) -> dict[str, nn.Module]:
        return {"adapter": self.model.adapters[DEFAULT]}

    def turns(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        dropped = batch.uniform(1) < self.options["drop"]
        with self.model.conditioned(torch.where(dropped, ANY, batch.quality)):
            terms = self.terms(batch)
        yield "adapter", terms

    def terms(self, batch: Batch) -> Terms:
        """The loss terms, within a call of the host at the targets' quality."""
        raise NotImplementedError

    def look(self, model: nn.Module, batch: Batch) -> Grid:
        rows = {"lq": batch.lq, "bare": self.model.restore(batch.lq, quality=None)}
        with self.wearing(model):
            for quality in (0.1, 0.5, BEST):
                rows[f"q {quality}"] = self.model.restore(batch.lq, quality=quality)
        return rows | {"target": batch.hq}

    @contextmanager
    def wearing(self, adapter: nn.Module) -> Iterator[None]:
        """The host with another adapter of the same sites, such as the averaged one."""
        own = self.model.adapters[DEFAULT]
        self.model.adapters[DEFAULT] = adapter
        try:
            yield
        finally:
            self.model.adapters[DEFAULT] = own


class ImageAdaptation(Adaptation):
    """For hosts whose picture has a gradient to the sites. Terms: l1 and perceptual."""

    def terms(self, batch: Batch) -> Terms:
        restored = self.model.spec.restore(self.model.host, batch.lq).float()
        return {"l1": losses.l1(restored, batch.hq), "perceptual": self.perceptual(restored, batch.hq)}


class CodeAdaptation(Adaptation):
    """For hosts that decide codes, whose picture has no gradient to them. Term: code, the cross-entropy.

    The wanted codes are the nearest ones to the features that the host's own encoder has of the target: an encoder of
    good pictures is not part of the released weights.
    """

    defaults = {"drop": 0.15, "smoothing": 0.1}

    def terms(self, batch: Batch) -> Terms:
        logits, wanted = self.model.codes_in(batch.lq).logits(), self.wanted(batch.hq)
        return {"code": losses.code_cross_entropy(logits, wanted, self.options["smoothing"])}

    @torch.no_grad()
    def wanted(self, hq: Tensor) -> Tensor:
        with self.model.conditioned(None):
            return self.model.codes_in(hq).nearest()
