"""HEIC files, where pillow-heif is installed (extra `heif`); Pillow itself reads and writes AVIF."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

KIND = "HEIF"
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_HIGH_BIT_DEPTH = 0x40


@lru_cache(maxsize=1)
def register() -> None:
    """Has Pillow read and write HEIC files, where that is installed."""
    if find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()


def check_reader(data: bytes) -> None:
    """Raises ImportError for the start of a HEIC file where nothing reads it."""
    if data[4:8] == b"ftyp" and data[8:12] in _BRANDS and KIND not in Image.OPEN:
        raise ImportError("HEIC needs a further package: pip install 'iqp_adapter[heif]'")


def is_deep(image: Image.Image) -> bool:
    """Whether an opened file has more than 8 bits per sample, which Pillow would reduce to 8."""
    return image.format == KIND and image.info.get("bit_depth", 8) > 8


def sixteen_bit(data: bytes) -> np.ndarray:
    """Samples of the main picture, upright, (H, W) or (H, W, 2 to 4), spread over 16 bits."""
    import pillow_heif

    return np.asarray(pillow_heif.open_heif(BytesIO(data), convert_hdr_to_8bit=False))


def note(image: Image.Image, data: bytes) -> str:
    """What of an opened file is not kept: further pictures, layers such as depth and brightness, and depth."""
    info = image.info
    if image.format == KIND and getattr(image, "is_animated", False):
        return "its further pictures are not kept"
    if image.format == KIND and (info.get("aux") or info.get("depth_images")):
        return "its layers of depth or brightness are not kept"
    place = data.find(b"av1C") if image.format == "AVIF" else -1
    if place >= 0 and data[place + 6] & _HIGH_BIT_DEPTH:  # version, profile and level, then this
        return "more than 8 bits per colour were reduced to 8"
    return ""


def options(info: Mapping[str, Any]) -> dict[str, Any]:
    """How a file is written: finely, with the colours that its own file declares."""
    kept = {key: info[key] for key in ("nclx_profile", "bit_depth") if key in info}
    return {"quality": 95, "chroma": 444} | kept


def encode(planes: np.ndarray, info: Mapping[str, Any], kept: Mapping[str, Any]) -> bytes:
    """(H, W) grey or (H, W, 2 to 4), uint16, as a file of as many bits as it came with, 10 or 12."""
    import pillow_heif

    mode = {2: "L;16", 3: "RGB;16", 4: "RGBA;16"}[planes.shape[2] if planes.ndim == 3 else 2]
    content = BytesIO()
    image = pillow_heif.from_bytes(mode, (planes.shape[1], planes.shape[0]), planes.tobytes())
    image.save(content, **options(info), **kept)
    return content.getvalue()
