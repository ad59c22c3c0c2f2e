"""A photo to try things on: scikit-image's astronaut, made worse in the same way every time."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ..store.files import atomic_path

SHRINK, NOISE, JPEG_QUALITY, SEED = 2.5, 4.0, 60, 0
"""Reduction in size, standard deviation of the noise in 8-bit levels, JPEG quality."""


def degraded_astronaut() -> np.ndarray:
    """Eileen Collins (NASA, public domain), soft, noisy and with JPEG blocks; (512, 512, 3) uint8 RGB."""
    from skimage.data import astronaut

    photo = Image.fromarray(astronaut())
    side = round(photo.width / SHRINK)
    small = np.asarray(photo.filter(ImageFilter.GaussianBlur(1)).resize((side, side), Image.Resampling.BOX))
    noisy = small + np.random.default_rng(SEED).normal(0, NOISE, small.shape)
    stored = BytesIO()
    Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8)).save(stored, "JPEG", quality=JPEG_QUALITY)
    return np.asarray(Image.open(stored).resize(photo.size, Image.Resampling.BICUBIC))


def write_demo(folder: Path) -> Path:
    """The degraded astronaut as a file in the folder, written unless it is there already."""
    path = folder / "astronaut.png"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as partial:
            Image.fromarray(degraded_astronaut()).save(partial, "PNG")
    return path
