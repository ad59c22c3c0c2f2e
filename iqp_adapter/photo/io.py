"""Pictures in and out: any array, PIL image or file becomes an upright RGB `Photo`, and goes back to what it was.

Kept are depth, alpha, EXIF (byte for byte: a picture is turned upright for the work and back again), ICC profile, XMP,
texts, comment and resolution.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ..pictures import eight_bit, luma
from . import deep

MAX_PIXELS = 178_956_970
"""The largest photo, in and out: twice Pillow's warning limit, beyond which it refuses to read."""

_ORIENTATION = 0x0112
_TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
"""EXIF orientation -> transpose, then flip rows, then flip columns, which makes the picture upright."""


class Form(Protocol):
    """Turns upright RGB pixels back into what a photo came as."""

    def build(self, pixels: np.ndarray, alpha: np.ndarray | None) -> Any: ...


@dataclass(frozen=True, eq=False)
class Photo:
    """An upright picture to work on."""

    pixels: np.ndarray
    """(H, W, 3) RGB; uint8, uint16, or floating point in [0, 1]."""
    alpha: np.ndarray | None
    """(H, W) of the same type; None where the picture is opaque."""
    form: Form
    path: Path | None = None
    format: str = ""
    """Pillow's name for the kind of file it came from."""
    note: str = ""
    """What cannot be kept, for the report."""

    @property
    def megapixels(self) -> float:
        return self.pixels.shape[0] * self.pixels.shape[1] / 1e6


def open_photo(source: Any) -> Photo:
    """A photo from an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), a PIL image, or a path.

    Raises:
        TypeError, ValueError: where the array or image is of a kind that is not supported.
        OSError: where the file cannot be read.
    """
    if isinstance(source, Photo):
        return source
    if isinstance(source, (str, Path)):
        return read_photo(Path(source))
    if isinstance(source, Image.Image):
        return _from_image(source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    raise TypeError(f"a photo is an array (H, W, 3), a PIL image or a path, got {type(source).__name__}")


def read_photo(path: Path) -> Photo:
    """Reads a picture file whole.

    Raises:
        OSError: in one line, where the file is missing, no picture, broken, an animation, too large, or of a format
            that cannot be written again without loss.
    """
    with one_line(path), Image.open(path) as image:
        kind = "JPEG" if image.format == "MPO" else image.format or ""
        if kind not in _OPTIONS:
            raise ValueError(f"{kind} pictures cannot be written again without loss; convert it to PNG first")
        if kind != "JPEG" and getattr(image, "is_animated", False):
            raise ValueError("holds more than one picture; save the one to restore by itself")
        if deep.is_deep(image):
            return _from_deep(image, path, kind)
        photo = _from_image(image, path, kind)
        return photo if image.format == kind else replace(photo, note="its further pictures are not kept")


def encode(photo: Photo, pixels: np.ndarray, alpha: np.ndarray | None, file: Path, kind: str) -> None:
    """Writes pixels to a file of that kind, with what the photo's own file says beside its pixels."""
    picture = photo.form.build(pixels, alpha)
    if isinstance(photo.form, _DeepForm):
        deep.write(picture, photo.form.path, file, kind)
        return
    image = picture if isinstance(picture, Image.Image) else _to_image(picture)
    encoded = BytesIO()  # Pillow's encoders do not notice a full disk
    image.save(encoded, kind, **_OPTIONS[kind](image.info), **_kept(image.info))
    file.write_bytes(encoded.getvalue())


def target_format(photo: Photo, target: Path) -> str:
    """Pillow's name for the kind of file that the target will be.

    Raises:
        ValueError: where the suffix stands for no format that is written here.
    """
    if photo.path is not None and photo.path.suffix.lower() == target.suffix.lower():
        return photo.format
    kind = Image.registered_extensions().get(target.suffix.lower(), "")
    if kind not in _OPTIONS:
        raise ValueError(f"{target}: pictures are written as {', '.join(_OPTIONS)}; give the file such a suffix")
    return kind


@contextmanager
def one_line(path: Path) -> Iterator[None]:
    """Decoders and encoders raise errors of all kinds; they become an OSError of one line that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except Image.UnidentifiedImageError as error:
        raise OSError(f"{path}: not a picture that can be read") from error
    except Image.DecompressionBombError as error:
        raise OSError(f"{path}: more than {MAX_PIXELS // 10**6} megapixels; scale it down first") from error
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise OSError(f"{path}: {' '.join(reason.split())}") from error


# -- arrays


@dataclass(frozen=True)
class _ArrayForm:
    shape: tuple[int, ...]
    dtype: np.dtype

    def build(self, pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
        grey = self.shape[2:] in ((), (1,))
        colours = luma(pixels).reshape(*pixels.shape[:2], *self.shape[2:]) if grey else pixels
        return (colours if alpha is None else np.dstack([colours, alpha])).astype(self.dtype)


def _from_array(array: np.ndarray) -> Photo:
    if array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != "f":
        raise TypeError(f"photo is of {array.dtype}, expected uint8, uint16, or floating point in [0, 1]")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or 0 in array.shape:
        raise ValueError(f"photo has shape {array.shape}, expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    if array.dtype.kind == "f" and not (array.min() >= 0 and array.max() <= 1):
        raise ValueError("a photo in floating point holds values in [0, 1]; divide by its maximum, or give uint8")
    wide = array.astype(np.float32) if array.dtype == np.float16 else array
    return Photo(*_split(wide), _ArrayForm(array.shape, array.dtype))


def _split(array: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours (H, W, 3) and alpha (H, W) of an array with 1 to 4 channels."""
    planes = array[..., None] if array.ndim == 2 else array
    colours, alpha = (planes[..., :-1], planes[..., -1]) if planes.shape[2] in (2, 4) else (planes, None)
    return np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3))), alpha


