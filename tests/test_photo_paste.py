"""Alignment and pasting: exact to the half pixel, equal to facexlib where that is right, and only where the face is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from photo_standins import LANDMARKS, photo, psnr
from pytest import MonkeyPatch

from iqp_adapter.photo.align import (
    CUTOFF,
    align,
    enlarged,
    inverse,
    similarity,
    square,
    template,
    transform,
    warp,
    zoom,
)
from iqp_adapter.photo.paste import enlarge, paste


def matrix_for(size: int, landmarks: np.ndarray = LANDMARKS) -> np.ndarray:
    matrix = similarity(landmarks, template(size))
    assert matrix is not None
    return matrix


def round_trip(picture: np.ndarray, size: int, factor: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The photo with its own, unchanged face pasted back, and the photo it should equal."""
    matrix = matrix_for(size)
    face = align(picture, matrix, size)
    assert face is not None
    canvas = enlarge(picture, factor)
    expected = canvas.copy()
    paste(canvas, face / 255, matrix, factor=factor)
    return canvas, expected


@pytest.fixture
def facexlib(monkeypatch: MonkeyPatch) -> Callable[[int], Any]:
    """Makes facexlib's own helper, with the astronaut's face aligned at 512 px; it needs no weights for that."""
    from facexlib.utils import face_restoration_helper as helper

    monkeypatch.setattr(helper, "init_detection_model", lambda *args, **options: None)
    monkeypatch.setattr(helper, "init_parsing_model", lambda *args, **options: None)

    def aligned(factor: int) -> Any:
        theirs = helper.FaceRestoreHelper(factor, face_size=512, device="cpu")
        theirs.read_image(np.ascontiguousarray(photo()[..., ::-1]))
        theirs.all_landmarks_5 = [LANDMARKS.copy()]
        theirs.align_warp_face()
        theirs.get_inverse_affine()
        return theirs

    return aligned


def pasted(theirs: Any, face: np.ndarray) -> np.ndarray:
    """Facexlib's paste of a face (512, 512, 3) uint8 BGR, as RGB."""
    theirs.add_restored_face(face)
    return theirs.paste_faces_to_input_image()[..., ::-1]


def test_landmarks_land_on_the_template_at_every_size() -> None:
    for size in (256, 512):
        landmarks = transform(template(size), inverse(matrix_for(size)))
        assert np.allclose(transform(landmarks, matrix_for(size, landmarks)), template(size), atol=1e-3)
    crops = template(1024).reshape(5, 2)
    assert np.allclose(
        (crops + 0.5) / 2 - 0.5, template(512)
    )  # halving a picture halves its pixel corners, not its centres


def test_alignment_at_512_px_is_facexlibs(facexlib: Callable[[int], Any]) -> None:
    """The same matrix; the same picture, up to a cubic in the place of a linear interpolation."""
    theirs = facexlib(1)
    assert np.allclose(matrix_for(512), theirs.affine_matrices[0])
    assert psnr(align(photo(), matrix_for(512), 512), theirs.cropped_faces[0][..., ::-1]) > 38


def test_align_reads_a_moved_photo_alike() -> None:
    wide = cv2.copyMakeBorder(photo(), 300, 0, 500, 0, cv2.BORDER_CONSTANT)
    moved = align(wide, matrix_for(256, LANDMARKS + [500, 300]), 256)
    assert np.abs(moved - align(photo(), matrix_for(256), 256)).max() < 0.5


@pytest.mark.parametrize("factor", [0.5, 3])
def test_the_region_that_is_read_holds_all_that_the_crop_needs(factor: float) -> None:
    noise = np.random.default_rng(0).normal(128, 40, (1200, 1200, 3)).astype(np.float32)
    matrix = matrix_for(256, template(256) * factor + 200)
    assert np.abs(align(noise, matrix, 256) - warp(noise, matrix, (256, 256))).max() < 1e-2


def test_a_large_face_is_not_aliased() -> None:
    noise = np.random.default_rng(0).normal(128, 40, (2048, 2048, 3)).astype(np.float32)
    eighth = align(noise, matrix_for(256, LANDMARKS * 8 - 500), 256)
    assert zoom(matrix_for(256, LANDMARKS * 8 - 500)) < 1 / 4
    assert eighth.std() < 40 / 2  # an aliased crop is as noisy as the photo


