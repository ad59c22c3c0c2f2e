"""Faces on their way through the pipeline: found, chosen and cut out of their photo, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..pictures import peak
from .align import align, region, similarity, square, template, zoom
from .detail import effective_resolution
from .detect import Faces
from .options import Options
from .outcomes import FaceReport, Outcome
from .toning import Toning, toning_of

FINEST = 1.4
"""A face whose effective resolution is above this multiple of the model's resolution would lose detail. On
dev, for a model of 256 px, fewer than one in a thousand of the faces that need it measure more, and none of those with
twice its detail measures less (`benchmarks/effective_resolution.py`)."""

LEAST_SEEN = 0.05
"""A face of whose square the photo shows less than this part is left alone: what is not there cannot be restored."""

SURROUNDINGS = 3
"""Side of the part of the photo by which a face's tone is judged, in units of its square's."""


@dataclass(eq=False)
class Face:
    """A face of a photo, until it is reported.

    Attributes:
        index: counted from left to right.
        box: left, top, right, bottom in the photo's pixels.
        side: of the aligned square, in the photo's pixels.
        detail: its effective resolution, where it was measured.
        photo: (H, W, 3) the photo it is in.
        matrix: (2, 3) from the photo to the crop; None where landmarks span no face.
        crop: (3, R, R) in [0, 1], as long as it waits.
        toning: of the photo around it, where that is monochrome.
        picture: (3, R, R) in [0, 1], what the model made of it, as long as it waits.
        restored: (R, R, 3) float32 in [0, 1].
        outcome: what became of it; None as long as it waits for the model.
        why: it is left alone, for people.
        remarks: what could not be said of it, and why.
        quality, scores, identity, note, seconds: as in its report.
    """

    index: int
    box: list[float]
    side: float
    photo: np.ndarray
    matrix: np.ndarray | None
    detail: float | None = None
    crop: Tensor | None = None
    toning: Toning | None = None
    picture: Tensor | None = None
    restored: np.ndarray | None = None
    outcome: Outcome | None = None
    why: str = ""
    quality: float | str | None = None
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    identity: float | None = None
    note: str = ""
    remarks: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def leave(self, outcome: Outcome, why: str) -> None:
        """Leaves it as it is in the photo."""
        self.outcome, self.why, self.crop, self.picture = outcome, why, None, None

    def finish(self) -> None:
        """Its picture is what is pasted."""
        assert self.picture is not None  # only what the model restored is finished
        self.restored = np.ascontiguousarray(self.picture.permute(1, 2, 0).numpy())  # (3, R, R) -> (R, R, 3)
        self.outcome, self.crop, self.picture = Outcome.RESTORED, None, None

    def remark(self, text: str) -> None:
        """Says once, in the report, what could not be said of it."""
        if text not in self.remarks:
            self.remarks.append(text)

    def report(self) -> FaceReport:
        return FaceReport(
            index=self.index,
            box=self.box,
            side=self.side,
            detail=self.detail,
            outcome=self.outcome or Outcome.RESTORED,
            skipped=self.why,
            quality=self.quality,
            scores=self.scores,
            identity=self.identity,
            note="; ".join(filter(None, [self.note, *self.remarks])),
            seconds=self.seconds,
        )

    @property
    def bounds(self) -> np.ndarray:
        """Left, top, right, bottom (4,) of all that it may change, or must keep."""
        if self.restored is None or self.matrix is None:
            return np.array(self.box)
        corners = square(self.matrix, len(self.restored))
        return np.concatenate([corners.min(0), corners.max(0)])

    @property
    def region(self) -> tuple[slice, slice]:
        """Rows and columns of the photo that hold all that it may change."""
        return region(self.bounds.reshape(2, 2), self.photo.shape)

    def meets(self, other: Face) -> bool:
        """Whether the other face's square or box reaches into its own."""
        one, two = self.bounds, other.bounds
        return bool((one[:2] < two[2:]).all() and (two[:2] < one[2:]).all())


def faces_of(pixels: np.ndarray, options: Options, seen: Any, resolution: int) -> list[Face]:
    """The faces of a photo (H, W, 3); those that are to be restored have a crop, the others say why not.

    Args:
        seen: the `Faces` that the detector saw; an aligned photo needs none.
    """
    faces = [whole(pixels, resolution)] if options.aligned else found(pixels, options, seen, resolution)
    for face in faces:
        if face.outcome is None:
            cut(face, resolution, options.force)
    return faces


