"""The rest of the photo: enlarged by a model that spandrel loads, of the kind of Real-ESRGAN, tile by tile.

Tiles overlap. What lies near the border of a tile is made from less than the model would see in the whole photo, so it
is left out; over the rest of the overlap one tile fades into the next, so that no seam shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..pictures import peak
from ..store.files import sha256_of
from ..store.foreign import read_foreign

TILE = 256
"""Side of a tile in the photo's pixels."""

OVERLAP = 64
"""Of two tiles, in the photo's pixels: a quarter is left out at the border of each, and they fade over the half
between."""


class Span(NamedTuple):
    """A row or column of tiles.

    Attributes:
        start, stop: in the photo's pixels.
        weights: (N,) of its pixels in the result; those of all spans add up to 1.
    """

    start: int
    stop: int
    weights: np.ndarray


class Background:
    """Enlarges photos by a model, to any size that the pipeline asks for.

    Args:
        path: a weight file of an upscaler or of what keeps the size; no code in it runs.
        device: where the model runs.

    Attributes:
        name: of its architecture, and a hash of the file.

    Raises:
        ImportError: without the extra `spandrel`.
        OSError, ValueError: where the file cannot be read, or holds no model for RGB photos.
    """

    def __init__(self, path: str | Path, device: str | torch.device = "cpu") -> None:
        self._model = _loaded(Path(path)).to(torch.device(device)).eval()
        self.scale: int = self._model.scale
        self.name = f"{self._model.architecture.id} {sha256_of(path)[:16]}"

    @torch.no_grad()
    def __call__(self, pixels: np.ndarray, factor: int) -> np.ndarray:
        """A photo (H, W, 3) of any type, `factor` times as large, of the same type."""
        height, width = pixels.shape[:2]
        canvas = np.zeros((height * factor, width * factor, 3), np.float32)
        for rows in spans(height, factor):
            for columns in spans(width, factor):
                tile = self._enlarged(pixels[rows.start : rows.stop, columns.start : columns.stop], factor)
                place = canvas[rows.start * factor : rows.stop * factor, columns.start * factor : columns.stop * factor]
                place += rows.weights[:, None, None] * columns.weights[:, None] * tile
        top = peak(pixels.dtype)
        canvas = canvas.clip(0, 1) * np.float32(top)
        return (canvas.round() if top > 1 else canvas).astype(pixels.dtype)

    def _enlarged(self, tile: np.ndarray, factor: int) -> np.ndarray:
        """(h, w, 3) -> (h * factor, w * factor, 3) float32"""
        import cv2

        given = torch.from_numpy(tile.astype(np.float32) / np.float32(peak(tile.dtype)))
        made = self._model(given.permute(2, 0, 1)[None].to(self._model.device))  # (h, w, 3) -> (1, 3, h, w)
        array = made[0].float().permute(1, 2, 0).cpu().numpy()  # (1, 3, H, W) -> (H, W, 3)
        if factor == self.scale:
            return array
        size = tile.shape[1] * factor, tile.shape[0] * factor
        return cv2.resize(array, size, interpolation=cv2.INTER_AREA if factor < self.scale else cv2.INTER_LANCZOS4)


def spans(length: int, factor: int) -> list[Span]:
    """The rows, or columns, of tiles that cover so many of the photo's pixels."""
    if length <= TILE:
        return [Span(0, length, np.ones(length * factor, np.float32))]
    starts = np.linspace(0, length - TILE, -(-(length - OVERLAP) // (TILE - OVERLAP))).round().astype(int)
    at = (np.arange(length * factor) + 0.5) / factor
    weights = np.array([_weights(at, start, length) for start in starts])
    weights = (weights / weights.sum(0)).astype(np.float32)
    return [
        Span(int(start), int(start) + TILE, own[start * factor : (start + TILE) * factor])
        for start, own in zip(starts, weights, strict=True)
    ]


def _weights(at: np.ndarray, start: int, length: int) -> np.ndarray:
    """(N,) of pixels at these places in a tile: 0 near its borders, unless they are the photo's, 1 further inside."""
    before = at - start if start > 0 else np.full_like(at, TILE)
    behind = start + TILE - at if start + TILE < length else np.full_like(at, TILE)
    return ((np.minimum(before, behind) - OVERLAP / 4) / (OVERLAP / 2)).clip(0, 1)


def _loaded(path: Path) -> Any:
    """Spandrel's descriptor of a model from three colours to three."""
    state = read_foreign(path)
    try:
        import spandrel
    except ImportError:
        raise ImportError(
            "a model for the background needs a further package: pip install 'iqp_adapter[spandrel]'"
        ) from None
    try:
        with torch.random.fork_rng():
            model = spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(state))
    except Exception as error:  # whatever its many loaders meet in a state that is not theirs
        raise ValueError(
            f"{path} is no model that spandrel knows ({type(error).__name__}); give an upscaler"
        ) from error
    if not isinstance(model, spandrel.ImageModelDescriptor) or (model.input_channels, model.output_channels) != (3, 3):
        raise ValueError(
            f"{path} is no upscaler of RGB photos but {model.architecture.name}; give one, as Real-ESRGAN's"
        )
    return model
