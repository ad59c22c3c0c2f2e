"""Effective resolution: what detail a face has, whatever its pixels, and which faces are left alone for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from photo_standins import FACE, LANDMARKS, Negative, photo

from iqp_adapter.photo import GivenFaces, restore_photos
from iqp_adapter.photo.align import align, similarity, template
from iqp_adapter.photo.detail import effective_resolution
from iqp_adapter.photo.outcomes import FaceReport, Outcome

ENLARGED = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}


def drawn(side: int) -> np.ndarray:
    """(side, side, 3) uint8, sharp at any size: shaded skin with a few thousand hairs of many lengths and colours."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    shade = 150 + 60 * np.cos(3 * x) * np.sin(2 * y)
    picture = np.ascontiguousarray(np.stack([shade, shade * 0.8, shade * 0.7], -1).astype(np.uint8))
    for _ in range(400):
        start, angle, length = rng.uniform(0.2, 0.8, 2), rng.uniform(0, 2 * np.pi), rng.exponential(0.06)
        end = start + length * np.array([np.cos(angle), np.sin(angle)])
        ends = [tuple(int(v) for v in (point * side * 16).round()) for point in (start, end)]
        colour = [int(value) for value in rng.integers(20, 235) * np.array([1, 0.8, 0.7])]
        cv2.line(picture, *ends, colour, thickness=max(1, side // 200), lineType=cv2.LINE_AA, shift=4)
    return picture


def of_resolution(picture: np.ndarray, resolution: int, side: int, kernel: str = "cubic") -> np.ndarray:
    """A sharp picture reduced to a resolution and enlarged again."""
    small = cv2.resize(picture, (resolution, resolution), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (side, side), interpolation=ENLARGED[kernel])


def noisy(picture: np.ndarray, deviation: float) -> np.ndarray:
    grain = np.random.default_rng(0).normal(0, deviation, picture.shape)
    return (picture + grain).round().clip(0, 255).astype(np.uint8)


def as_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))


def motion(width: int) -> np.ndarray:
    return np.full((1, width), 1 / width, np.float32)


def disk(radius: float) -> np.ndarray:
    y, x = np.mgrid[-8:9, -8:9]
    inside = (np.hypot(x, y) <= radius).astype(np.float32)
    return np.asarray(inside / inside.sum())


# -- the measure


@pytest.mark.parametrize("side", [512, 900])
@pytest.mark.parametrize(
    ("kernel", "least", "most"), [("linear", 0.7, 1.0), ("cubic", 0.9, 1.2), ("lanczos", 0.9, 1.2)]
)
@pytest.mark.parametrize("resolution", [96, 128, 192, 256, 384])
def test_a_picture_that_was_enlarged_has_the_detail_that_it_had(
    resolution: int, kernel: str, least: float, most: float, side: int
) -> None:
    """A linear enlargement is soft itself."""
    measured = effective_resolution(of_resolution(photo(), resolution, side, kernel))
    assert least * resolution < measured < most * resolution


@pytest.mark.parametrize("side", [176, 512, 900])
def test_a_sharp_picture_has_the_detail_of_its_pixels(side: int) -> None:
    assert effective_resolution(drawn(side)) == side


@pytest.mark.parametrize(
    ("kind", "blurred"),
    [
        ("gaussian", [lambda x, size=size: cv2.GaussianBlur(x, (0, 0), size) for size in (0.7, 1, 2, 4)]),
        ("defocus", [lambda x, size=size: cv2.filter2D(x, -1, disk(size)) for size in (1, 2, 4, 7)]),
        ("motion", [lambda x, size=size: cv2.filter2D(x, -1, motion(size)) for size in (3, 5, 9, 15)]),
    ],
)
def test_the_more_blur_the_less_detail(kind: str, blurred: list[Callable[[np.ndarray], np.ndarray]]) -> None:
    measured = [effective_resolution(blur(photo())) for blur in blurred]
    assert measured == sorted(measured, reverse=True) and 512 > measured[0] > 2 * measured[-1]


@pytest.mark.parametrize("resolution", [128, 256])
@pytest.mark.parametrize(
    "change",
    [
        lambda x: noisy(x, 4),
        lambda x: noisy(x, 12),
        lambda x: as_jpeg(x, 60),
        lambda x: as_jpeg(x, 20),
        lambda x: as_jpeg(noisy(x, 8), 60),
    ],
    ids=["weak noise", "strong noise", "jpeg 60", "jpeg 20", "noise and jpeg"],
)
def test_neither_noise_nor_blocks_are_detail(resolution: int, change: Callable[[np.ndarray], np.ndarray]) -> None:
    picture = of_resolution(photo(), resolution, 512)
    assert effective_resolution(change(picture)) == pytest.approx(effective_resolution(picture), rel=0.12)


@pytest.mark.parametrize("size", [0, 1, 2])
@pytest.mark.parametrize("side", [256, 512, 900])
def test_a_picture_of_noise_alone_has_hardly_any_detail(side: int, size: float) -> None:
    grain = noisy(np.full((side, side, 3), 128), 30)
    assert effective_resolution(cv2.GaussianBlur(grain, (0, 0), size) if size else grain) < 72


