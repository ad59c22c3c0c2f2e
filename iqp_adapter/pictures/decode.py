"""Bytes of a file, or an opened PIL image, become a `Photo`: upright, at full depth, with all that it carries."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from . import heif, png, tiff
from .photo import ImageForm, Photo, SeveralPicturesError, checked, split, swaps_sides, upright

KEPT = ("exif", "icc_profile", "xmp", "dpi", "comment")
"""What Pillow's writers take as they are."""

_HOW = ("compression", "progressive", "lossless", "nclx_profile", "bit_depth")
_ORIENTATION = 0x0112
_PROGRAMS = {"EPS"}
"""Kinds of files that are programs, which Pillow would have another program run."""


def content_of(file: IO[bytes]) -> bytes:
    """All bytes of a picture file; what is no picture is refused before it fills the memory."""
    start = file.read(len(png.SIGNATURE))
    file.seek(0)
    if start != png.SIGNATURE and not tiff.is_tiff(start):
        opened(file)
        file.seek(0)
    return file.read()


def decode(data: bytes, path: Path | None = None) -> Photo:
    """A picture file's content; errors are those of the decoders, see `files.one_line`."""
    if tiff.is_deep(data):
        return _photo(*tiff.read(data), path, "TIFF")
    shown, beside = png.apart(BytesIO(data)) if data.startswith(png.SIGNATURE) else (data, [])
    kept, said, lost = png.said(beside)
    with opened(BytesIO(shown)) as image:
        kind = "JPEG" if image.format == "MPO" else image.format or ""
        if kind not in ("JPEG", heif.KIND) and getattr(image, "is_animated", False):
            raise SeveralPicturesError("holds more than one picture; save the one to use by itself")
        note = heif.note(image, data) if image.format == kind else "its further pictures are not kept"
        image.info.update(said | ({"lossless": True} if kind == "WEBP" and _is_lossless(data) else {}))
        planes = png.sixteen_bit(shown) if png.is_deep(shown) else None
        planes = heif.sixteen_bit(data) if heif.is_deep(image) else planes
        return of_image(image, path, kind, planes, kept, (lost, note))


def size(file: IO[bytes]) -> tuple[int, int]:
    """Upright width and height in pixels of a picture file, which is not decoded."""
    start = file.read(len(png.SIGNATURE))
    file.seek(0)
    if tiff.is_tiff(start):
        width, height, turned = tiff.shape(file)
    else:
        shown, beside = png.apart(file, without=b"IDAT") if start == png.SIGNATURE else (b"", [])
        with opened(BytesIO(shown) if shown else file) as image:
            image.info.update(png.said(beside)[1])
            width, height, turned = *image.size, _turn(image)[0]
    return (height, width) if swaps_sides(turned) else (width, height)


def opened(file: IO[bytes]) -> Image.Image:
    """An opened file, not decoded yet.

    Raises:
        PIL.UnidentifiedImageError: for what is no picture, and for programs such as PostScript, which are never run.
        ImportError: for HEIC, where its reader is not installed.
    """
    Image.init()
    heif.register()
    heif.check_reader(file.read(12))
    file.seek(0)
    return Image.open(file, formats=[kind for kind in Image.ID if kind not in _PROGRAMS])


def of_image(
    image: Image.Image,
    path: Path | None = None,
    kind: str = "",
    planes: np.ndarray | None = None,
    beside: bytes = b"",
    notes: tuple[str, ...] = (),
) -> Photo:
    """A PIL image.

    Args:
        kind: Pillow's name for the kind of file that it came from.
        planes: its samples, where Pillow has reduced them.
        beside: chunks of its PNG file, to be kept.
        notes: on what cannot be kept.
    """
    image.load()
    info = {key: image.info[key] for key in (*KEPT, *_HOW) if image.info.get(key)}
    info |= {key: getattr(image, key) for key in ("quantization", "text") if getattr(image, key, None)}
    turned, lost = _turn(image)
    if lost:
        info.pop("exif", None)
    elif kind == "TIFF":
        info["exif"] = tiff.without_layout(image.getexif())
    note = ""
    if planes is None:
        planes, note = _planes(image, info)
    return _photo(planes, turned, info, "; ".join(filter(None, (*notes, lost, note))), path, kind, beside)


def _photo(
    planes: np.ndarray,
    turned: int,
    info: dict[str, Any],
    note: str,
    path: Path | None,
    kind: str,
    beside: bytes = b"",
) -> Photo:
    colours, alpha = split(upright(planes, turned))
    grey = planes.ndim == 2 or planes.shape[2] == 2
    return Photo(colours, alpha, ImageForm(grey, turned, info, beside), path, kind, note)


def _turn(image: Image.Image) -> tuple[int, str]:
    """EXIF orientation, and a note where the EXIF cannot be read."""
    try:
        if isinstance(stored := image.info.get("exif"), bytes):
            Image.Exif().load(stored)
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises errors of all kinds; the note says what is lost
        return 1, "EXIF not kept"
    return (found if isinstance(found, int) else 1), ""


def _planes(image: Image.Image, info: dict[str, Any]) -> tuple[np.ndarray, str]:
    """(H, W) grey or (H, W, 2 to 4) with colours and alpha, and what is not kept."""
    if image.mode == "F":
        return checked(np.asarray(image)), ""
    if image.mode.startswith("I"):
        return _with_transparent(_sixteen_bit_grey(np.asarray(image)), image.info.get("transparency")), ""
    if image.mode == "CMYK":
        return _from_cmyk(image, info.pop("icc_profile", None))
    grey = image.mode in ("1", "L", "LA", "La")
    mode = ("L" if grey else "RGB") + ("A" if image.has_transparency_data else "")
    note = "" if mode == image.mode else f"colour mode {image.mode} was turned into {mode}"
    return np.asarray(image if mode == image.mode else image.convert(mode)), note


def _sixteen_bit_grey(values: np.ndarray) -> np.ndarray:
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("brightness beyond 16 bits is not supported; save the picture with 16 bits or less")
    return values.astype(np.uint16)


def _with_transparent(grey: np.ndarray, transparent: int | None) -> np.ndarray:
    """Grey of 16 bits with alpha where a PNG file names one level as transparent."""
    if transparent is None:
        return grey
    return np.dstack([grey, np.where(grey == transparent, 0, 65535).astype(np.uint16)])


def _from_cmyk(image: Image.Image, profile: bytes | None) -> tuple[np.ndarray, str]:
    """RGB by the picture's own profile, in sRGB then; by Pillow's plain rule where it has none that can be used."""
    from PIL import ImageCms

    note = "CMYK was turned into RGB"
    if profile is not None:
        try:
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, BytesIO(profile), srgb, outputMode="RGB")
            return np.asarray(converted), note
        except ImageCms.PyCMSError:
            note += " without its profile, which cannot be used"
    return np.asarray(image.convert("RGB")), note


def _is_lossless(data: bytes) -> bool:
    """Whether a WebP file holds its picture in the lossless kind of chunk."""
    start = 12
    while start + 8 <= len(data):
        kind = data[start : start + 4]
        if kind in (b"VP8L", b"VP8 "):
            return kind == b"VP8L"
        length = int.from_bytes(data[start + 4 : start + 8], "little")
        start += 8 + length + length % 2
    return False
