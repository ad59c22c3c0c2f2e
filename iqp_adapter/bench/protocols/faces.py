"""Distances between two faces as others compute them: dlib's embeddings, angles of ArcFace embeddings, landmarks.

Deg and IDD share a network and differ in colour order, range and unit, so that their numbers are not comparable.
Sources: dlib; VQFR (TencentARC/VQFR, metric_paper); RestoreFormer++ (scripts/metrics/cal_identity_distance.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ...compat import make_importable
from ...pictures import as_pixels
from ...store.checkpoint import load_strict, read_foreign
from .base import VQFR_DRIVE, Download, Measure, Protocol, Remembered, released

OTHER_PERSON = 0.6
"""Distance of dlib's embeddings above which two faces are of two people, by dlib's own documentation."""

IDENTICAL = 1.0
"""Degrees below which VQFR's code leaves a pair out."""


def identity(device: torch.device, files: Sequence[Path]) -> Measure:
    """Distance of two faces to dlib's face recognition network: 0 is the same picture, above 0.6 is another person."""
    from ...photo.identity import DlibIdentity

    embed = Remembered(DlibIdentity())
    return Measure(
        "dlib_face_recognition_resnet_model_v1, template crop",
        lambda restored, original, *_: torch.linalg.vector_norm(embed(restored) - embed(original), dim=1),
    )


def degrees(device: torch.device, files: Sequence[Path]) -> Measure:
    """VQFR's Deg: in degrees, on grey pictures in [-1, 1]; pairs that are nearly identical have no value."""
    embed = Remembered(_embedding(_arcface(files[0], device), _grey_by_cv2, device))

    def values(restored: Tensor, original: Tensor, names: Sequence[str] = ()) -> Tensor:
        angle = angles(embed(restored), embed(original)) * (180 / math.pi)
        return torch.where(angle < IDENTICAL, torch.nan, angle)

    return Measure("ArcFace-R18, VQFR's Deg", values)


def radians(device: torch.device, files: Sequence[Path]) -> Measure:
    """RestoreFormer++'s IDD: in radians, on grey pictures in [0, 1], of which nothing is left out."""
    embed = Remembered(_embedding(_arcface(files[0], device), grey_of_bgr, device))
    return Measure("ArcFace-R18, IDD", lambda restored, original, *_: angles(embed(restored), embed(original)))


def landmark_distance(device: torch.device, files: Sequence[Path]) -> Measure:
    """VQFR's LMD: mean distance of 98 landmarks, in pixels of the picture."""
    find = Remembered(_landmarks(files[0], device))

    def values(restored: Tensor, original: Tensor, names: Sequence[str] = ()) -> Tensor:
        apart = (find(restored) - find(original)).unflatten(1, (-1, 2))  # (B, 98, 2)
        return apart.norm(dim=2).mean(1)

    return Measure("AWing FAN, LMD", values)


def angles(embeddings: Tensor, others: Tensor) -> Tensor:
    """Angles between vectors (B, D), in radians (B,)."""
    cosine = torch.cosine_similarity(embeddings.double(), others.double())
    return cosine.clamp(-1, 1).arccos().float()


