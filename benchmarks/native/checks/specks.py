"""Colour specks: a model that is given a grey face has no colours to restore, and must not invent any."""

from __future__ import annotations

import numpy as np

VISIBLE = 5.0
"""Chroma that is seen on grey, also in a small speck; a large plain area shows half of it."""


def specks(restored: np.ndarray) -> dict[str, float]:
    """What was invented, from CIELAB (H, W, 3) that was restored from a grey picture."""
    chroma = np.hypot(restored[..., 1], restored[..., 2])
    return {
        "mean chroma": float(chroma.mean()),
        "chroma, 99.9 %": float(np.percentile(chroma, 99.9)),
        "coloured, %": 100 * float((chroma > VISIBLE).mean()),
    }
