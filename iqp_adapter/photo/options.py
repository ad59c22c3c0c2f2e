"""What can be asked of the pipeline, and what it asks of a scorer and an embedder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, Protocol

from torch import Tensor

from ..core.quality import MATCH, parse_quality


class FaceScorer(Protocol):
    """What the report needs of a `Scorer`."""

    metric: str

    def __call__(self, images: Tensor) -> Tensor: ...


class Embedder(Protocol):
    """Faces (B, 3, H, W) in [0, 1], aligned -> identity vectors (B, D)."""

    def __call__(self, images: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Options:
    """How photos are restored.

    Args:
        quality: "best", "any", a number in [0, 1], or "match", which fits each face to the photo around it.
        scale: strength of the quality's guidance, 1 as trained.
        fidelity: the model's own weight between detail and likeness; None leaves it to the model.
        colour: "photo" keeps the photo's light and white balance, "model" takes the restored face's.
        faces: "all", "largest", or the index of one face, counted from left to right.
        min_face: least width and height of a face's box in pixels.
        skip_if: quality in [0, 1] above which a face is good enough and left untouched.
        force: restore faces, too, that have more detail than the model gives, and lose it.
        aligned: every picture is one aligned face; no detection, no pasting.
        upscale: 1, 2 or 4, the size of the result in units of the photo's.
        batch: faces restored at once; about as many photos are in memory, and of a list as many again. None takes as
            many as have the pixels of eight faces of 256 px: two of 512 px. More need more memory, and on a CPU they
            save no time.
        optimise: updates of test-time optimisation of the codes, see `optimise` of the model; 0 for none.
        min_identity: cosine to the face before, below which a face is restored again at half the scale, then without
            the prior; needs an embedder.

    Raises:
        ValueError: for values outside these.
    """

    quality: float | str | None = "best"
    scale: float = 1.0
    fidelity: float | None = None
    colour: Literal["photo", "model"] = "photo"
    faces: Literal["all", "largest"] | int = "all"
    min_face: int = 16
    skip_if: float | None = None
    force: bool = False
    aligned: bool = False
    upscale: int = 1
    batch: int | None = None
    optimise: int = 0
    min_identity: float | None = None

    def __post_init__(self) -> None:
        if self.quality is not None:
            parse_quality(str(self.quality))
        _check("scale", self.scale, -_LARGE, _LARGE, "a finite number, 1 as trained")
        if self.fidelity is not None:
            _check("fidelity", self.fidelity, -_LARGE, _LARGE, "a finite number, from 0 (detail) to 1 (likeness)")
        if self.skip_if is not None:
            _check("skip_if", self.skip_if, 0, 1, "a quality in [0, 1]")
        if self.min_identity is not None:
            _check("min_identity", self.min_identity, -1, 1, "a cosine, such as 0.9")
        _check("min_face", self.min_face, 0, _LARGE, "pixels, at least 0")
        if self.batch is not None:
            _check_count("batch", self.batch, 1, "a number of faces, at least 1")
        _check_count("optimise", self.optimise, 0, "a number of updates, 0 for none")
        if self.faces not in ("all", "largest"):
            _check_count("faces", self.faces, 0, '"all", "largest" or an index from 0')
        self._check_words()

    def _check_words(self) -> None:
        if self.colour not in ("photo", "model"):
            raise ValueError(f'colour is {self.colour!r}, expected "photo" or "model"')
        if self.upscale not in (1, 2, 4):
            raise ValueError(f"upscale is {self.upscale}, expected 1, 2 or 4")
        if self.optimise and self.matches:
            raise ValueError("optimise raises the quality, so that it matches no longer; ask for one of the two")
        if self.aligned and self.matches:
            raise ValueError("an aligned face has no photo around it to match; give a quality, or the whole photo")

    @property
    def matches(self) -> bool:
        """Whether each face is to get the quality of the photo around it."""
        return self.quality == MATCH


_LARGE = 1e6
"""Beyond it no number is meant."""


def _check(name: str, value: Any, low: float, high: float, expected: str, kind: Any = Real) -> None:
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:  # NaN is in no range
        raise ValueError(f"{name} is {value!r}, expected {expected}")


def _check_count(name: str, value: Any, low: int, expected: str) -> None:
    _check(name, value, low, math.inf, expected, Integral)
