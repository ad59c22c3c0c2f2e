"""A photo to try things on: Eileen Collins (NASA, public domain), made worse.

`astronaut.jpg` is scikit-image's picture of her, blurred (sigma 1), reduced by 2.5, with noise (sigma 4 of 255), and
stored at JPEG quality 60.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ..store.files import atomic_path

_STORED = Path(__file__).with_name("astronaut.jpg")
_SIDE = 512


def degraded_astronaut() -> np.ndarray:
    """The photo, enlarged to the size of the original: (512, 512, 3) uint8 RGB, soft, noisy and with JPEG blocks."""
    with Image.open(_STORED) as stored:
        return np.asarray(stored.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))


def write_demo(folder: Path) -> Path:
    """The degraded astronaut as a file in the folder, written unless it is there already."""
    path = folder / "astronaut.png"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as partial:
            Image.fromarray(degraded_astronaut()).save(partial, "PNG")
    return path
