"""Samples and colours: frames as upright RGB, and restored parts put back among the samples of a frame.

A film stores brightness and colour differences, the latter often at half the size. What is not restored keeps its
samples: only the parts around faces go through RGB and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .reading import Film, library

if TYPE_CHECKING:
    from av import VideoFrame

Part = tuple[slice, slice]
"""Rows and columns."""

_UNSPECIFIED = 2
_BT709, _BT601 = 1, 5
_LIMITED, _FULL = 1, 2

_BLOCK = 8
"""Parts begin and end at multiples of this many pixels, which any size of colour difference divides."""


def stored_as(film: Film) -> str:
    """The format of the samples in the result: planar, with the source's depth and size of colour differences."""
    format = library().VideoFormat(film.format, 8, 8)
    depth = max(component.bits for component in format.components)
    across, down = (8, 8) if format.is_rgb else (format.chroma_width(), format.chroma_height())
    sizes = {(4, 4): "420", (4, 8): "422", (8, 8): "444"}
    is_odd = film.width % 2 or film.height % 2  # of which encoders take no halves
    return f"yuv{'444' if is_odd else sizes.get((across, down), '420')}p" + (
        "" if depth <= 8 else "10le" if depth <= 10 else "12le"
    )


class Colours:
    """Turns the frames of a film to RGB and back.

    A film that does not say by which matrix is taken as players take it: by its height.
    """

    def __init__(self, film: Film) -> None:
        self.turns = film.turns
        self.format = stored_as(film)
        self._rgb = "rgb24" if self.format.endswith("p") else "rgb48le"
        matrix = film.tags["colorspace"]
        self._matrix = (_BT709 if film.height >= 720 else _BT601) if matrix == _UNSPECIFIED else matrix
        is_full = film.tags["color_range"] == _FULL or film.format.startswith("yuvj")
        self._range = _FULL if is_full else _LIMITED
        self._smooth = library().video.reformatter.Interpolation.BICUBIC | _ACCURATE

    def planar(self, picture: VideoFrame) -> VideoFrame:
        """The frame in the format of the result."""
        return self._as(picture, self.format)

    def rgb(self, picture: VideoFrame) -> np.ndarray:
        """(H, W, 3) upright, uint8, or uint16 where a film has more than 8 bits."""
        return np.rot90(self._as(picture, self._rgb).to_ndarray(), self.turns)

    def frame(self, pixels: np.ndarray) -> VideoFrame:
        """A frame of upright pixels (H, W, 3)."""
        return self._from_rgb(np.rot90(pixels, -self.turns))

    def put(self, picture: VideoFrame, pixels: np.ndarray, parts: Sequence[Part]) -> VideoFrame:
        """A frame in the result's format, with parts of upright pixels (H, W, 3); it may be the one that is given."""
        frame = self.planar(picture)
        frame.make_writable()
        stored = np.rot90(pixels, -self.turns)
        for part in parts:
            rows, columns = _grown(_turned(part, pixels.shape, self.turns), stored.shape)
            patch = self._from_rgb(stored[rows, columns])
            for own, new in zip(frame.planes, patch.planes, strict=True):
                _put(own, new, rows.start / len(stored), columns.start / stored.shape[1])
        return frame

    def _as(self, picture: VideoFrame, format: str) -> VideoFrame:
        picture.colorspace, picture.color_range = self._matrix, self._range
        return picture.reformat(
            format=format, interpolation=self._smooth, src_color_range=self._range, dst_color_range=self._range
        )

    def _from_rgb(self, pixels: np.ndarray) -> VideoFrame:
        picture = library().VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=self._rgb)
        return self._as(picture, self.format)


_ACCURATE = 0x40000 | 0x2000 | 0x4000
"""Flags of swscale: exact rounding, and colour differences interpolated to every pixel."""


def _put(own: Any, new: Any, down: float, across: float) -> None:
    """Copies a plane into a larger one, at a place in units of that one's size."""
    target, source = _samples(own), _samples(new)
    top, left = round(down * own.height), round(across * own.width)
    target[top : top + len(source), left : left + source.shape[1]] = source


def _samples(plane: Any) -> np.ndarray:
    """(H, W) a view of a plane."""
    kind = np.dtype("u1" if plane.line_size < 2 * plane.width else "<u2")
    rows = np.frombuffer(plane, kind, count=plane.height * plane.line_size // kind.itemsize)
    return rows.reshape(plane.height, -1)[:, : plane.width]


def _turned(part: Part, shape: tuple[int, ...], turns: int) -> Part:
    """Where a part of an upright picture lies in the picture as it is stored."""
    rows, columns = part
    height, width = shape[:2]
    for _ in range(turns):  # a quarter clockwise each
        rows, columns = columns, slice(height - rows.stop, height - rows.start)
        height, width = width, height
    return rows, columns


def _grown(part: Part, shape: tuple[int, ...]) -> Part:
    rows, columns = (
        slice(side.start // _BLOCK * _BLOCK, min(-(-side.stop // _BLOCK) * _BLOCK, length))
        for side, length in zip(part, shape, strict=False)
    )
    return rows, columns
