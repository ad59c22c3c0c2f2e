"""Halos where hair meets background: the restoration is lighter or darker than both sides of the edge are."""

from __future__ import annotations

import numpy as np

from benchmarks.native.checks.regions import beside_the_face, blurred, grown, highest_near, lowest_near, steepness

STEEP = 6.0
"""L* a hundredth of the side: from here on an edge of the original is a strong one."""

BAND = 1 / 16
"""Half the width of the band along these edges."""

BOTH_SIDES = 1 / 32
"""How far around a pixel the original's range is taken."""

SOFT = 1 / 128
"""Blur of both pictures before they are compared, so that grain is no halo."""

VISIBLE = 3.0
"""L* beyond the range of both sides."""


def halos(restored: np.ndarray, original: np.ndarray) -> dict[str, float]:
    """How far CIELAB (H, W, 3) leaves the original's range along the outline of the head.

    The shift of the whole band is no halo and is taken off first.
    """
    band = outline(original[..., 0])
    before, after = blurred(original[..., 0], SOFT), blurred(restored[..., 0], SOFT)
    after = after - np.median((after - before)[band])
    beyond = np.maximum(after - highest_near(before, BOTH_SIDES), lowest_near(before, BOTH_SIDES) - after)[band]
    return {
        "halo, L*": float(np.maximum(beyond, 0).mean()),
        "halo, % of the outline": 100 * float((beyond > VISIBLE).mean()),
    }


def outline(lightness: np.ndarray) -> np.ndarray:
    """The band (H, W) along strong edges beside the face; all of what is beside the face where there are none."""
    beside = beside_the_face(len(lightness))
    edges = (steepness(lightness, SOFT) > STEEP) & beside
    return grown(edges, BAND) & beside if edges.any() else beside