def whole(pixels: np.ndarray, resolution: int) -> Face:
    """A picture that is one aligned face."""
    height, width = pixels.shape[:2]
    ratio = resolution / max(height, width)
    matrix = np.array([[ratio, 0, (ratio - 1) / 2], [0, ratio, (ratio - 1) / 2]])
    face = Face(0, [0, 0, width, height], max(height, width), pixels, matrix)
    if height != width:
        face.leave(Outcome.NOT_SQUARE, f"{width} x {height}, an aligned face is square")
    return face


def found(pixels: np.ndarray, options: Options, seen: Faces, resolution: int) -> list[Face]:
    """The faces that the detector saw, those that are not wanted being left alone."""
    matrices = [similarity(landmarks, template(resolution)) for landmarks in seen.landmarks]
    faces = [
        Face(
            index,
            [round(float(edge), 1) for edge in box],
            0.0 if matrix is None else round(resolution / zoom(matrix), 1),
            pixels,
            matrix,
        )
        for index, (box, matrix) in enumerate(zip(seen.boxes, matrices, strict=True))
    ]
    for face in faces:
        if seen.view:
            face.remark(f"found at a second look: {seen.view}")
    choose(faces, seen.boxes, options)
    return faces


def choose(faces: Sequence[Face], boxes: np.ndarray, options: Options) -> None:
    """Leaves alone every face that is not asked for, or too small."""
    extent = boxes[:, 2:] - boxes[:, :2]
    wanted = options.faces
    largest = int(extent.prod(1).argmax()) if len(extent) else 0
    for index, face in enumerate(faces):
        if wanted != "all" and index != (largest if wanted == "largest" else wanted):
            face.leave(Outcome.UNWANTED, f"not asked for (faces {wanted})")
        elif extent[index].min() < options.min_face:
            face.leave(Outcome.SMALL, f"{extent[index].min():.0f} px, smaller than min_face {options.min_face}")


def cut(face: Face, size: int, force: bool) -> None:
    """Cuts a face out of its photo at the model's size, unless it is no face or would lose detail."""
    if face.matrix is None or not _is_seen(face, size):
        return face.leave(Outcome.NO_FACE, "its landmarks span no face inside the photo")
    if not force and _would_lose_detail(face, size):
        return face.leave(
            Outcome.LARGE,
            f"its square of {face.side:.0f} px shows the detail of about {face.detail:.0f} px, more than {FINEST} x "
            f"the model's {size} px, and would lose it; force restores it all the same",
        )
    crop = align(face.photo, face.matrix, size)
    assert crop is not None  # the photo shows a part of it
    face.crop = torch.from_numpy(crop / peak(face.photo.dtype)).permute(2, 0, 1).clamp(0, 1)  # (3, R, R)
    face.toning = toning_of(around(face, size))


def _would_lose_detail(face: Face, size: int) -> bool:
    """Whether a face has clearly more detail than a model of that size gives; measured where its pixels allow it."""
    if face.side <= FINEST * size:
        return False
    assert face.matrix is not None  # without one there is no square
    part = face.photo[region(square(face.matrix, size), face.photo.shape)]
    face.detail = round(effective_resolution(part, face.side, enough=2 * size), 1)
    return face.detail > FINEST * size


def _is_seen(face: Face, size: int) -> bool:
    """Whether the photo shows more than a sliver of the face's square."""
    assert face.matrix is not None  # without one there is no square
    rows, columns = region(square(face.matrix, size), face.photo.shape)
    return (rows.stop - rows.start) * (columns.stop - columns.start) > LEAST_SEEN * face.side**2


def around(face: Face, size: int) -> np.ndarray:
    """The part of the photo (h, w, 3) by which its tone is judged: the face's square and as much on each side."""
    assert face.matrix is not None  # faces without one are not cut out
    corners = square(face.matrix, size)
    rows, columns = region(corners.mean(0) + SURROUNDINGS * (corners - corners.mean(0)), face.photo.shape)
    return face.photo[rows, columns]