def peaks(heatmaps: Tensor) -> Tensor:
    """Heatmaps (B, K, H, W) -> (x, y) of their maxima (B, K, 2), moved by a quarter towards the higher neighbour.

    Source: `calculate_points` of facexlib, which NumPy no longer runs. Differs: a maximum at the upper or lower border
    changes no other one.
    """
    width, flat = heatmaps.shape[3], heatmaps.flatten(2)
    best = flat.argmax(2)  # (B, K)

    def lean(step: int) -> Tensor:
        ahead, behind = ((best + way).clamp(0, flat.shape[2] - 1)[..., None] for way in (step, -step))
        return (flat.gather(2, ahead) - flat.gather(2, behind))[..., 0].sign() / 4

    return torch.stack([best % width + lean(1), best // width + lean(width)], 2) + 0.5


def grey_of_bgr(images: Tensor) -> Tensor:
    """RGB pictures (B, 3, H, W) -> grey (B, 1, 128, 128) by weights that take blue for red, as RestoreFormer++ does."""
    weights = torch.tensor([0.1140, 0.5870, 0.2989])
    grey = (images * weights[:, None, None]).sum(1, keepdim=True)
    return interpolate(grey, (128, 128), mode="bilinear", align_corners=False)


def _grey_by_cv2(images: Tensor) -> Tensor:
    """RGB pictures (B, 3, H, W) -> grey (B, 1, 128, 128) in [-1, 1], reduced as cv2 does it by default."""
    import cv2

    grey = [_cv2_resize(cv2.cvtColor(as_pixels(image), cv2.COLOR_RGB2GRAY), 128) for image in images]
    return torch.from_numpy(np.stack(grey))[:, None] / 127.5 - 1


def _cv2_resize(pixels: np.ndarray, side: int) -> np.ndarray:
    import cv2

    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_LINEAR)


def _arcface(weights: Path, device: torch.device) -> nn.Module:
    make_importable()
    from gfpgan.archs.arcface_arch import ResNetArcFace

    network = ResNetArcFace("IRBlock", [2, 2, 2, 2], use_se=False)
    load_strict(network, read_foreign(weights), str(weights))
    return network.to(device).eval()


def _embedding(
    network: nn.Module, prepare: Callable[[Tensor], Tensor], device: torch.device
) -> Callable[[Tensor], Tensor]:
    @torch.no_grad()
    def embed(images: Tensor) -> Tensor:
        return network(prepare(images).to(device)).cpu()

    return embed


def _landmarks(weights: Path, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Pictures (B, 3, H, W) -> 98 landmarks in their pixels, (B, 196)."""
    make_importable()
    from facexlib.alignment.awing_arch import FAN

    network = FAN(num_modules=4, num_landmarks=98, device=str(device))
    load_strict(network, read_foreign(weights), str(weights))
    network = network.to(device).eval()

    @torch.no_grad()
    def points(images: Tensor) -> Tensor:
        pixels = torch.from_numpy(np.stack([_cv2_resize(as_pixels(image), 256) for image in images]))
        fitted = pixels.permute(0, 3, 1, 2).contiguous() / 255  # (B, 256, 256, 3) -> (B, 3, 256, 256)
        heatmaps = network(fitted.to(device))[0][-1][:, :-1].cpu()  # (B, 98, 64, 64); the last one is the outline
        return (peaks(heatmaps) * torch.tensor(images.shape[-1:-3:-1]) / 64).flatten(1)

    return points


ARCFACE = released("TencentARC/GFPGAN", "v0.1.0/arcface_resnet18.pth", "Apache-2.0")
AWING = released("xinntao/facexlib", "v0.1.0/alignment_WFLW_4HG.pth", "not stated")
VQFR_ARCFACE = Download("resnet18_110.pth", VQFR_DRIVE)

_DLIB = ("dlib", "openpibo_dlib_models")
_CUT_OUT = f"both cut out by the template; above {OTHER_PERSON} it is another person"

PROTOCOLS = (
    Protocol(
        "identity/dlib",
        True,
        "reference",
        identity,
        needs=_DLIB,
        note=f"distance to the original, {_CUT_OUT}",
    ),
    Protocol(
        "identity/dlib@input",
        True,
        "input",
        identity,
        needs=_DLIB,
        note=f"distance to the degraded input, {_CUT_OUT}",
    ),
    Protocol(
        "deg/arcface-r18@vqfr",
        True,
        "reference",
        degrees,
        needs=("gfpgan",),
        download=(VQFR_ARCFACE,),
        note="angle of ArcFace-R18 embeddings in degrees; grey by cv2, 128 px, [-1, 1]; pairs below 1 degree have none",
    ),
    Protocol(
        "idd/arcface-r18@restoreformer++",
        True,
        "reference",
        radians,
        needs=("gfpgan",),
        download=(ARCFACE,),
        note="the angle in radians; 128 px, [0, 1], grey weights of red and blue swapped, as in the source; none left "
        "out; a missing output is an error, not a 0",
    ),
    Protocol(
        "lmd/awing@vqfr",
        True,
        "reference",
        landmark_distance,
        needs=("facexlib",),
        download=(AWING,),
        note="mean distance of 98 landmarks (AWing, WFLW) in pixels of the picture",
    ),
)
