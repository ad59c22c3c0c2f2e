"""An adapter learns its host's dial: from the picture, or from the codes of a host whose picture teaches nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from ...host import HostSpec
from ...host_codes import HostCodes
from ...quality import ANY, BEST
from ...wrapped_host import DEFAULT, WrappedHost
from .. import losses
from ..config import StageConfig
from ..guard import Guard
from .base import Batch, Grid, Stage, Terms

logger = logging.getLogger(__name__)


class Adaptation(Stage):
    """What both kinds share: the adapter is the player, the host is frozen, the condition is the target's quality.

    Args:
        model: the wrapped host, whose default adapter learns.
        guard: judges what it has learned.

    Options: `drop`, the share of targets whose quality is not told; `shuffle_every`, the steps between two looks at
    whether the quality is used: by how much each term grows with the qualities of other pictures, as "... shuffled".
    """

    defaults = {"drop": 0.15, "shuffle_every": 50}

    def __init__(self, config: StageConfig, perceptual: nn.Module, model: WrappedHost, guard: Guard):
        super().__init__(config, perceptual)
        self.model, self.guard = model.train(), guard

    def players(self) -> dict[str, nn.Module]:
        return {"adapter": self.model.adapters[DEFAULT]}

    def turns(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        dropped = batch.uniform(1) < self.options["drop"]
        yield "adapter", self._terms_at(torch.where(dropped, ANY, batch.quality), batch)
        self._shuffled = self.shuffled(batch) if (step + 1) % self.options["shuffle_every"] == 0 else {}

    @torch.no_grad()
    def shuffled(self, batch: Batch) -> Terms:
        """What the terms lose with qualities of other pictures: about 0 where the adapter does not use them."""
        own, others = (self._terms_at(quality, batch) for quality in (batch.quality, batch.quality.roll(1)))
        return {f"{name} shuffled": others[name] - own[name] for name in own}

    def _terms_at(self, quality: Tensor, batch: Batch) -> Terms:
        with self.model.conditioned(quality):
            return self.terms(batch)

    def after_step(self, step: int) -> Terms:
        return self._shuffled

    def terms(self, batch: Batch) -> Terms:
        """The loss terms, within a call of the host at the targets' quality."""
        raise NotImplementedError

    def look(self, model: nn.Module, batch: Batch) -> Grid:
        rows = {"lq": batch.lq, "bare": self.model.restore(batch.lq, quality=None)}
        with self.wearing(model):
            for quality in (0.1, 0.5, BEST):
                rows[f"q {quality}"] = self.model.restore(batch.lq, quality=quality)
        return rows | {"target": batch.hq}

    def verdict(self, rows: Grid) -> Terms:
        best = rows[f"q {BEST}"]
        if torch.equal(best, rows["q 0.1"]):
            logger.warning("the pictures are the same at every quality: the adapter has learned nothing yet")
        return self.guard(best, rows["bare"], rows["target"])

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

    Args:
        teacher: the host with an encoder of good pictures; the wanted codes are the nearest ones to what that makes of
            the target. Without one it is the host itself, whose encoder has learned to overlook how good a picture is:
            the codes then say little of the quality.
    """

    defaults = {**Adaptation.defaults, "smoothing": 0.1}

    def __init__(
        self,
        config: StageConfig,
        perceptual: nn.Module,
        model: WrappedHost,
        guard: Guard,
        teacher: nn.Module | None = None,
    ):
        super().__init__(config, perceptual, model, guard)
        self.teacher = model.bare if teacher is None else teacher

    def terms(self, batch: Batch) -> Terms:
        logits, wanted = self.model.codes_in(batch.lq).logits(), self.wanted(batch.hq)
        return {"code": losses.code_cross_entropy(logits, wanted, self.options["smoothing"])}

    @torch.no_grad()
    def wanted(self, hq: Tensor) -> Tensor:
        with self.model.conditioned(None):
            return codes_of(self.model.spec, self.teacher, hq)


def codes_of(spec: HostSpec, host: nn.Module, pictures: Tensor) -> Tensor:
    """Indices (B, L) of the codes that stand for pictures (B, 3, R, R) in [0, 1], to the encoder of a code host."""
    assert spec.codes is not None
    return HostCodes(host, spec.codes(host), partial(spec.restore, host, pictures)).nearest()
