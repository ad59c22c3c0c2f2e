"""Plots of matplotlib as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..store.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = 256


def save_plot(figure: Figure, path: Path, dpi: int = 110) -> Path:
    """Saves a plot as a PNG of 256 colours, which looks the same and takes a third of the space.

    Args:
        figure: made without pyplot, so that no window and no global state is touched.
        path: of the file; its folder is created if it is missing.
        dpi: pixels per inch of the figure's size.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        pixels.quantize(COLOURS, kmeans=1, dither=Image.Dither.NONE).save(partial, format="PNG", optimize=True)
    return path