def _to_image(array: np.ndarray) -> Image.Image:
    return Image.fromarray(eight_bit(array.squeeze(-1) if array.shape[-1] == 1 else array))


# -- PIL images and the files it reads


@dataclass(frozen=True)
class _ImageForm:
    grey: bool
    orientation: int
    info: dict[str, Any]

    def build(self, pixels: np.ndarray, alpha: np.ndarray | None) -> Image.Image:
        colours = luma(pixels) if self.grey else pixels
        planes = colours if alpha is None else np.dstack([colours, alpha])
        image = Image.fromarray(np.ascontiguousarray(_turned_back(planes, self.orientation)))
        image.info.update(self.info)
        return image


def _from_image(image: Image.Image, path: Path | None = None, kind: str = "") -> Photo:
    image.load()
    exif = image.getexif()
    info = {key: image.info[key] for key in (*_KEPT, "compression", "progressive") if image.info.get(key)}
    info |= {key: getattr(image, key) for key in ("quantization", "text") if getattr(image, key, None)}
    if kind == "TIFF":
        info["exif"] = exif
        for tag in _TIFF_LAYOUT & set(exif):
            del exif[tag]
    planes, note = _planes(image, info)
    orientation = exif.get(_ORIENTATION, 1)
    colours, alpha = _split(_upright(planes, orientation))
    grey = planes.ndim == 2 or planes.shape[2] == 2
    return Photo(colours, alpha, _ImageForm(grey, orientation, info), path, kind, note)


_KEPT = ("exif", "icc_profile", "xmp", "dpi", "comment")
_TIFF_LAYOUT = {*range(254, 260), 262, 266, 273, *range(277, 280), 284, *range(317, 326), 338, 339, 347, 34675}
"""Tags that say how a TIFF file stores its pixels; Pillow writes its own."""


