"""What the evaluation codes of the field measure on faces: angles of embeddings, landmarks, and the NTIRE likeness.

They share names and networks and differ in colour order, range and unit, so that their numbers are not comparable.
Sources: VQFR (TencentARC/VQFR, metric_paper), RestoreFormer++ (scripts/metrics/cal_identity_distance.py), NTIRE
Real-World Face Restoration (face_alignment/inference.py) with AdaFace (mk-minchul/AdaFace, MIT).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from ..compat import make_importable
from ..photo.align import template
from ..pictures import as_pixels
from ..store.checkpoint import load_strict, read_foreign
from .protocols import Measure, Remembered

IDENTICAL = 1.0
"""Degrees below which VQFR's code leaves a pair out."""

NTIRE_TEMPLATE = np.array(
    [[38.29459953, 51.69630051], [73.53179932, 51.50139999], [56.0252, 71.73660278], [41.54930115, 92.3655014],
     [70.72990036, 92.20410156]]
)  # fmt: skip
"""(5, 2) where AdaFace wants eye, eye, nose and mouth corners in a crop of 112 px."""

_POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


def degrees(weights: Path, device: torch.device) -> Measure:
    """VQFR's Deg: in degrees, on grey pictures in [-1, 1]; pairs that are nearly identical have no value."""
    embed = Remembered(_embedding(_arcface(weights, device), _grey_by_cv2, device))

    def values(restored: Tensor, original: Tensor, names: Sequence[str] = ()) -> Tensor:
        angle = angles(embed(restored), embed(original)) * (180 / math.pi)
        return torch.where(angle < IDENTICAL, torch.nan, angle)

    return Measure("ArcFace-R18, VQFR's Deg", values)


def radians(weights: Path, device: torch.device) -> Measure:
    """RestoreFormer++'s IDD: in radians, on grey pictures in [0, 1], of which nothing is left out."""
    embed = Remembered(_embedding(_arcface(weights, device), grey_of_bgr, device))
    return Measure("ArcFace-R18, IDD", lambda restored, original, *_: angles(embed(restored), embed(original)))


def landmark_distance(weights: Path, device: torch.device) -> Measure:
    """VQFR's LMD: mean distance of 98 landmarks, in pixels of the picture."""
    make_importable()
    from facexlib.alignment.awing_arch import FAN

    network = FAN(num_modules=4, num_landmarks=98, device=str(device))
    load_strict(network, read_foreign(weights), str(weights))
    network = network.to(device).eval()

    @torch.no_grad()
    def points(images: Tensor) -> Tensor:
        fitted = torch.stack([_as_tensor(_cv2_resize(as_pixels(image), 256)) for image in images])  # (B, 3, 256, 256)
        heatmaps = network(fitted.to(device) / 255)[0][-1][:, :-1].cpu()  # (B, 98, 64, 64); the last one is the outline
        return (peaks(heatmaps) * torch.tensor(images.shape[-1:-3:-1]) / 64).flatten(1)

    find = Remembered(points)

    def values(restored: Tensor, original: Tensor, names: Sequence[str] = ()) -> Tensor:
        apart = (find(restored) - find(original)).unflatten(1, (-1, 2))  # (B, 98, 2)
        return apart.norm(dim=2).mean(1)

    return Measure("AWing FAN, LMD", values)


def likeness(weights: Path, device: torch.device, landmarks: Path | None = None) -> Measure:
    """The NTIRE identity: cosine of AdaFace embeddings of input and output, cut out by the same landmarks.

    Args:
        landmarks: the challenge's CSV, by file name in pixels of a 512 px picture; without it the five points of the
            template that test pictures are aligned to.
    """
    network, known = _adaface(weights, device), read_landmarks(landmarks) if landmarks else None

    @torch.no_grad()
    def embed(images: Tensor, names: Sequence[str]) -> Tensor:
        points = [landmarks_of(name, known) for name in names]
        crops = [ntire_crop(as_pixels(image), at) for image, at in zip(images, points, strict=True)]
        faces = torch.stack([_as_tensor(crop[..., ::-1]) for crop in crops]) / 127.5 - 1  # (B, 3, 112, 112) BGR
        return normalize(network(faces.to(device))).cpu()

    return Measure(
        f"AdaFace IR-50, landmarks of {landmarks.name if landmarks else 'the template'}",
        lambda restored, given, names: (embed(restored, names) * embed(given, names)).sum(1),
    )