def test_nothing_is_filtered_above_the_cutoff() -> None:
    assert 1 / 0.7 < CUTOFF < 1 / 0.6
    pixels = photo().astype(np.float32)
    for shrink, same in ((0.7, True), (0.6, False)):
        matrix = np.diag([shrink, shrink, 1])[:2]
        plain = cv2.warpAffine(pixels, matrix, (300, 300), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        assert np.array_equal(warp(pixels, matrix, (300, 300)), plain) is same


@pytest.mark.parametrize("landmarks", [np.zeros((5, 2)), np.full((5, 2), 7.0)])
def test_landmarks_on_one_point_span_no_face(landmarks: np.ndarray) -> None:
    assert similarity(landmarks, template(256)) is None


def test_a_face_outside_the_photo_is_none_and_pastes_nothing() -> None:
    matrix = matrix_for(256, LANDMARKS + 5000)
    assert align(photo(), matrix, 256) is None
    canvas = photo()
    paste(canvas, np.zeros((256, 256, 3), np.float32), matrix)
    assert np.array_equal(canvas, photo())


@pytest.mark.parametrize("factor", [1, 2])
def test_an_unchanged_face_comes_back_better_than_by_facexlib(facexlib: Callable[[int], Any], factor: int) -> None:
    ours, expected = round_trip(photo(), 512, factor)
    helper = facexlib(factor)
    theirs = pasted(helper, helper.cropped_faces[0])
    assert psnr(ours, expected) > 55
    assert psnr(ours, expected) > psnr(theirs, expected) + 10


def test_a_shift_of_half_a_pixel_would_show() -> None:
    exact, expected = round_trip(photo(), 512, 2)
    matrix = matrix_for(512)
    face = align(photo(), matrix, 512)
    shifted = enlarge(photo(), 2)
    paste(shifted, face / 255, matrix - np.array([[0, 0, 0.25 * zoom(matrix)]] * 2), factor=2)
    assert psnr(shifted, expected) < psnr(exact, expected) - 8


def test_parity_with_facexlib_at_upscale_1(facexlib: Callable[[int], Any]) -> None:
    """Another face pasted by both: equal to 2 levels in the mean inside, equal to the pixel outside the square."""
    matrix = matrix_for(512)
    face = cv2.GaussianBlur(255 - align(photo(), matrix, 512), (0, 0), 4).clip(0, 255).round().astype(np.uint8)
    theirs = pasted(facexlib(1), np.ascontiguousarray(face[..., ::-1]))
    ours = photo()
    paste(ours, face.astype(np.float32) / 255, matrix)
    rows, columns = np.mgrid[:512, :512]
    place = (transform(np.stack([columns, rows], -1), matrix) + 0.5) / 512
    inside = (np.abs(place - 0.5) < 0.35).all(-1)
    outside = (np.abs(place - 0.5) > 0.51).any(-1)
    assert np.abs(ours.astype(int) - theirs)[inside].mean() < 2
    assert np.array_equal(ours[outside], theirs[outside])


@pytest.mark.parametrize("factor", [1, 2])
def test_only_the_square_is_touched(factor: int) -> None:
    matrix = matrix_for(256)
    canvas = enlarge(photo(), factor)
    before = canvas.copy()
    paste(canvas, np.ones((256, 256, 3), np.float32), matrix, factor=factor)
    corners = square(enlarged(matrix, factor), 256)
    changed = np.argwhere((canvas != before).any(-1))[:, ::-1]
    assert len(changed) > 0.5 * (256 / zoom(matrix) * factor) ** 2
    assert (changed >= np.floor(corners.min(0))).all() and (changed <= np.ceil(corners.max(0))).all()


def test_cost_does_not_grow_with_the_photo(monkeypatch: MonkeyPatch) -> None:
    """Counts the pixels that OpenCV warps, which is all the work, for the same face in a small and in a large photo."""
    warped: list[int] = []
    real = cv2.warpAffine

    def counted(source: np.ndarray, matrix: np.ndarray, size: tuple[int, int], **options: int) -> np.ndarray:
        warped.append(source.shape[0] * source.shape[1] + size[0] * size[1])
        return real(source, matrix, size, **options)

    monkeypatch.setattr(cv2, "warpAffine", counted)
    large = cv2.copyMakeBorder(photo(), 1000, 1000, 1500, 1000, cv2.BORDER_REFLECT)
    for picture, shift in ((photo(), (0, 0)), (large, (1500, 1000))):
        matrix = matrix_for(256, LANDMARKS + shift)
        paste(picture, align(picture, matrix, 256) / 255, matrix)
    half = len(warped) // 2
    assert warped[:half] == warped[half:]


def test_sixteen_bits_and_floats_blend_without_loss() -> None:
    for picture in (photo().astype(np.uint16) * 257, (photo() / 255).astype(np.float32)):
        matrix = matrix_for(256)
        canvas = picture.copy()
        paste(canvas, np.full((256, 256, 3), 0.5, np.float32), matrix)
        x, y = LANDMARKS[2].round().astype(int)
        assert canvas.dtype == picture.dtype
        assert np.allclose(canvas[y, x] / (65535 if picture.dtype == np.uint16 else 1), 0.5, atol=1e-4)
        assert np.array_equal(canvas[300:], picture[300:])


def test_values_are_rounded_not_cut_off() -> None:
    canvas = np.zeros((512, 512, 3), np.uint8)
    paste(canvas, np.full((256, 256, 3), 100.6 / 255, np.float32), matrix_for(256))
    assert canvas.max() == 101


def test_a_neighbour_keeps_its_own_face() -> None:
    """Two faces whose squares overlap: each keeps its own middle, whatever the order."""
    one, two = matrix_for(256), matrix_for(256, LANDMARKS + [90, 0])
    dark, light = np.zeros((256, 256, 3), np.float32), np.ones((256, 256, 3), np.float32)
    canvas = photo()
    paste(canvas, dark, one, neighbours=[two])
    paste(canvas, light, two, neighbours=[one])
    x, y = LANDMARKS[2].round().astype(int)
    assert canvas[y, x].max() < 5 and canvas[y, x + 90].min() > 250
    alone = photo()
    paste(alone, dark, one)
    paste(alone, light, two)
    assert alone[y, x + 40].min() > 250 and canvas[y, x + 40].max() < 250  # without the rule the later one takes it all


def test_a_spared_face_stays_to_the_pixel() -> None:
    box = np.array([150.0, 60.0, 200.0, 130.0])
    for factor in (1, 2):
        canvas, inside = enlarge(photo(), factor), np.s_[60 * factor : 130 * factor, 150 * factor : 200 * factor]
        before = canvas.copy()
        paste(canvas, np.ones((256, 256, 3), np.float32), matrix_for(256), factor=factor, spared=[box])
        assert np.array_equal(canvas[inside], before[inside])
        assert (canvas != before).any()
