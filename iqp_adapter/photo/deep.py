"""PNG and TIFF files with 16 bits per colour, which Pillow would reduce to 8: scans, mostly."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image


def is_deep(image: Image.Image) -> bool:
    """Whether an opened, not yet loaded file holds 16 bits per colour (16-bit grey is no trouble)."""
    return image.mode in ("RGB", "RGBA", "LA") and any(";16" in str(tile[3]) for tile in getattr(image, "tile", [])[:1])


def read(path: Path) -> np.ndarray:
    """Pixels as stored, not turned upright: (H, W, 3) RGB or (H, W, 4) RGBA, uint16.

    Raises:
        ValueError: for what OpenCV cannot decode.
    """
    import cv2

    stored = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16 or stored.ndim != 3:
        raise ValueError("this kind of 16-bit picture cannot be read; save it as PNG with 8 or 16 bits per colour")
    return np.ascontiguousarray(stored[..., [2, 1, 0, 3][: stored.shape[2]]])


def write(pixels: np.ndarray, source: Path, target: Path, kind: str) -> None:
    """Writes uint16 pixels (H, W, 3 or 4) as PNG or TIFF, with what the source says beside its pixels."""
    if kind == "PNG":
        target.write_bytes(_png(pixels, source))
    elif kind == "TIFF":
        _write_tiff(pixels, source, target)
    else:
        raise ValueError(f"{kind} holds 8 bits per colour, the photo has 16; write it as PNG or TIFF")


_BESIDE = {b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"pHYs", b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME"}


def _png(pixels: np.ndarray, source: Path) -> bytes:
    import cv2

    done, encoded = cv2.imencode(".png", pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])
    if not done:
        raise ValueError("the picture could not be encoded as PNG")
    signature, head, *rest = _chunks(encoded.tobytes())
    stored = source.read_bytes()
    beside = [part for part in _chunks(stored) if part[4:8] in _BESIDE] if stored.startswith(signature) else []
    return b"".join([signature, head, *beside, *rest])


def _chunks(data: bytes) -> Iterator[bytes]:
    """The signature, then the chunks of a PNG file."""
    yield data[:8]
    start = 8
    while start < len(data):
        (length,) = struct.unpack(">I", data[start : start + 4])
        yield data[start : start + 12 + length]
        start += 12 + length


_ASCII = 2
_TEXTS = (270, 271, 272, 305, 306, 315, 33432)
"""TIFF tags for description, maker, model, software, date, artist, copyright."""


def _write_tiff(pixels: np.ndarray, source: Path, target: Path) -> None:
    import tifffile

    with Image.open(source) as image:
        tags, info = image.getexif(), image.info
    horizontal, vertical = info.get("dpi", (1, 1))
    tifffile.imwrite(
        target,
        pixels,
        photometric="rgb",
        extrasamples=None if pixels.shape[2] == 3 else ["unassalpha"],
        compression="zlib",
        metadata=None,
        iccprofile=info.get("icc_profile"),
        resolution=(float(horizontal), float(vertical)),
        resolutionunit="inch" if "dpi" in info else "none",
        extratags=[(tag, _ASCII, None, str(tags[tag]), True) for tag in _TEXTS if tag in tags],
    )
