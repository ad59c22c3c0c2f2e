"""Pictures in and out, as the photo tools name them; `iqp_adapter.pictures` reads and writes them."""

from __future__ import annotations

from ..pictures.files import one_line, open_photo, read_photo
from ..pictures.formats import encode, target_format
from ..pictures.photo import MAX_PIXELS, Photo

__all__ = ["MAX_PIXELS", "Photo", "encode", "one_line", "open_photo", "read_photo", "target_format"]