@pytest.mark.parametrize("resolution", [128, 256])
def test_light_contrast_and_type_of_the_pixels_do_not_count(resolution: int) -> None:
    picture = of_resolution(photo(), resolution, 512)
    expected = pytest.approx(effective_resolution(picture), rel=0.05)
    assert effective_resolution((picture * 0.25).astype(np.uint8)) == expected
    assert effective_resolution((150 + picture * 0.3).astype(np.uint8)) == expected
    assert effective_resolution(255 - picture) == expected
    assert effective_resolution(picture.astype(np.uint16) * 257) == expected
    assert effective_resolution((picture / 255).astype(np.float32)) == expected


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 3), (20, 20), (31, 500), (600, 400)])
def test_a_plain_picture_of_any_shape_has_no_detail(shape: tuple[int, int]) -> None:
    assert effective_resolution(np.full((*shape, 3), 200, np.uint8)) == 0
    assert 0 <= effective_resolution(noisy(np.full((*shape, 3), 200), 9), enough=64) <= max(shape)


def test_a_part_of_a_face_is_measured_by_the_side_of_the_whole() -> None:
    whole = of_resolution(photo(), 192, 900)
    assert effective_resolution(whole[:600], 900) == pytest.approx(effective_resolution(whole), rel=0.15)
    assert effective_resolution(whole[:, 300:], 900) == pytest.approx(effective_resolution(whole), rel=0.15)


def test_what_is_reduced_first_keeps_enough_detail() -> None:
    large = of_resolution(photo(), 256, 1800)
    assert effective_resolution(large, enough=512) == pytest.approx(256, rel=0.15)
    assert 512 <= effective_resolution(drawn(1800), enough=512) < 1024


# -- the decision


def face(side: int) -> np.ndarray:
    """(side, side, 3) the astronaut's aligned face, which has 176 px in the photo, enlarged."""
    matrix = similarity(LANDMARKS, template(176))
    assert matrix is not None
    aligned = align(photo(), matrix, 176)
    assert aligned is not None
    return cv2.resize(aligned.clip(0, 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)


def restored(picture: np.ndarray, **options: Any) -> tuple[bool, FaceReport]:
    """Whether an aligned face is restored by a model of 256 px, and what was done to it."""
    [done] = restore_photos([picture], Negative(), aligned=True, **options)
    return done.changed, done.faces[0]


@pytest.mark.parametrize("side", [512, 900, 2000])
@pytest.mark.parametrize("change", [lambda x: x, lambda x: noisy(x, 12), lambda x: as_jpeg(x, 40)])
def test_a_large_face_without_detail_is_restored(side: int, change: Callable[[np.ndarray], np.ndarray]) -> None:
    is_changed, report = restored(change(face(side)))
    assert is_changed and report.outcome is Outcome.RESTORED and not report.skipped
    assert report.side == side and report.detail == pytest.approx(176, rel=0.25)


@pytest.mark.parametrize("side", [512, 900, 2000])
def test_a_large_sharp_face_is_left_alone_unless_forced(side: int) -> None:
    is_changed, report = restored(drawn(side))
    assert not is_changed and report.outcome is Outcome.LARGE and report.detail is not None and report.detail > 500
    assert report.skipped == (
        f"its square of {side} px shows the detail of about {report.detail:.0f} px, more than 1.4 x the model's "
        "256 px, and would lose it; force restores it all the same"
    )
    is_changed, report = restored(drawn(side), force=True)
    assert is_changed and report.outcome is Outcome.RESTORED and report.detail is None


def test_a_sharp_face_of_hardly_more_pixels_than_the_model_is_restored() -> None:
    is_changed, report = restored(drawn(350))
    assert is_changed and report.detail is None


@pytest.mark.parametrize("turn", [0, 2])
def test_faces_in_photos_are_measured_where_they_are(turn: int) -> None:
    """A blurred face of 880 px in a photo with noise below it, and the same face, sharp, in its own photo."""
    blurred = cv2.resize(photo(), None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)
    blurred[1100:] = np.random.default_rng(0).integers(0, 256, blurred[1100:].shape)
    landmarks = ((LANDMARKS + 0.5) * 5 - 0.5)[None]
    if turn:
        blurred = np.ascontiguousarray(np.rot90(blurred, turn))
        landmarks = 2559 - landmarks
    [done] = restore_photos([blurred], Negative(), detector=GivenFaces(landmarks))
    assert done.changed and done.faces[0].detail == pytest.approx(176, rel=0.3)
    [done] = restore_photos([photo()], Negative(64), detector=FACE)
    assert not done.changed and done.faces[0].detail == pytest.approx(176, rel=0.2)


def test_a_large_face_outside_the_photo_is_no_face() -> None:
    [done] = restore_photos([photo()], Negative(64), detector=GivenFaces(LANDMARKS[None] + 3000))
    assert done.faces[0].outcome is Outcome.NO_FACE and done.faces[0].detail is None
