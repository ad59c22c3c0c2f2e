"""Distortions of known severity, for training iqp-lite (`SEEN`) and for judging every scorer (`SEEN` and `UNSEEN`).

Each takes an RGB image (H, W, 3), float32 in [0, 1], a severity in [0, 1] and a generator, and returns the same kind of
image. Severity 0 is barely visible at 512 px, 1 is ruin, and the parameter grows geometrically between them.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from iqp_adapter.pictures import LUMA, read_pixels

Rng = np.random.Generator
Distortion = Callable[[np.ndarray, float, Rng], np.ndarray]

_UP = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
_DOWN = (*_UP, cv2.INTER_AREA)


def geometric(low: float, high: float, severity: float) -> float:
    """`low` at severity 0, `high` at severity 1, by equal factors between."""
    return float(low * (high / low) ** severity)


def blur(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), geometric(0.3, 8, severity))


def anisotropic_blur(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    long = geometric(0.4, 10, severity)
    return cv2.filter2D(image, -1, _gaussian_kernel(long, long * rng.uniform(0.2, 0.6), rng.uniform(0, np.pi)))


def resample(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    height, width = image.shape[:2]
    factor = geometric(1.15, 12, severity)
    small = cv2.resize(image, (round(width / factor), round(height / factor)), interpolation=int(rng.choice(_DOWN)))
    return cv2.resize(small, (width, height), interpolation=int(rng.choice(_UP)))


def noise(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    channels = rng.choice((1, 3))
    return image + geometric(0.003, 0.25, severity) * rng.standard_normal((*image.shape[:2], channels))


def poisson_noise(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    photons = geometric(30000, 15, severity)
    return rng.poisson(image.clip(0, 1) * photons) / photons


def chroma_noise(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    """Coloured blotches of 1 to 4 px that leave the luma alone."""
    height, width = image.shape[:2]
    grain = rng.integers(1, 5)
    blotches = rng.standard_normal((height // grain, width // grain, 3)).astype(np.float32)
    blotches = cv2.resize(blotches, (width, height), interpolation=cv2.INTER_LINEAR)
    return image + geometric(0.008, 0.3, severity) * (blotches - blotches @ LUMA.astype(np.float32)[:, None])


def jpeg(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    return recode(image, "JPEG", 100 - geometric(3, 95, severity))


def bilateral(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    """Skin smoothed away while the edges stay, as restorers do."""
    return cv2.bilateralFilter(image.astype(np.float32), 0, geometric(0.02, 0.5, severity), geometric(0.7, 6, severity))


def sharpen(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    """Unsharp masking, up to wide bright halos."""
    return image + geometric(0.15, 8, severity) * (image - cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 3)))


def checkerboard(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    """The pattern of a transposed convolution, 1, 2 or 4 px to a field, everywhere or where there is contrast."""
    rows, columns = np.indices(image.shape[:2]) // rng.choice((1, 2, 4))
    pattern = ((rows + columns) % 2 * 2 - 1)[..., None]
    contrast = np.abs(image - cv2.GaussianBlur(image, (0, 0), 3)) / 0.05 if rng.random() < 0.5 else 1
    return image + geometric(0.003, 0.15, severity) * pattern * contrast


def ringing(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    """A sharp cut in the spectrum, which leaves ripples along the edges."""
    frequencies = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1]))
    kept = (frequencies < geometric(0.6, 0.03, severity))[..., None]
    return np.fft.ifft2(np.fft.fft2(image, axes=(0, 1)) * kept, axes=(0, 1)).real


def motion_blur(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    length = geometric(1.5, 40, severity)
    return cv2.filter2D(image, -1, _gaussian_kernel(length / 2, 0.15, rng.uniform(0, np.pi)))


def median(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    size = 2 * round(geometric(1, 12, severity)) + 1
    return cv2.medianBlur((image.clip(0, 1) * 255).round().astype(np.uint8), size) / 255


def pixelate(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    height, width = image.shape[:2]
    field = geometric(1.1, 16, severity)
    small = cv2.resize(image, (round(width / field), round(height / field)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


def impulse_noise(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    hit = rng.random((*image.shape[:2], 1)) < geometric(0.0005, 0.3, severity)
    return np.where(hit, rng.integers(0, 2, (*image.shape[:2], 1)), image)


def posterise(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    levels = geometric(96, 3, severity)
    return (image * levels).round() / levels


def webp(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    return recode(image, "WEBP", 100 - geometric(4, 99, severity))


def displace(image: np.ndarray, severity: float, rng: Rng) -> np.ndarray:
    """Every pixel is taken from a little beside its place: wobbly, broken lines."""
    height, width = image.shape[:2]
    shift = cv2.GaussianBlur(rng.standard_normal((height, width, 2)).astype(np.float32), (0, 0), 1.5) * 5
    rows, columns = np.indices((height, width), dtype=np.float32)
    shift = shift * np.float32(geometric(0.1, 5, severity))
    return cv2.remap(image.astype(np.float32), columns + shift[..., 0], rows + shift[..., 1], cv2.INTER_CUBIC)


SEEN: dict[str, Distortion] = {
    distortion.__name__: distortion
    for distortion in (
        blur,
        anisotropic_blur,
        resample,
        noise,
        poisson_noise,
        chroma_noise,
        jpeg,
        bilateral,
        sharpen,
        checkerboard,
        ringing,
    )
}
UNSEEN: dict[str, Distortion] = {
    distortion.__name__: distortion
    for distortion in (motion_blur, median, pixelate, impulse_noise, posterise, webp, displace)
}


def distort(image: np.ndarray, distortion: Distortion, severity: float, rng: Rng) -> np.ndarray:
    """One distortion, clipped to [0, 1]."""
    return distortion(image, severity, rng).clip(0, 1).astype(np.float32)


def load_face(path: Path, size: int) -> np.ndarray:
    """An image file -> RGB (size, size, 3), float32 in [0, 1]."""
    image = read_pixels(path).astype(np.float32) / 255
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def as_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]  # (H, W, 3) -> (1, 3, H, W)


def _gaussian_kernel(long: float, short: float, angle: float) -> np.ndarray:
    radius = int(np.ceil(3 * long))
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    kernel = np.exp(-((along / long) ** 2 + (across / short) ** 2) / 2)
    return kernel / kernel.sum()


def recode(image: np.ndarray, codec: str, quality: float) -> np.ndarray:
    """A picture through a file of that codec and quality, and back."""
    file = BytesIO()
    Image.fromarray((image.clip(0, 1) * 255).round().astype(np.uint8)).save(file, codec, quality=round(quality))
    return np.asarray(Image.open(file).convert("RGB"), dtype=np.float32) / 255
