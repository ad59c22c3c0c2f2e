"""Distances to the original: pyiqa's full-reference metrics, and perceptual distances."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .base import Measure, Protocol, resized


def full_reference(metric: str, side: int | None, device: torch.device, files: Sequence[Path]) -> Measure:
    """A metric of pyiqa that compares with the original; with `side`, both are first resized to it (bicubic)."""
    from ...scoring.pyiqa_metrics import build

    built = build(metric, files[0] if files else None, {})
    network = built.network.requires_grad_(False).eval().to(device)

    def values(restored: Tensor, original: Tensor, names: Sequence[str] = ()) -> Tensor:
        pair = (resized(restored, side).to(device), resized(original, side).to(device))
        return network(*pair).flatten().cpu()

    return Measure(built.protocol if side is None else f"{built.protocol}@{side}px", values)


def perceptual(variant: str, device: torch.device, files: Sequence[Path]) -> Measure:
    """`PerceptualDistance` on the features of an EfficientNet-Lite."""
    from ...scoring.backbones import efficientnet_lite
    from ...scoring.perceptual import PerceptualDistance

    between = PerceptualDistance(efficientnet_lite(variant)).to(device).between
    return Measure(
        f"unit-feature distance/{variant}",
        lambda restored, original, *_: between(restored.to(device), original.to(device)).cpu(),
    )


def _entry(identifier: str, metric: str, lower_better: bool, **more: Any) -> Protocol:
    return Protocol(identifier, lower_better, "reference", partial(full_reference, metric, None), **more)


_PIXELS = "a loss is the difference of pixels"
_TARGET = "iqp-lite learned from it"

PROTOCOLS = (
    _entry("psnr/rgb@native", "psnr", False, trained_on=_PIXELS),
    _entry("psnr/y@native", "psnry", False, trained_on=_PIXELS),
    _entry("ssim/y@native", "ssim", False),
    _entry("ssim/rgb@native", "ssimc", False),
    _entry("fsim/pyiqa@native", "fsim", False),
    _entry("vsi/pyiqa@native", "vsi", False),
    _entry("gmsd/pyiqa@native", "gmsd", True),
    _entry("vif/pyiqa@native", "vif", False, trained_on=_TARGET),
    _entry("nlpd/pyiqa@native", "nlpd", True, trained_on=_TARGET),
    _entry("lpips/alex@native", "lpips", True),
    _entry("lpips/vgg@native", "lpips-vgg", True),
    _entry("dists/pyiqa@native", "dists", True),
    Protocol("perceptual/efficientnet-lite2@native", True, "reference", partial(perceptual, "lite2")),
    Protocol(
        "perceptual/efficientnet-lite0@native",
        True,
        "reference",
        partial(perceptual, "lite0"),
        trained_on="it is the perceptual loss",
    ),
)
