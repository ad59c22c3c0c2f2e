"""Metrics of colour: the difference to an original, colourfulness, and two metrics for pictures taken under water.

All measures take pictures (B, 3, H, W) RGB in [0, 1] and return float64 (B,).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...pictures import LUMA
from .base import Measure, Protocol

BLOCK = 8
"""Side in pixels of the blocks whose contrast UIQM looks at."""

_UIQM = (0.0282, 0.2953, 3.5753)
_UCIQE = (0.4680, 0.2745, 0.2576)


def ciede2000(restored: Tensor, original: Tensor) -> Tensor:
    """Mean colour difference over all pixels, in units of CIEDE2000: about 1 can just be seen; sRGB under D65."""
    from skimage.color import deltaE_ciede2000

    pairs = zip(_lab(restored), _lab(original), strict=True)
    return torch.tensor([deltaE_ciede2000(one, other).mean() for one, other in pairs], dtype=torch.float64)


def colourfulness(images: Tensor) -> Tensor:
    """How colourful people find a picture: 0 is grey, 15 slightly, 59 quite, 109 extremely colourful.

    Source: M3 of Hasler and Süsstrunk, "Measuring colourfulness in natural images" (SPIE 2003).
    """
    return _each(_colourfulness, images)


def uciqe(images: Tensor) -> Tensor:
    """Chroma, contrast and saturation of a picture taken under water; higher is better.

    Source: Yang and Sowmya, "An Underwater Color Image Quality Evaluation Metric" (TIP 2015). Not stated there: units.
    Here L, a and b are divided by 100, and saturation is chroma / sqrt(chroma² + L²); other programs scale differently,
    so that values compare within this one only.
    """
    from skimage.color import rgb2lab

    return _each(lambda image: _uciqe(rgb2lab(image) / 100), images)


def uiqm(images: Tensor) -> Tensor:
    """Colourfulness, sharpness and contrast of a picture taken under water; higher is better.

    Source: Panetta, Gao and Agaian, "Human-Visual-System-Inspired Underwater Image Quality Measures" (IEEE JOE 2016).
    Differs: contrast is computed with ordinary arithmetic, not PLIP's, and blocks have 8 px, for small pictures.
    Contrast enters as an entropy, highest where that of a block is 1/e: haze over strong contrasts raises it.
    """
    return _each(_uiqm, images)


def _each(measure: Callable[[np.ndarray], float], images: Tensor) -> Tensor:
    return torch.tensor([measure(image) for image in _arrays(images)], dtype=torch.float64)


def _arrays(images: Tensor) -> np.ndarray:
    return images.double().clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()  # (B, 3, H, W) -> (B, H, W, 3)


def _lab(images: Tensor) -> np.ndarray:
    from skimage.color import rgb2lab

    return rgb2lab(_arrays(images))


def _opponents(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Red against green, and yellow against blue, of a picture (H, W, 3): (H, W) each, in 1/255."""
    red, green, blue = 255 * np.moveaxis(image, 2, 0)
    return red - green, (red + green) / 2 - blue


def _colourfulness(image: np.ndarray) -> float:
    axes = _opponents(image)
    spread, mean = (np.linalg.norm([of(axis) for axis in axes]) for of in (np.std, np.mean))
    return float(spread + 0.3 * mean)


def _uciqe(lab: np.ndarray) -> float:
    light, chroma = lab[..., 0], np.hypot(lab[..., 1], lab[..., 2])
    saturation = chroma / np.maximum(np.hypot(chroma, light), 1e-9)
    dark, bright = np.quantile(light, (0.01, 0.99))
    return float(np.dot(_UCIQE, (chroma.std(), bright - dark, saturation.mean())))


def _uiqm(image: np.ndarray) -> float:
    return float(np.dot(_UIQM, (_uicm(image), _uism(image), _contrast(255 * image @ LUMA))))


def _uicm(image: np.ndarray) -> float:
    axes = _opponents(image)
    means = [_trimmed_mean(axis) for axis in axes]
    variances = [np.square(axis - mean).mean() for axis, mean in zip(axes, means, strict=True)]
    return float(-0.0268 * np.linalg.norm(means) + 0.1586 * np.sqrt(sum(variances)))


def _trimmed_mean(values: np.ndarray, share: float = 0.1) -> float:
    """The mean without the lowest and the highest tenth."""
    from scipy.stats import trim_mean

    return float(trim_mean(values, share, axis=None))


def _uism(image: np.ndarray) -> float:
    """Sharpness: the contrast of edges, over the channels."""
    from scipy.ndimage import sobel

    channels = 255 * np.moveaxis(image, 2, 0)
    edges = [np.hypot(sobel(channel, 0), sobel(channel, 1)) * channel / 255 for channel in channels]
    return float(np.dot(LUMA, [_enhancement(edge) for edge in edges]))


def _enhancement(plane: np.ndarray) -> float:
    """EME: twice the mean of log(highest / lowest) over blocks; blocks that reach 0 count as flat."""
    low, high = _extremes(plane)
    seen = low > 0
    return float(2 * np.log(high[seen] / low[seen]).sum() / low.size)


def _contrast(plane: np.ndarray) -> float:
    """logAMEE: the mean entropy of Michelson's contrast over blocks."""
    low, high = _extremes(plane)
    michelson = (high - low) / np.maximum(high + low, 1e-9)
    seen = michelson[michelson > 0]
    return float(-(seen * np.log(seen)).sum() / michelson.size)


def _extremes(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest value of every whole block of a plane (H, W): (H / BLOCK, W / BLOCK) each."""
    rows, columns = plane.shape[0] // BLOCK, plane.shape[1] // BLOCK
    blocks = plane[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return blocks.min((1, 3)), blocks.max((1, 3))


def blind(of: Callable[[Tensor], Tensor], device: torch.device, files: Sequence[Path]) -> Measure:
    """A function of this file that needs no original."""
    return Measure(of.__name__, lambda restored, *_: of(restored))


def difference(device: torch.device, files: Sequence[Path]) -> Measure:
    return Measure("CIEDE2000 by scikit-image", lambda restored, original, *_: ciede2000(restored, original))


def _entry(identifier: str, of: Callable[[Tensor], Tensor], **more: Any) -> Protocol:
    return Protocol(identifier, False, "no-reference", partial(blind, of), **more)


PROTOCOLS = (
    _entry("colourfulness/hasler@native", colourfulness, note="0 is grey; more is not always better"),
    _entry("uciqe/yang@native", uciqe, note="CIELab divided by 100"),
    _entry("uiqm/panetta@native", uiqm, note="blocks of 8 px, ordinary arithmetic in the place of PLIP's"),
    Protocol(
        "ciede2000@native",
        True,
        "reference",
        difference,
        trained_on="iqp-colour learned from it",
        note="mean over pixels, sRGB under D65",
    ),
)
