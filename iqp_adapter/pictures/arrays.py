"""Pictures as arrays and tensors: resampling, 8 bits, brightness, and the check at the border."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..core.tracing import is_traced

LUMA = np.array([0.299, 0.587, 0.114])
"""Shares of red, green and blue in brightness (ITU-R BT.601), as in JPEG and in the metrics of the field."""


# -- arrays


def eight_bit(pixels: np.ndarray) -> np.ndarray:
    """Pixels of any type as the nearest uint8, the same array where they are that already."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return (pixels * 255).round().astype(np.uint8)


def peak(dtype: np.dtype) -> float:
    """The value that stands for full brightness: 255, 65535 or 1."""
    return float(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1.0


def luma(pixels: np.ndarray) -> np.ndarray:
    """Brightness (H, W) of RGB (H, W, 3), same type; grey stays exactly what it is."""
    red, green, blue = np.moveaxis(pixels if pixels.dtype.kind == "f" else pixels.astype(np.float32), -1, 0)
    grey = green + LUMA[0] * (red - green) + LUMA[2] * (blue - green)
    return (grey if pixels.dtype.kind == "f" else grey.round()).astype(pixels.dtype)


def resample(picture: np.ndarray, pose: np.ndarray, size: int) -> np.ndarray:
    """The centre square of a picture under a pose, integrated over the area of each new pixel.

    Samples the picture once (cubic, mirrored at the border) on a grid n times finer than the target, n being the
    reduction, and averages n x n samples: turning and reducing in one go loses no more detail than reducing alone.

    Args:
        picture: (H, W, 3) uint8, uint16, or floating point in [0, 1].
        pose: (2, 3) target -> picture, both in half sides from the centre.
        size: side of the target.

    Returns:
        (size, size, 3) float32 in [0, 1].
    """
    import cv2

    height, width = picture.shape[:2]
    finer = max(1, math.ceil(min(height, width) / size - 0.01))
    fine = finer * size
    to_unit = np.array([[2 / fine, 0, 1 / fine - 1], [0, 2 / fine, 1 / fine - 1], [0, 0, 1]])  # pixels -> [-1, 1]
    half = min(height, width) / 2
    to_pixels = np.array([[half, 0, (width - 1) / 2], [0, half, (height - 1) / 2], [0, 0, 1]])
    matrix = to_pixels @ np.vstack([pose, [0, 0, 1]]) @ to_unit
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    samples = warp_affine(picture, matrix[:2], (fine, fine), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    reduced = cv2.resize(samples, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    return (reduced / np.float32(peak(picture.dtype))).clip(0, 1)


def warp_affine(pixels: np.ndarray, matrix: np.ndarray, size: tuple[int, int], **options: Any) -> np.ndarray:
    """OpenCV's `warpAffine`, to `size` (width, height), which in OpenCV 5.0 never returns for sides of one pixel.

    Args:
        pixels: (H, W) or (H, W, C); a row or column that is alone is doubled, which changes nothing inside.
        matrix: (2, 3) between the pictures.
    """
    import cv2

    for axis in (0, 1):
        if pixels.shape[axis] == 1:
            pixels = np.repeat(pixels, 2, axis)
    return cv2.warpAffine(pixels, matrix, size, **options)


# -- tensors


def as_pixels(image: Tensor) -> np.ndarray:
    """RGB (3, H, W) in [0, 1] -> (H, W, 3) uint8."""
    return (image.float().cpu() * 255).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()


RINGING = 0.5
"""By how much pictures may leave [0, 1] that were resized, at their edges."""


def check_images(images: Tensor, name: str = "images", beyond: float = 1e-3) -> None:
    """Refuses what is no batch of pictures: every public function that takes pictures asks here.

    Args:
        beyond: by how much values may leave [0, 1]: a rounding error, or `RINGING`.

    Raises:
        ValueError: unless `images` are floating point (B, 3, H, W) in [0, 1].
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        given = f"{images.dtype} {tuple(images.shape)}"
        raise ValueError(f"{name} are {given}, expected float (B, 3, H, W) in [0, 1]; divide 8-bit values by 255")
    if not images.numel():
        raise ValueError(f"{name} are empty, {tuple(images.shape)}; give one picture or more")
    if is_traced():
        return
    low, high = (float(bound) for bound in images.detach().aminmax())
    if not (low >= -beyond and high <= 1 + beyond):
        raise ValueError(f"{name} span [{low:.3g}, {high:.3g}], expected [0, 1]; clamp or rescale them")


def fit(lq: Tensor, side: int | None, like: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) -> (B, 3, side, side) on the device and of the dtype of `like`; no side keeps the size.

    Raises:
        ValueError: for what is no batch of pictures, see `check_images`.
    """
    check_images(lq, "lq")
    return resize(lq.to(like), (side, side) if side else tuple(lq.shape[-2:]))


def as_given(restored: Tensor, lq: Tensor) -> Tensor:
    """Restored pictures -> the size, dtype and device of `lq`, in [0, 1]; see `as_unit` for what is no number.

    What overshoots is clamped before it is resized, too, so that it does not spread.
    """
    return as_unit(resize(as_unit(restored), tuple(lq.shape[-2:]))).to(lq)


def as_unit(images: Tensor) -> Tensor:
    """Pictures, clamped to [0, 1]; what is infinite or no number is NaN, so that no overflow passes for white."""
    return torch.where(images.isfinite(), images.clamp(0, 1), torch.nan)


def resize(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Pictures (B, 3, H, W) at another size (h, w), bicubic without aliasing; the same tensor where nothing changes."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return interpolate(images, size, mode="bicubic", antialias=True)