def read_landmarks(path: Path) -> dict[str, np.ndarray]:
    """The challenge's table: the first column names the picture, then x and y of five points -> (5, 2) each."""
    with path.open(newline="", encoding="utf-8") as stream:
        table = csv.DictReader(stream)
        key = (table.fieldnames or ["filename"])[0]
        try:
            return {
                row[key]: np.array([[float(row[f"{point}_{axis}"]) for axis in "xy"] for point in _POINTS])
                for row in table
            }
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is no table of landmarks ({error}); it has columns left_eye_x ... mouth_right_y"
            ) from error


def landmarks_of(name: str, known: dict[str, np.ndarray] | None) -> np.ndarray:
    """(5, 2) in pixels of a 512 px picture."""
    if known is None:
        return template(512)
    if name not in known:
        raise ValueError(f"the landmarks have no {name!r}; give the table of this test set, or none")
    return known[name]


def ntire_crop(pixels: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """A picture (S, S, 3) -> (112, 112, 3), by the least-squares similarity from landmarks (5, 2) at 512 px."""
    import cv2

    scale = pixels.shape[0] / 512
    return cv2.warpAffine(pixels, least_squares(landmarks * scale, NTIRE_TEMPLATE), (112, 112))


def least_squares(points: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The similarity (2, 3) without reflection that brings points (N, 2) nearest to the wanted ones."""
    x, y = points.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])  # (2N, 4)
    a, b, right, down = np.linalg.lstsq(rows, wanted.T.reshape(-1), rcond=None)[0]
    return np.array([[a, -b, right], [b, a, down]])


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


def _as_tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float()  # (H, W, 3) -> (3, H, W)


def _embedding(
    network: nn.Module, prepare: Callable[[Tensor], Tensor], device: torch.device
) -> Callable[[Tensor], Tensor]:
    @torch.no_grad()
    def embed(images: Tensor) -> Tensor:
        return network(prepare(images).to(device)).cpu()

    return embed


def _arcface(weights: Path, device: torch.device) -> nn.Module:
    make_importable()
    from gfpgan.archs.arcface_arch import ResNetArcFace

    network = ResNetArcFace("IRBlock", [2, 2, 2, 2], use_se=False)
    load_strict(network, read_foreign(weights), str(weights))
    return network.to(device).eval()


def _adaface(weights: Path, device: torch.device) -> nn.Module:
    state = read_foreign(weights)
    own = {key.removeprefix("model."): value for key, value in state.items() if not key.startswith("head.")}
    network = AdaFace()
    load_strict(network, own, str(weights))
    return network.to(device).eval()


class AdaFace(nn.Module):
    """The IR-50 backbone of AdaFace: faces (B, 3, 112, 112) BGR in [-1, 1] -> embeddings (B, 512), not normalised.

    Source: AdaFace (arXiv 2204.00964), whose names of parameters it keeps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        stages = zip((64, 64, 128, 256), (64, 128, 256, 512), (3, 4, 14, 3), strict=True)
        blocks = [
            _Residual(inside if first else outside, outside, stride=2 if first else 1)
            for inside, outside, count in stages
            for first in [True] + [False] * (count - 1)
        ]
        self.body = nn.Sequential(*blocks)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(512 * 7 * 7, 512),
            nn.BatchNorm1d(512, affine=False),
        )

    def forward(self, faces: Tensor) -> Tensor:
        return self.output_layer(self.body(self.input_layer(faces)))


class _Residual(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if inside != outside:
            project = nn.Conv2d(inside, outside, 1, stride, bias=False)
            self.shortcut_layer = nn.Sequential(project, nn.BatchNorm2d(outside))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inside),
            nn.Conv2d(inside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.PReLU(outside),
            nn.Conv2d(outside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)
