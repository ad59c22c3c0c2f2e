"""Pictures as the benchmark keeps them: 8-bit PNG files that say in a text chunk what they were made of.

By that a later run knows which it may take over; a picture without the chunk is somebody's, and is never replaced.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from ..store.files import atomic_path

_CHUNK = "iqp_adapter bench"


def write_png(path: Path, pixels: np.ndarray, source: str) -> None:
    """Writes (H, W, 3) uint8 whole or not at all, in the place of an earlier one of ours but of no other file.

    Args:
        source: all that the picture was made of, in words.

    Raises:
        FileExistsError: where the path holds a picture that is not ours.
    """
    if path.exists() and _made_of(path) is None:
        raise FileExistsError(f"{path} exists and is no picture of this benchmark; choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    said = PngImagePlugin.PngInfo()
    said.add_text(_CHUNK, _digest(source))
    with atomic_path(path) as partial:
        Image.fromarray(pixels).save(partial, "PNG", pnginfo=said)


def is_made_of(path: Path, source: str) -> bool:
    """Whether `write_png` has written this file of the same source."""
    return path.is_file() and _made_of(path) == _digest(source)


def _made_of(path: Path) -> str | None:
    try:
        with Image.open(path) as picture:
            return picture.info.get(_CHUNK)
    except OSError:
        return None


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()
