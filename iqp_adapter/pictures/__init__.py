"""Pictures: the one reader of files, what is kept of a file and written back, arrays, and tensors.

    file ── bytes ── decode ── Photo ──┬── read_pixels, read_tensor, read_large
    array, PIL image ──────────┘       └── encode ── bytes ── file

Restoring, scoring, the benchmark and training all read a file this way, so that they see the same picture.
"""

from __future__ import annotations

from .arrays import LUMA, as_given, as_pixels, check_images, eight_bit, fit, luma, peak, resample, resize
from .files import check_large, read_large, read_pixels, read_tensor, rgb_of, size_of

__all__ = [
    "LUMA",
    "as_given",
    "as_pixels",
    "check_images",
    "check_large",
    "eight_bit",
    "fit",
    "luma",
    "peak",
    "read_large",
    "read_pixels",
    "read_tensor",
    "resample",
    "resize",
    "rgb_of",
    "size_of",
]
