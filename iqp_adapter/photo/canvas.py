"""The whole picture again: a photo, or a frame of a film, with its faces pasted in, and enlarged where asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from .faces import Face
from .grain import missing_grain
from .options import Options
from .paste import enlarge, paste, replace

Enlarge = Callable[[np.ndarray, int], np.ndarray]
"""Pixels (H, W, 3) and a factor -> a copy, that many times as large."""


def canvas_of(pixels: np.ndarray, faces: Sequence[Face], options: Options, enlarged: Enlarge = enlarge) -> np.ndarray:
    """A picture (H, W, 3) with the restored ones of its faces pasted in, the others being spared."""
    canvas = enlarged(pixels, options.upscale)
    for face in faces:
        if face.restored is not None:
            _put(canvas, face, faces, options)
    return canvas


def _put(canvas: np.ndarray, face: Face, faces: Sequence[Face], options: Options) -> None:
    assert face.restored is not None and face.matrix is not None  # only restored faces come here
    started = time.perf_counter()
    if options.aligned:
        replace(canvas, face.restored)
    else:
        grain = missing_grain(face.photo, face.restored, face.matrix) if options.matches else None
        near = [other for other in faces if other is not face and face.meets(other)]
        paste(
            canvas,
            face.restored,
            face.matrix,
            factor=options.upscale,
            neighbours=[other.matrix for other in near if other.restored is not None and other.matrix is not None],
            spared=[np.array(other.box) for other in near if other.restored is None],
            grain=grain and grain.field,
        )
    face.seconds += time.perf_counter() - started
