"""Distances between populations of pictures: FID as papers on faces compute it, and one without downloads.

Source: the Fréchet Inception Distance (arXiv 1706.08500); FID as in VQFR (TencentARC/VQFR, metric_paper), which NTIRE
uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from .base import VQFR_DRIVE, Download, Moments, Protocol, SetMeasure, released

FIRST = 3000
"""VQFR's code uses only this many pictures."""

FEWEST = 2048
"""Pictures below which a distance of sets says little: the covariance of Inception's 2048 features is singular then,
and the distance is too large by an amount that depends on the number."""


def fid(device: torch.device, files: Sequence[Path]) -> SetMeasure:
    """FID to stored statistics: files of the patched Inception's weights, and of `mean` (D,) and `cov` (D, D)."""
    inception, statistics, *_ = files
    network, reference = _inception(inception).to(device), read_statistics(statistics)

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        return network(interpolate(2 * images.to(device) - 1, (299, 299), mode="bilinear")).cpu()

    return SetMeasure(f"patched Inception {inception.name}, {statistics.name}", features, reference, FIRST)


def to_originals(device: torch.device, files: Sequence[Path]) -> SetMeasure:
    """The distance between outputs and originals, on averaged features of EfficientNet-Lite0; needs no download."""
    from ...scoring.backbones import efficientnet_lite

    network = efficientnet_lite("lite0").to(device)

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        return network(images.to(device))[-1].mean((2, 3)).cpu()

    return SetMeasure("EfficientNet-Lite0, last stage, averaged", features)


def caution(count: int) -> str:
    """What readers of a distance of `count` pictures should know; "" where they are enough."""
    if count >= FEWEST:
        return ""
    return f"{count} pictures are few for a distance of sets ({FEWEST} or more): compare at equal N only"


def moments(features: Tensor) -> Moments:
    """Features (N, D) -> their mean (D,) and covariance (D, D).

    Raises:
        ValueError: for fewer than two.
    """
    if len(features) < 2:
        raise ValueError(f"{len(features)} picture has no covariance; a distance of sets needs two or more")
    values = features.double().numpy()
    return values.mean(0), np.cov(values, rowvar=False)


def frechet(mean: np.ndarray, cov: np.ndarray, other_mean: np.ndarray, other_cov: np.ndarray) -> float:
    """Fréchet distance of two Gaussians.

    The trace of the product's root comes from eigenvalues of a symmetric matrix, which are real and exact also where
    there are fewer pictures than features and the general root of a matrix breaks down.
    """
    values, vectors = np.linalg.eigh(cov)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ other_cov @ root).clip(0)).sum()
    return max(0.0, float(np.square(mean - other_mean).sum() + np.trace(cov) + np.trace(other_cov) - 2 * cross))


def read_statistics(path: Path) -> Moments:
    """Mean (D,) and covariance (D, D) of a file of basicsr's, read without running code in it.

    Raises:
        ValueError: for a file that holds something else.
    """
    content = _read(path)
    try:
        mean, cov = (np.asarray(content[name], np.float64) for name in ("mean", "cov"))
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"{path} holds no 'mean' and 'cov'; give statistics as basicsr stores them") from error
    if mean.ndim != 1 or cov.shape != 2 * mean.shape or not (np.isfinite(mean).all() and np.isfinite(cov).all()):
        raise ValueError(f"{path} holds a mean {mean.shape} and a cov {cov.shape}, expected finite (D,) and (D, D)")
    return mean, cov


def _read(path: Path) -> Any:
    allowed = [np.ndarray, np.dtype, type(np.dtype("f4")), type(np.dtype("f8")), *_reconstructors()]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is damaged, or holds code, which is never run; fetch it again") from error


def _reconstructors() -> list[Any]:
    """NumPy's function that unpickles arrays, under its name of today and of the files' time."""
    from numpy.lib import NumpyVersion

    core = np._core if NumpyVersion(np.__version__) >= "2.0.0" else np.core  # type: ignore[attr-defined]
    function = core.multiarray._reconstruct
    return [function, (function, "numpy.core.multiarray._reconstruct")]


def _inception(path: Path) -> nn.Module:
    """The Inception that FID is measured with, with the weights of a file.

    It is torchvision's, pooled as the network that TensorFlow measured with. Source: pytorch-fid (Apache-2.0).
    """
    from torchvision.models import inception_v3

    network = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    means = partial(avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
    for name in ("5b", "5c", "5d", "6b", "6c", "6d", "6e", "7b"):
        _pool_by(means, network.get_submodule(f"Mixed_{name}"))
    _pool_by(partial(max_pool2d, kernel_size=3, stride=1, padding=1), network.Mixed_7c)
    network.load_state_dict(_read(path))
    network.fc = nn.Identity()
    return network.eval()


def _pool_by(pool: Callable[[Tensor], Tensor], block: Any) -> None:
    """Has the last branch of a block, the one that pools, do so in another way."""
    branches = block._forward
    block._forward = lambda x: [*branches(x)[:-1], block.branch_pool(pool(x))]


INCEPTION = released("mseitzer/pytorch-fid", "fid_weights/pt_inception-2015-12-05-6726825d.pth", "Apache-2.0")
FFHQ_512 = Download("inception_FFHQ_512.pth", VQFR_DRIVE)

PROTOCOLS = (
    Protocol(
        "fid/vqfr",
        True,
        "set",
        fid,
        needs=("torchvision",),
        download=(INCEPTION, FFHQ_512),
        note="patched Inception at 299 px, pictures in [-1, 1], statistics of FFHQ at 512 px, the first 3000 pictures; "
        "biased where N is small, so compare at equal N only",
    ),
    Protocol(
        "fd/efficientnet-lite0@originals",
        True,
        "set",
        to_originals,
        note="Fréchet distance of pooled EfficientNet-Lite0 features to those of the originals; no FID, and comparable "
        "within one report only",
        trained_on="its backbone is that of the perceptual loss",
    ),
)
