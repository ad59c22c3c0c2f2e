"""Loss terms, one function each; every term is a mean over the batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, relu, smooth_l1_loss


def l1(restored: Tensor, hq: Tensor) -> Tensor:
    """Mean absolute difference of pictures (B, 3, H, W) in [0, 1]."""
    return (restored.float() - hq).abs().mean()


def coarse_difference(restored: Tensor, bare: Tensor, sigma: float) -> Tensor:
    """Mean squared difference in % of pictures (B, 3, H, W) in [0, 1] after a Gaussian blur: finer detail is free.

    It is squared, as an absolute difference holds a fresh adapter at zero.

    Args:
        sigma: standard deviation of the blur in pixels.
    """
    from torchvision.transforms.functional import gaussian_blur

    difference = 100 * (restored.float() - bare)
    return gaussian_blur(difference, [2 * math.ceil(3 * sigma) + 1] * 2, [sigma] * 2).square().mean()


def hinge_generator(fake: Tensor, judged: Tensor) -> Tensor:
    """The generator's loss of the hinge GAN (arXiv 1705.02894): it raises the logits of generated pictures.

    Args:
        fake: the discriminator's logits of generated pictures (B, 1, h, w).
        judged: (B,) bool, the pictures that count; the others contribute 0. Or how much each counts.
    """
    return (-fake.float().mean((1, 2, 3)) * judged).mean()


def hinge_discriminator(real: Tensor, fake: Tensor, judged: Tensor, judged_fake: Tensor | None = None) -> Tensor:
    """The discriminator's loss: it raises the logits of real pictures above 1 and lowers those of others below -1.

    Args:
        judged: as for the generator; of the real pictures alone where `judged_fake` is given for the others.
    """
    on_real, on_fake = (relu(1 + x.float()).mean((1, 2, 3)) for x in (-real, fake))
    return (on_real * judged + on_fake * (judged if judged_fake is None else judged_fake)).mean()


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last: Tensor, most: float = 1.0) -> Tensor:
    """The weight () of an adversarial loss that makes it pull as hard at the last layer as the reconstruction does.

    Source: VQGAN (arXiv 2012.09841). The limit to 1 is that of CodeFormer and IQPIR.

    Args:
        reconstruction, adversarial: losses ().
        last: weight of the generator's last layer.
        most: the largest weight.
    """
    pulls = [torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (reconstruction, adversarial)]
    return (pulls[0] / (pulls[1] + 1e-4)).clamp(0, most)


def code_cross_entropy(logits: Tensor, codes: Tensor, smoothing: float = 0.0) -> Tensor:
    """Logits (B, L, K) against the codes of the target (B, L)."""
    return cross_entropy(logits.float().flatten(0, 1), codes.flatten(), label_smoothing=smoothing)


def feature_distance(features: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of the encoders' deepest features (B, C, h, w), or of features and codes (B, L, D)."""
    return (features.float() - wanted.float()).square().mean()


def quality_shortfall(measured: Tensor, requested: Tensor, spread: Tensor) -> Tensor:
    """Difference between measured and requested scores (B,), in units of the training scores' spread (B,)."""
    return smooth_l1_loss(measured.float() / spread, requested / spread, beta=0.1)


def short_of_best(positions: Tensor) -> Tensor:
    """By how much scores (B,), which are 0 for the worst of the training set and 1 for its best, are below 1, ()."""
    return relu(1 - positions.float().mean())
