"""Bleaching: the broad colours of skin are those of the original, whatever detail is restored."""

from __future__ import annotations

import numpy as np

from benchmarks.native.checks.regions import mean_inside, skin

TO_ORIGINAL = "skin to the original, CIEDE2000"

BROAD = 1 / 32
"""Blur that leaves broad colours."""

VISIBLE = 3.0
"""CIEDE2000 from the original that is seen in a part of a face."""


def bleaching(restored: np.ndarray, original: np.ndarray, degraded: np.ndarray) -> dict[str, float]:
    """How the broad colours of skin moved, of CIELAB (H, W, 3)."""
    from skimage.color import deltaE_ciede2000

    now, then, given = (broad_skin(picture) for picture in (restored, original, degraded))
    off = deltaE_ciede2000(now, then)
    chroma = [np.hypot(colours[:, 1], colours[:, 2]).mean() for colours in (now, then)]
    return {
        TO_ORIGINAL: float(off.mean()),
        "skin to the input, CIEDE2000": float(deltaE_ciede2000(now, given).mean()),
        "skin visibly off, %": 100 * float((off > VISIBLE).mean()),
        "skin lightness": float((now - then)[:, 0].mean()),
        "skin chroma": float(chroma[0] - chroma[1]),
    }


def broad_skin(picture: np.ndarray) -> np.ndarray:
    """Broad colours (N, 3) at places of the skin, of CIELAB (H, W, 3)."""
    where, step = skin(len(picture)), max(1, len(picture) // 64)
    return mean_inside(picture, where, BROAD)[::step, ::step][where[::step, ::step]]


def skin_lightness(picture: np.ndarray) -> float:
    """How light the skin on CIELAB (H, W, 3) is."""
    return float(np.median(picture[..., 0][skin(len(picture))]))
