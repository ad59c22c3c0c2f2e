"""JPEG compression as a degradation."""

from __future__ import annotations

import io

import numpy as np


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """The picture after JPEG compression.

    Replaces BasicSR's `add_jpg_compression`, whose floats make OpenCV 5 print a warning at every call.

    Args:
        image: (H, W, 3) float32, RGB in [0, 1].
        quality: 1 to 100.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray((np.clip(image, 0, 1) * 255).round().astype(np.uint8)).save(file, "JPEG", quality=quality)
    with Image.open(file) as compressed:
        return np.asarray(compressed, np.float32) / 255
