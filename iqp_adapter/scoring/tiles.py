"""Tiles of a picture that is too large to be scored whole: together they count every pixel once.

A tile is read with a margin, so that what is computed of its inner part does not depend on where the picture was cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

WHOLE = 2**21
"""Pixels that are scored at one time: those of a batch, or of a picture that needs no tiles."""

STEP = 672
"""Side of a tile's inner part: whole blocks of 96 and of 16 pixels, and whole positions at stride 32."""

PERIOD = 32
"""Tiles begin at multiples of it and leave the remainder that the picture has: strided convolutions pad by parity."""


class Span(NamedTuple):
    """A stretch of one side: pixels `start` to `stop` are read, `first` to `last` of them count."""

    start: int
    first: int
    last: int
    stop: int

    def inner(self, stride: int) -> slice:
        """Where the pixels that count are in a map of the stretch, at a stride."""
        begin = (self.first - self.start) // stride
        return slice(begin, begin - (self.first - self.last) // stride)  # rounded up at the picture's end


class Tile(NamedTuple):
    rows: Span
    columns: Span

    def read(self, images: Tensor) -> Tensor:
        """Pictures (..., H, W) -> the tile and its margin (..., h, w)."""
        return images[..., self.rows.start : self.rows.stop, self.columns.start : self.columns.stop]

    def inner(self, maps: Tensor, stride: int = 1) -> Tensor:
        """What was computed of a tile and its margin, at a stride -> the part that counts."""
        return maps[..., self.rows.inner(stride), self.columns.inner(stride)]

    def place(self, whole: Tensor, stride: int = 1) -> Tensor:
        """A map of the whole picture (..., H, W), at a stride -> the part that counts of this tile."""
        rows, columns = (slice(span.first // stride, -(-span.last // stride)) for span in (self.rows, self.columns))
        return whole[..., rows, columns]


def is_large(images: Tensor) -> bool:
    """Whether each of some pictures (..., H, W) has more than `WHOLE` pixels."""
    return images.shape[-2] * images.shape[-1] > WHOLE


def tiles_of(images: Tensor, margin: int, block: int = 1) -> Iterator[Tile]:
    """The tiles of pictures (..., H, W).

    Args:
        margin: pixels on each side that a result depends on.
        block: pixels beyond the last whole block of this side are read, and do not count.
    """
    height, width = images.shape[-2:]
    for rows in _spans(height, margin, block):
        for columns in _spans(width, margin, block):
            yield Tile(rows, columns)


def _spans(length: int, margin: int, block: int) -> Iterator[Span]:
    margin = -(-margin // PERIOD) * PERIOD
    counted = length // block * block
    for first in range(0, counted, STEP):
        last = min(first + STEP, counted)
        yield Span(max(0, first - margin), first, last, min(length, last + margin + length % PERIOD))
