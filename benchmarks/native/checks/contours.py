"""Darkened contours: lines along jaw, nose, lips and hairline, and crescents below eyes and nostrils."""

from __future__ import annotations

import cv2
import numpy as np

from benchmarks.native.checks.regions import (
    above_beside,
    below_eyes_and_nostrils,
    blurred,
    face_and_jaw,
    grown,
    skin,
    steepness,
)

STEEP = 4.0
"""L* a hundredth of the side: from here on an edge of the softened original is a contour."""

SOFT = 1 / 100
"""Blur of the original before its contours are looked for."""

VISIBLE = 6.0
"""L* by which something is darker than in the original."""

SMALLEST = 0.0003
"""Area of a crescent, as a share of the picture: 20 pixels at 256 px."""


def contours(restored: np.ndarray, original: np.ndarray) -> dict[str, float]:
    """How much darker than the original contours and crescents became, of CIELAB (H, W, 3)."""
    change = restored[..., 0] - original[..., 0]
    along = along_contours(change, original[..., 0])
    return {
        "along contours, L*": float(along.mean()),
        "darkened, % of contours": 100 * float((along < -VISIBLE).mean()),
        "crescents, %": crescents(change),
    }


def along_contours(change: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Change of lightness (H, W) at each pixel of the contours less that beside them (N,); one 0 without contours."""
    lines = grown((steepness(original, SOFT) > STEEP) & face_and_jaw(len(original)), 1 / 256)
    along = above_beside(change, lines, 1 / 64, 1 / 20)
    return along if along.size else np.zeros(1)


def crescents(change: np.ndarray) -> float:
    """Share in percent of the regions below eyes and nostrils that lies in dark crescents.

    The change of lightness (H, W) is taken relative to that of the skin.
    """
    side = len(change)
    soft = blurred(change, 1 / 128) - np.median(change[skin(side)])
    region = below_eyes_and_nostrils(side)
    count, labels, found, _ = cv2.connectedComponentsWithStats(((soft < -VISIBLE) & region).astype(np.uint8))
    large = [place for place in range(1, count) if found[place, cv2.CC_STAT_AREA] >= SMALLEST * side**2]
    return 100 * float(np.isin(labels, large)[region].mean())
