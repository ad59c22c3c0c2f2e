"""The pictures by which faults are measured: faces as they are, in grey, and with spectacles drawn on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.common.inputs import Pictures
from benchmarks.native.checks.bleaching import TO_ORIGINAL, bleaching
from benchmarks.native.checks.contours import contours
from benchmarks.native.checks.glasses import FRAMES, Frame, edges_lost, frame_lost, worn
from benchmarks.native.checks.halos import halos
from benchmarks.native.checks.regions import lab_of
from benchmarks.native.checks.specks import specks
from iqp_adapter.degradations.discolour import grey
from iqp_adapter.pictures import LUMA

INPUT = "input"


class Scene(NamedTuple):
    """The pictures of a set, made for one kind of check.

    Attributes:
        degraded: what is restored (N, 3, R, R).
        fixed: what is measured beside the models, by name.
        measure: place of a picture, its restoration in CIELAB (R, R, 3) -> measures.
    """

    degraded: Tensor
    fixed: Mapping[str, Tensor]
    measure: Callable[[int, np.ndarray], Mapping[str, float]]


def scenes(plain: Pictures, load: Callable[..., Pictures]) -> Iterator[Scene]:
    """The faces as they are, in grey, and with each frame on; equal draws degrade all of them.

    Args:
        plain: the faces as they are.
        load: loads them again, changed as `load_set` is told.
    """

    def scene(
        pictures: Pictures, bicubic: Pictures, measure: Callable[[int, np.ndarray], Mapping[str, float]]
    ) -> Scene:
        fixed = {"original": pictures.original, INPUT: pictures.degraded, "bicubic": bicubic.degraded}
        return Scene(pictures.degraded, fixed, measure)

    bare = labs(plain.original)
    yield scene(plain, load(enlarge="cubic"), partial(of_a_face, bare, labs(plain.degraded)))
    colourless = partial(load, change=grey, grey_probability=1.0)
    yield scene(colourless(), colourless(enlarge="cubic"), of_grey)
    for name, frame in FRAMES.items():
        framed = partial(load, change=partial(worn, frame=frame))
        pictures = framed()
        yield scene(pictures, framed(enlarge="cubic"), partial(of_a_frame, name, frame, bare, labs(pictures.original)))


def real_scenes(plain: Pictures) -> Iterator[Scene]:
    """Real faces as they are and in grey, compared with themselves."""
    yield Scene(plain.degraded, {INPUT: plain.degraded}, partial(of_a_real_face, labs(plain.degraded)))
    colourless = torch.einsum("nchw,c->nhw", plain.degraded, torch.tensor(LUMA).float())
    lq = colourless[:, None].expand_as(plain.degraded)  # (N, R, R) -> (N, 3, R, R)
    yield Scene(lq, {INPUT: lq}, of_grey)


def labs(pictures: Tensor) -> list[np.ndarray]:
    return [lab_of(picture) for picture in pictures]


def of_a_face(
    originals: list[np.ndarray], inputs: list[np.ndarray], place: int, restored: np.ndarray
) -> dict[str, float]:
    """All checks that need no change of the face."""
    original = originals[place]
    found = halos(restored, original) | bleaching(restored, original, inputs[place]) | contours(restored, original)
    return found | {"edges at the eyes lost, %": edges_lost(restored[..., 0], original[..., 0])}


def of_a_real_face(inputs: list[np.ndarray], place: int, restored: np.ndarray) -> dict[str, float]:
    """The same without the distance of skin to an original, which nobody has."""
    found = of_a_face(inputs, inputs, place, restored)
    return {measure: value for measure, value in found.items() if measure != TO_ORIGINAL}


def of_grey(place: int, restored: np.ndarray) -> dict[str, float]:
    """What needs no original: grey has no colours."""
    return specks(restored)


def of_a_frame(
    name: str, frame: Frame, bare: list[np.ndarray], framed: list[np.ndarray], place: int, restored: np.ndarray
) -> dict[str, float]:
    lightness = (restored[..., 0], framed[place][..., 0], bare[place][..., 0])
    return {f"{name} lost, %": frame_lost(*lightness, frame)}
