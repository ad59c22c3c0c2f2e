"""The one reader of picture files, and the errors of one line that it raises."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..store.words import line_of
from .arrays import eight_bit, peak
from .decode import content_of, decode, of_image, size
from .formats import check_writable
from .photo import MAX_PIXELS, ArrayForm, Photo, SeveralPicturesError, checked, split


class PictureFile(Protocol):
    """What a picture is read from: a path, or a place in a larger file that opens like one. Its text names it."""

    @property
    def name(self) -> str: ...

    @property
    def stem(self) -> str: ...

    def open(self, mode: Literal["rb"]) -> IO[bytes]: ...


def read_pixels(path: str | Path) -> np.ndarray:
    """A picture file, turned upright -> (H, W, 3) uint8 RGB; deeper samples become the nearest of 8 bits.

    Raises:
        OSError: in one line that names the file, where it cannot be read as one picture.
    """
    return eight_bit(_read(Path(path)).pixels)


def read_tensor(path: str | Path) -> Tensor:
    """A picture file, turned upright -> RGB (3, H, W) float32 in [0, 1], at the file's full depth.

    Raises:
        OSError: in one line that names the file, where it cannot be read as one picture.
    """
    pixels = _read(Path(path)).pixels
    full = peak(pixels.dtype)
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1) / full  # (H, W, 3) -> (3, H, W)


def read_large(path: str | PictureFile, smallest: int) -> np.ndarray:
    """A picture that is to be reduced to `smallest` pixels -> (H, W, 3) RGB, upright, at the file's full depth.

    Returns:
        uint8, uint16, or floating point in [0, 1].

    Raises:
        OSError: in one line that names the file, where it cannot be read as one picture.
        ValueError: where a side is shorter than `smallest` pixels.
    """
    pixels = _read(_file(path)).pixels
    _check_sides(path, (pixels.shape[1], pixels.shape[0]), smallest)
    return pixels


def check_large(path: str | PictureFile, smallest: int) -> None:
    """As `read_large`, from the head of the file alone."""
    _check_sides(path, size_of(path), smallest)


def size_of(path: str | PictureFile) -> tuple[int, int]:
    """Width and height in pixels of a picture file, turned upright; the pixels are not decoded.

    Raises:
        OSError: in one line that names the file, where it is no picture.
    """
    with one_line(path), _file(path).open("rb") as file:
        return size(file)


def rgb_of(image: Image.Image) -> np.ndarray:
    """An opened PIL image, turned upright -> (H, W, 3) uint8 RGB."""
    return eight_bit(of_image(image).pixels)


def read_photo(path: Path) -> Photo:
    """Reads a picture file whole, to write it again.

    Raises:
        SeveralPicturesError: an OSError, for a file with more than one picture.
        OSError: in one line, where the file is missing, no picture, broken, too large, or of a format that cannot be
            written again without loss.
    """
    photo = _read(path)
    with one_line(path):
        check_writable(photo)
    return photo


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
        return of_image(source)
    if isinstance(source, np.ndarray):
        return _of_array(source)
    raise TypeError(f"a photo is an array (H, W, 3), a PIL image or a path, got {type(source).__name__}")


@contextmanager
def one_line(path: str | PictureFile) -> Iterator[None]:
    """Decoders and encoders raise errors of all kinds; they become an OSError of one line that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of a large picture, or of odd entries that no pixel depends on
            yield
    except SeveralPicturesError as error:
        raise SeveralPicturesError(f"{path}: {error}") from error
    except Image.UnidentifiedImageError as error:
        raise OSError(f"{path}: not a picture that can be read") from error
    except Image.DecompressionBombError as error:
        raise OSError(f"{path}: more than {MAX_PIXELS // 10**6} megapixels; scale it down first") from error
    except Exception as error:
        raise OSError(f"{path}: {getattr(error, 'strerror', None) or line_of(error)}") from error


def _file(path: str | PictureFile) -> PictureFile:
    return Path(path) if isinstance(path, str) else path


def _read(path: PictureFile) -> Photo:
    with one_line(path), path.open("rb") as file:
        return decode(content_of(file), path if isinstance(path, Path) else None)


def _of_array(array: np.ndarray) -> Photo:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or 0 in array.shape:
        raise ValueError(f"photo has shape {array.shape}, expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    return Photo(*split(checked(array)), ArrayForm(array.shape, array.dtype))


def _check_sides(path: str | PictureFile, sides: tuple[int, int], smallest: int) -> None:
    if min(sides) < smallest:
        raise ValueError(f"{path}: {sides[0]} x {sides[1]} px, needs {smallest} px on the shorter side")
