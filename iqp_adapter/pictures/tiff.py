"""TIFF files with more than 8 bits per sample: scans, mostly, and pictures in floating point."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .photo import MAX_PIXELS, checked

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_LAYOUT = {*range(254, 260), 262, 266, 273, *range(277, 280), 284, *range(317, 326), 338, 339, 347, 34675}
"""Tags that say how a file stores its pixels, and the profile; what writes a file writes its own."""

_ORIENTATION, _XMP, _PROFILE = 274, 700, 34675
_CAMERA, _PLACE = 34665, 34853
"""Tags of the directories with the camera's settings and the place, which tifffile cannot write."""

_SOFTWARE = 305
_TEXTS = (270, 271, 272, _SOFTWARE, 306, 315, 33432)
"""Tags for description, maker, model, software, date, artist, copyright."""

_PLAIN, _NO_PREDICTOR, _DIFFERENCES = (1, 8, 32946, 32773), 1, 2
"""Compressions and predictors that tifffile decodes by itself: none, deflate (two numbers), PackBits."""

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_ASSOCIATED = 1
"""Kind of alpha by which the colours are multiplied already."""


def is_tiff(data: bytes) -> bool:
    return data.startswith(_MAGIC)


def is_deep(data: bytes) -> bool:
    """Whether these bytes are a TIFF file with more than 8 bits per sample."""
    from tifffile import TiffFile

    if not is_tiff(data):
        return False
    try:
        with TiffFile(BytesIO(data)) as file:
            return int(np.max(file.pages.first.bitspersample)) > 8
    except Exception:  # broken, or of a kind that Pillow may know, which says so if it does not
        return False


def shape(file: IO[bytes]) -> tuple[int, int, int]:
    """Stored width and height in pixels, and the orientation as EXIF counts."""
    from tifffile import TiffFile

    with TiffFile(file) as opened:
        page = opened.pages.first
        return page.imagewidth, page.imagelength, int(page.tags.valueof(_ORIENTATION, 1))


def read(data: bytes) -> tuple[np.ndarray, int, dict[str, Any], str]:
    """Samples as stored, (H, W) or (H, W, 2 to 4); their orientation; what the file says; a note on what is not kept.

    Raises:
        TypeError, ValueError: for what is no picture of 16 bits, or in floating point from 0 to 1.
    """
    from tifffile import TiffFile

    with TiffFile(BytesIO(data)) as file:
        page = _only_page(file)
        turned = int(page.tags.valueof(_ORIENTATION, 1))
        planes = _opaque_colours(page, checked(_stored(page, data)))
    info = _info(data)
    lost = {_CAMERA, _PLACE} & set(info["exif"]) and (planes.ndim == 3 or _is_big(data))
    if lost:
        info["exif"] = _without(info["exif"], {_CAMERA, _PLACE})
    return planes, turned, info, "EXIF of the camera not kept" if lost else ""


def _only_page(file: TiffFile) -> TiffPage:
    page = file.pages.first
    if len(file.pages) > 1:
        raise ValueError("holds more than one picture; save the one to use by itself")
    if page.imagewidth * page.imagelength > MAX_PIXELS:
        raise ValueError(f"more than {MAX_PIXELS // 10**6} megapixels; scale it down first")
    samples = {_RGB: (3, 4), _WHITE_IS_ZERO: (1, 2), _BLACK_IS_ZERO: (1, 2)}.get(page.photometric, ())
    if page.bitspersample not in (16, 32, 64) or page.samplesperpixel not in samples:
        photometric = getattr(page.photometric, "name", page.photometric)
        kind = f"{page.samplesperpixel} x {page.bitspersample} bits, {photometric}"
        raise ValueError(f"a TIFF file of this kind ({kind}) cannot be read; save it as RGB or grey with 8 or 16 bits")
    return page


def _stored(page: TiffPage, data: bytes) -> np.ndarray:
    """(H, W) or (H, W, C), of the type in the file."""
    if page.compression in _PLAIN and page.predictor in (_NO_PREDICTOR, _DIFFERENCES):
        planes = page.asarray()
        planes = np.moveaxis(planes, 0, -1) if page.axes == "SYX" else planes
    elif page.planarconfig == 1:
        planes = _by_opencv(page, data)
    else:
        raise ValueError("a compressed TIFF file with separate colours cannot be read; save it as PNG with 16 bits")
    wanted = (page.imagelength, page.imagewidth, page.samplesperpixel)
    if planes.size != np.prod(wanted):
        raise ValueError(f"a TIFF file of shape {page.shape} cannot be read; save one picture, as RGB or grey")
    return planes.reshape(wanted[:2] if page.samplesperpixel == 1 else wanted)


