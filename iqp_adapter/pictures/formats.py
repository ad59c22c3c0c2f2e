"""Pixels become the bytes of a file: as deep and as fine as it came, with what its own file said beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import heif, png, tiff
from .arrays import eight_bit
from .decode import KEPT
from .photo import ImageForm, Photo, fits_pillow


def encode(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, file: Path, kind: str) -> None:
    """Writes pixels to a file of that kind, with what the photo's own file says beside its pixels.

    The file is encoded in memory: Pillow's encoders for JPEG, BMP and TIFF do not notice that a disk is full.

    Raises:
        OSError: where the disk is full, or the file cannot be written.
        ValueError: where this kind of file does not hold the photo's depth.
    """
    planes = photo.form.planes(pixels, alpha)
    check_depth(photo, planes.dtype, kind)
    if planes.dtype not in _depths(photo, kind):
        planes = eight_bit(planes)
    file.write_bytes(_encoded(photo, planes, kind))


def target_format(photo: Photo, target: Path) -> str:
    """Pillow's name for the kind of file that the target will be.

    Raises:
        ValueError: where the suffix stands for no format that is written here, or that does not hold the photo's depth.
    """
    kind = photo.format
    if photo.path is None or photo.path.suffix.lower() != target.suffix.lower():
        kind = Image.registered_extensions().get(target.suffix.lower(), "")
    if kind not in _written():
        raise ValueError(f"{target}: pictures are written as {', '.join(_written())}; give the file such a suffix")
    check_depth(photo, photo.pixels.dtype, kind)
    return kind


def check_writable(photo: Photo) -> None:
    """Refuses a file of a kind that is not written here.

    Raises:
        ValueError: says which kind it is.
    """
    if photo.format not in _written():
        raise ValueError(f"{photo.format} pictures cannot be written again without loss; convert it to PNG first")


def check_depth(photo: Photo, depth: np.dtype, kind: str) -> None:
    """Refuses to reduce the depth of a file; arrays become what the kind of file holds."""
    if photo.path is not None and depth not in _depths(photo, kind):
        fitting = "PNG or TIFF" if depth == np.uint16 else "TIFF"
        raise ValueError(f"{kind} does not hold {depth} samples, which {photo.path} has; write it as {fitting}")


def _written() -> list[str]:
    """The kinds of files that are written, where what writes them is installed."""
    Image.init()
    heif.register()
    return [kind for kind in _OPTIONS if kind in Image.SAVE]


def _depths(photo: Photo, kind: str) -> tuple[Any, ...]:
    """Types of samples that a kind of file holds; HEIC has 12 bits at most, enough for what came from there."""
    deep = {"PNG": (np.uint16,), "TIFF": (np.uint16, np.float32, np.float64)}
    if kind == photo.format:
        deep[heif.KIND] = (np.uint16,)
    return (np.uint8, *deep.get(kind, ()))


def _encoded(photo: Photo, planes: np.ndarray, kind: str) -> bytes:
    info = photo.form.info
    if kind == "PNG":
        beside = photo.form.beside if isinstance(photo.form, ImageForm) else b""
        return png.encode(planes, beside or png.beside_of(info))
    kept = {key: info[key] for key in KEPT if key in info}
    if kind == heif.KIND and planes.dtype == np.uint16:
        return heif.encode(planes, info, kept)
    if not fits_pillow(planes):
        return tiff.encode(planes, info)
    content = BytesIO()
    options = _OPTIONS[kind](info)
    if kind == "AVIF" and planes.ndim == 3:  # grey has no colours to keep in full
        options["subsampling"] = "4:4:4"
    Image.fromarray(planes).save(content, kind, **options, **kept)
    return content.getvalue()


_QUALITY_95 = 369
"""Sum of the brightness table of JPEG quality 95."""


def _jpeg(info: Mapping[str, Any]) -> dict[str, Any]:
    tables = info.get("quantization")
    finer = tables is not None and sum(tables[0]) <= _QUALITY_95
    encoding = {"qtables": tables} if finer else {"quality": 95}
    return encoding | {"subsampling": 0, "progressive": bool(info.get("progressive"))}


def _webp(info: Mapping[str, Any]) -> dict[str, Any]:
    return {"lossless": True, "exact": True} if info.get("lossless") else {"quality": 95}


def _tiff(info: Mapping[str, Any]) -> dict[str, Any]:
    lossless = info.get("compression") in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate")
    return {"compression": info["compression"] if lossless else "tiff_adobe_deflate"}


def _avif(info: Mapping[str, Any]) -> dict[str, Any]:
    return {"quality": 95}


def _plain(info: Mapping[str, Any]) -> dict[str, Any]:
    return {}


_OPTIONS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "JPEG": _jpeg,
    "PNG": _plain,
    "WEBP": _webp,
    "TIFF": _tiff,
    "BMP": _plain,
    "AVIF": _avif,
    heif.KIND: heif.options,
}
"""How each format is written: as finely as it came; with loss at least at quality 95, so that new detail stays."""
