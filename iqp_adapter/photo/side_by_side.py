"""Before and after, side by side, to look at."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..pictures import eight_bit
from .result import Restored

LONGEST_SIDE = 1600
"""Each half is reduced to this many pixels."""

_GAP = 8


def side_by_side(restored: Restored) -> Image.Image:
    """The photo before and after in one picture, upright and without alpha."""
    after = Image.fromarray(eight_bit(restored.pixels))
    before = Image.fromarray(eight_bit(restored.photo.pixels)).resize(after.size, Image.Resampling.BICUBIC)
    for half in (before, after):
        half.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    gap = np.full((before.height, _GAP, 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([np.asarray(before), gap, np.asarray(after)], 1))