def _planes(image: Image.Image, info: dict[str, Any]) -> tuple[np.ndarray, str]:
    """(H, W) grey or (H, W, 2 to 4) with colours and alpha, and what is not kept."""
    if image.mode.startswith("I"):
        return _sixteen_bit_grey(np.asarray(image)), ""
    if image.mode == "CMYK":
        return np.asarray(_from_cmyk(image, info.pop("icc_profile", None))), "CMYK was turned into RGB"
    grey = image.mode in ("1", "L", "LA", "La")
    mode = ("L" if grey else "RGB") + ("A" if image.has_transparency_data else "")
    note = "" if mode == image.mode else f"colour mode {image.mode} was turned into {mode}"
    return np.asarray(image if mode == image.mode else image.convert(mode)), note


def _sixteen_bit_grey(values: np.ndarray) -> np.ndarray:
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("brightness beyond 16 bits is not supported; save the picture with 16 bits or less")
    return values.astype(np.uint16)


def _from_cmyk(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB by the picture's own profile, in sRGB then; by Pillow's plain rule where it has none."""
    if profile is None:
        return image.convert("RGB")
    from PIL import ImageCms

    converted = ImageCms.profileToProfile(image, BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB")
    return converted or image.convert("RGB")


def _upright(planes: np.ndarray, orientation: int) -> np.ndarray:
    transpose, rows, columns = _TURNS.get(orientation, (False, False, False))
    turned = planes.swapaxes(0, 1) if transpose else planes
    return turned[:: -1 if rows else 1, :: -1 if columns else 1]


def _turned_back(planes: np.ndarray, orientation: int) -> np.ndarray:
    transpose, rows, columns = _TURNS.get(orientation, (False, False, False))
    flipped = planes[:: -1 if rows else 1, :: -1 if columns else 1]
    return flipped.swapaxes(0, 1) if transpose else flipped


_QUALITY_95 = 369
"""Sum of the brightness table of JPEG quality 95."""


def _jpeg(info: Mapping[Any, Any]) -> dict[str, Any]:
    tables = info.get("quantization")
    finer = tables is not None and sum(tables[0]) <= _QUALITY_95
    encoding = {"qtables": tables} if finer else {"quality": 95}
    return encoding | {"subsampling": 0, "progressive": bool(info.get("progressive"))}


def _png(info: Mapping[Any, Any]) -> dict[str, Any]:
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    for key, text in info.get("text", {}).items():
        texts.add_itxt(key, str(text))
    return {"pnginfo": texts}


def _webp(info: Mapping[Any, Any]) -> dict[str, Any]:
    return {"lossless": True} if info.get("lossless") else {"quality": 95}


def _tiff(info: Mapping[Any, Any]) -> dict[str, Any]:
    lossless = info.get("compression") in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate")
    return {"compression": info["compression"] if lossless else "tiff_adobe_deflate"}


def _bmp(info: Mapping[Any, Any]) -> dict[str, Any]:
    return {}


_OPTIONS: dict[str, Callable[[Mapping[Any, Any]], dict[str, Any]]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "TIFF": _tiff,
    "BMP": _bmp,
}
"""How each format is written: as finely as it came; JPEG and WebP at least at quality 95, so that new detail stays."""


def _kept(info: Mapping[Any, Any]) -> dict[str, Any]:
    return {key: info[key] for key in _KEPT if key in info}


# -- files with 16 bits per colour


@dataclass(frozen=True)
class _DeepForm:
    path: Path
    orientation: int

    def build(self, pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
        planes = pixels if alpha is None else np.dstack([pixels, alpha])
        return np.ascontiguousarray(_turned_back(planes, self.orientation))


def _from_deep(image: Image.Image, path: Path, kind: str) -> Photo:
    orientation = image.getexif().get(_ORIENTATION, 1)
    if kind == "TIFF" and orientation != 1:
        raise ValueError("a 16-bit TIFF that is stored turned cannot be read; turn it upright first")
    return Photo(*_split(_upright(deep.read(path), orientation)), _DeepForm(path, orientation), path, kind)
