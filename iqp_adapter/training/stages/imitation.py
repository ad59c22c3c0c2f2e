"""An adapter learns from targets: from their pixels, or from their codes where pixels have no gradient."""

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
from .stage import Batch, Terms


class Imitation(Adaptation):
    """What both kinds share: one configuration serves every host, whichever of the terms it has."""

    term_names: tuple[str, ...] = ("l1", "perceptual", "code")


class ImageImitation(Imitation):
    """For adapters to which the picture has a gradient. Terms: l1 and perceptual."""

    def terms(self, batch: Batch) -> Terms:
        restored = self.model.spec.restore(self.model.host, batch.lq).float()
        return {"l1": losses.l1(restored, batch.hq), "perceptual": self.perceptual(restored, batch.hq)}


class CodeImitation(Imitation):
    """For adapters that steer codes, to which the picture has no gradient. Term: code, the cross-entropy.

    Args:
        teacher: the host with an encoder that was trained on good pictures; its features of the target give the codes
            to learn. Without one the host itself is the teacher. Its encoder was trained to give the same codes for
            good and poor pictures, so its codes depend little on the quality.

    Options: `smoothing` of the code labels.
    """

    defaults = {**Imitation.defaults, "smoothing": 0.1}

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

    @classmethod
    def seen(cls, model: WrappedHost, lq: Tensor) -> Tensor:
        if model.codes is None:
            raise ValueError(f"{model.spec.name} has no single codebook to imitate; leave imitation out, give reward")
        return model.codes_in(lq).logits()

    def terms(self, batch: Batch) -> Terms:
        _, logits = self.model.codes_in(batch.lq).decided()
        return {"code": self.cross_entropy(logits, self.wanted(batch.hq))}

    def cross_entropy(self, logits: Tensor, wanted: Tensor) -> Tensor:
        return losses.code_cross_entropy(logits, wanted, self.options["smoothing"])

    @torch.no_grad()
    def wanted(self, hq: Tensor) -> Tensor:
        with self.model.as_given():
            return codes_of(self.model.spec, self.teacher, hq)


class HostImitation(CodeImitation):
    """For code hosts that learn themselves. Terms: code, and feature, the distance of the host's features, with what
    the adapter adds to them, to the wanted codes.

    Source: stage 2 of IQPIR (https://github.com/fengyang1399-pixel/IQPIR), with a weight of 1 for feature and 0.5 for
    code. Differs: starts from the weights of the host instead of from those of its VQGAN and a new Transformer.
    """

    term_names = ("code", "feature")

    def terms(self, batch: Batch) -> Terms:
        access = self.model.codes
        assert access is not None
        features, logits = self.model.codes_in(batch.lq).decided()
        wanted = self.wanted(batch.hq)
        entries = access.codebook(self.model.bare)[wanted].detach()  # (B, L, D)
        return {"code": self.cross_entropy(logits, wanted), "feature": losses.feature_distance(features, entries)}


def codes_of(spec: HostSpec, host: nn.Module, pictures: Tensor) -> Tensor:
    """Indices (B, L) of the codes that a code host's encoder gives pictures (B, 3, R, R) in [0, 1]."""
    access = spec.codes(host) if spec.codes else None
    assert access is not None
    return HostCodes(host, access, partial(spec.restore, host, pictures)).nearest()
