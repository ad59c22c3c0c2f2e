"""A picture to work on: upright RGB at full depth, its alpha, and the form in which it came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from .arrays import luma

MAX_PIXELS = 178_956_970
"""The largest photo, in and out: twice Pillow's warning limit, beyond which it refuses to read."""

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

_STRAIGHT = (False, False, False)


class SeveralPicturesError(OSError):
    """A file with more than one picture, as one that moves."""


class Form(Protocol):
    """Turns upright RGB pixels back into what a photo came as."""

    @property
    def info(self) -> Mapping[str, Any]:
        """What a file says beside its pixels, in Pillow's words."""

    def planes(self, pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
        """The samples as a file stores them: (H, W) grey, or (H, W, 2 to 4) with alpha or colours."""

    def build(self, pixels: np.ndarray, alpha: np.ndarray | None) -> Any:
        """The picture as it was given: an array or a PIL image."""


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


@dataclass(frozen=True)
class ArrayForm:
    """An array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."""

    shape: tuple[int, ...]
    dtype: np.dtype
    info: Mapping[str, Any] = field(default_factory=dict)

    def planes(self, pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
        grey = self.shape[2:] in ((), (1,))
        return stacked(luma(pixels) if grey else pixels, alpha)

    def build(self, pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
        planes = self.planes(pixels, alpha)
        return planes.reshape(*planes.shape[:2], *self.shape[2:]).astype(self.dtype)


@dataclass(frozen=True)
class ImageForm:
    """A PIL image, or a file.

    Attributes:
        grey: stored as brightness alone.
        orientation: EXIF orientation in which it is stored.
        info: what it says beside its pixels.
        beside: the same as the chunks of a PNG file, which it came from.
    """

    grey: bool
    orientation: int
    info: Mapping[str, Any]
    beside: bytes = b""

    def planes(self, pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
        return turned_back(stacked(luma(pixels) if self.grey else pixels, alpha), self.orientation)

    def build(self, pixels: np.ndarray, alpha: np.ndarray | None) -> Any:
        """A PIL image, or an array where Pillow has no mode of that depth."""
        planes = self.planes(pixels, alpha)
        if not fits_pillow(planes):
            return planes
        image = Image.fromarray(planes)
        image.info.update(self.info)
        return image


def fits_pillow(planes: np.ndarray) -> bool:
    """Whether Pillow has a mode for samples: 8 bits, or grey with 16 bits or in single precision."""
    return planes.dtype == np.uint8 or (planes.ndim == 2 and planes.dtype in (np.uint16, np.float32))


def split(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours (H, W, 3) and alpha (H, W) of samples (H, W) or (H, W, 1 to 4)."""
    planes = planes[..., None] if planes.ndim == 2 else planes
    colours, alpha = (planes[..., :-1], planes[..., -1]) if planes.shape[2] in (2, 4) else (planes, None)
    return np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3))), alpha


def stacked(colours: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Colours and alpha as one array."""
    return colours if alpha is None else np.dstack([colours, alpha])


def upright(planes: np.ndarray, orientation: int) -> np.ndarray:
    """Stored samples as they are looked at."""
    transpose, rows, columns = _TURNS.get(orientation, _STRAIGHT)
    turned = planes.swapaxes(0, 1) if transpose else planes
    return turned[:: -1 if rows else 1, :: -1 if columns else 1]


def turned_back(planes: np.ndarray, orientation: int) -> np.ndarray:
    """The opposite of `upright`."""
    transpose, rows, columns = _TURNS.get(orientation, _STRAIGHT)
    flipped = planes[:: -1 if rows else 1, :: -1 if columns else 1]
    return np.ascontiguousarray(flipped.swapaxes(0, 1) if transpose else flipped)


def swaps_sides(orientation: int) -> bool:
    """Whether a picture is stored with its width as height."""
    return _TURNS.get(orientation, _STRAIGHT)[0]


def checked(samples: np.ndarray) -> np.ndarray:
    """Samples of a type that is worked on; half precision becomes single precision.

    Raises:
        TypeError: unless they are uint8, uint16 or floating point.
        ValueError: where those in floating point are not finite, or outside of [0, 1].
    """
    if samples.dtype in (np.uint8, np.uint16):
        return samples
    if samples.dtype.kind != "f":
        raise TypeError(f"photo is of {samples.dtype}, expected uint8, uint16, or floating point in [0, 1]")
    low, high = float(samples.min()), float(samples.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"a photo in floating point holds finite values in [0, 1], this one spans [{low:.9g}, {high:.9g}]; divide "
            f"it by its maximum, or save it with 8 or 16 bits"
        )
    return samples.astype(np.float32) if samples.dtype.itemsize < 4 else samples
