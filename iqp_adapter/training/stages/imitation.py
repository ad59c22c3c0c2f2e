"""An adapter learns its host's dial from targets: from pictures, or from codes where the picture teaches nothing."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from ...hosts.codes import HostCodes
from ...hosts.spec import HostSpec
from ...hosts.wrapped import WrappedHost
from .. import losses
from ..config import StageConfig
from ..guard import Guard
from .adaptation import Adaptation
from .base import Batch, Terms


class ImageImitation(Adaptation):
    """For hosts whose picture has a gradient to the sites. Terms: l1 and perceptual."""

    def terms(self, batch: Batch) -> Terms:
        restored = self.model.spec.restore(self.model.host, batch.lq).float()
        return {"l1": losses.l1(restored, batch.hq), "perceptual": self.perceptual(restored, batch.hq)}


class CodeImitation(Adaptation):
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
        if model.codes is None:
            raise ValueError(f"{model.spec.name} has no single codebook to imitate; leave imitation out, give reward")
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
