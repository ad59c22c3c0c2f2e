"""Pictures: the one reader of files, what is kept of a file and written back, arrays, and tensors.

    file ── bytes ── decode ── Photo ──┬── read_pixels, read_tensor, read_large
    array, PIL image ──────────┘       └── encode ── bytes ── file

Restoring, scoring, the benchmark and training all read a file this way, so that they see the same picture.
"""

from __future__ import annotations

from .arrays import (
    LUMA,
    RINGING,
    as_given,
    as_pixels,
    as_unit,
    check_images,
    eight_bit,
    fit,
    luma,
    peak,
    resample,
    resize,
    warp_affine,
)
from .files import (
    PictureFile,
    check_large,
    one_line,
    open_photo,
    read_large,
    read_photo,
    read_pixels,
    read_tensor,
    rgb_of,
    size_of,
)
from .formats import encode, target_format
from .photo import MAX_PIXELS, Photo, SeveralPicturesError

__all__ = [
    "LUMA",
    "MAX_PIXELS",
    "Photo",
    "PictureFile",
    "RINGING",
    "SeveralPicturesError",
    "as_given",
    "as_pixels",
    "as_unit",
    "check_images",
    "check_large",
    "eight_bit",
    "encode",
    "fit",
    "luma",
    "one_line",
    "open_photo",
    "peak",
    "read_large",
    "read_photo",
    "read_pixels",
    "read_tensor",
    "resample",
    "resize",
    "rgb_of",
    "size_of",
    "target_format",
    "warp_affine",
]
