"""Pictures as the benchmark keeps them: 8-bit PNG files with a text chunk that names what they were made of.

From the chunk a later run knows which pictures it can use again. A picture without the chunk belongs to somebody else
and is never replaced.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from ..pictures.files import one_line
from ..store.files import atomic_path

_CHUNK = "iqp_adapter bench"


def write_png(path: Path, pixels: np.ndarray, source: str) -> None:
    """Writes (H, W, 3) uint8 whole or not at all; replaces an earlier picture of the benchmark, but no other file.

    Args:
        source: everything that the picture depends on, as text.

    Raises:
        FileExistsError: where the path holds a picture that the benchmark did not write.
    """
    if path.exists() and _made_of(path) is None:
        raise FileExistsError(f"{path} exists and is no picture of this benchmark; choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    info = PngImagePlugin.PngInfo()
    info.add_text(_CHUNK, _digest(source))
    with atomic_path(path) as partial:
        Image.fromarray(pixels).save(partial, "PNG", pnginfo=info)


def is_made_of(path: Path, source: str) -> bool:
    """Whether `write_png` wrote this file from the same source, and it is whole."""
    return path.is_file() and _made_of(path) == _digest(source) and _is_whole(path)


def _made_of(path: Path) -> str | None:
    try:
        with one_line(path), Image.open(path) as picture:
            return picture.info.get(_CHUNK)
    except OSError:
        return None


def _is_whole(path: Path) -> bool:
    """Whether every chunk of a PNG file has its own checksum."""
    try:
        with Image.open(path) as picture:
            picture.verify()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode(errors="surrogatepass")).hexdigest()