def _by_opencv(page: TiffPage, data: bytes) -> np.ndarray:
    """What tifffile decodes with a further package alone, such as LZW."""
    import cv2

    content = bytearray(data)
    if tag := page.tags.get(_ORIENTATION):
        content[tag.valueoffset : tag.valueoffset + 2] = (1).to_bytes(2, "little" if data[:1] == b"I" else "big")
    planes = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if planes is None or planes.dtype != page.dtype:
        name = getattr(page.compression, "name", page.compression)
        raise ValueError(f"damaged, or a TIFF file that cannot be read ({name}, {page.dtype}); save it as PNG")
    return planes if planes.ndim == 2 else planes[..., [2, 1, 0, 3][: planes.shape[2]]]


def _opaque_colours(page: TiffPage, planes: np.ndarray) -> np.ndarray:
    """Black is zero, and colours are not multiplied by alpha."""
    full = np.iinfo(planes.dtype).max if planes.dtype.kind == "u" else 1
    colours, alpha = (planes[..., :-1], planes[..., -1:]) if page.samplesperpixel in (2, 4) else (planes, None)
    if page.photometric == _WHITE_IS_ZERO:
        colours = full - colours
    if alpha is None:
        return colours
    if page.extrasamples and page.extrasamples[0] == _ASSOCIATED:
        whole = colours / np.maximum(alpha / full, 1e-9)
        colours = (whole.round() if planes.dtype.kind == "u" else whole).clip(0, full)
    return np.concatenate([colours, alpha], -1).astype(planes.dtype)


def _info(data: bytes) -> dict[str, Any]:
    """What the file says beside its pixels, in Pillow's words."""
    tags = _big_tags(data) if _is_big(data) else _tags(data)
    info: dict[str, Any] = {"compression": "tiff_adobe_deflate"}
    info |= {key: tags[tag] for key, tag in (("icc_profile", _PROFILE), ("xmp", _XMP)) if tag in tags}
    if tags.get(296) in (2, 3):
        per_inch = 1 if tags[296] == 2 else 2.54
        info["dpi"] = tuple(float(tags.get(tag, 0)) * per_inch for tag in (282, 283))
    return info | {"exif": without_layout(tags)}


def without_layout(tags: Image.Exif) -> Image.Exif:
    """The tags that say nothing of how the pixels are stored; the others are taken out."""
    return _without(tags, _LAYOUT)


def _without(tags: Image.Exif, numbers: set[int]) -> Image.Exif:
    for tag in numbers & set(tags):
        del tags[tag]
    return tags


def encode(planes: np.ndarray, info: Mapping[str, Any]) -> bytes:
    """(H, W) grey or (H, W, 2 to 4), uint16 or floating point, as a file with what is said beside the pixels."""
    import tifffile

    tags = _tags(info.get("exif", b""))
    texts = {tag: str(tags[tag]).encode("latin-1", "replace") for tag in _TEXTS if tag in tags}  # as Pillow reads them
    software = texts.pop(_SOFTWARE, False)
    extra: list[tuple[Any, ...]] = [(tag, "s", 0, text, True) for tag, text in texts.items()]
    extra += [(_ORIENTATION, "H", 1, tags[_ORIENTATION], True)] if tags.get(_ORIENTATION, 1) != 1 else []
    bulky = {tag: info[key] for tag, key in ((_XMP, "xmp"), (_PROFILE, "icc_profile")) if key in info}
    extra += [(tag, "B", len(content), content, True) for tag, content in bulky.items()]
    across, down = info.get("dpi", (1, 1))
    content, colours = BytesIO(), planes.ndim == 3 and planes.shape[2] > 2
    tifffile.imwrite(
        content,
        planes,
        photometric="rgb" if colours else "minisblack",
        planarconfig="contig" if planes.ndim == 3 else None,
        extrasamples=["unassalpha"] if planes.ndim == 3 and planes.shape[2] in (2, 4) else None,
        compression="zlib",
        metadata=None,
        software=software,
        resolution=(float(across), float(down)),
        resolutionunit="inch" if "dpi" in info else "none",
        extratags=extra,
    )
    return content.getvalue()


def _tags(exif: Image.Exif | bytes) -> Image.Exif:
    """EXIF as it came from a TIFF file, or from a file of another kind."""
    if isinstance(exif, Image.Exif):
        return exif
    tags = Image.Exif()
    tags.load(exif)
    return tags


def _is_big(data: bytes) -> bool:
    """Whether the file is a BigTIFF, which Pillow does not take for EXIF."""
    return data[2:4] in (b"+\0", b"\0+")


def _big_tags(data: bytes) -> Image.Exif:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory, tags = ImageFileDirectory_v2(data[:16]), Image.Exif()
    file = BytesIO(data)
    file.seek(directory.next)
    directory.load(file)
    tags.update(directory)
    return tags
