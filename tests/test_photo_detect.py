"""Detectors: the astronaut is found where she is, at every size, and other sources of faces fit the protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from photo_standins import BOX, LANDMARKS, Echo, photo
from pytest import MonkeyPatch

from iqp_adapter.photo import CenterFace, Faces, GivenFaces, Options, RetinaFace
from iqp_adapter.photo.align import similarity, square, template, transform
from iqp_adapter.photo.detectors import DETECTORS, detector
from iqp_adapter.photo.pipeline import Pipeline

EYES = float(np.linalg.norm(LANDMARKS[1] - LANDMARKS[0]))


@pytest.fixture(scope="module")
def centerface() -> CenterFace:
    return CenterFace()


def largest_error(found: Faces, expected: np.ndarray) -> float:
    """In distances between the eyes."""
    return float(
        np.linalg.norm(found.landmarks[0] - expected, axis=-1).max() / np.linalg.norm(expected[1] - expected[0])
    )


def test_the_astronaut_is_found_where_she_is(centerface: CenterFace) -> None:
    found = centerface(photo())
    assert len(found.scores) == 1 and found.scores[0] > 0.8
    assert largest_error(found, LANDMARKS) < 0.12
    assert np.abs(found.boxes[0] - BOX).max() < 10


@pytest.mark.parametrize("factor", [0.4, 2, 4])
def test_size_does_not_matter(centerface: CenterFace, factor: float) -> None:
    resized = cv2.resize(
        photo(), None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    )
    found = centerface(resized)
    assert len(found.scores) == 1
    assert largest_error(found, (LANDMARKS + 0.5) * factor - 0.5) < 0.12


def test_a_small_face_in_a_large_photo_is_found(centerface: CenterFace) -> None:
    """32 px of 2600: 8 px in the first frame, which is too small, 16 px in the second."""
    small = cv2.resize(photo(), None, fx=0.35, fy=0.35, interpolation=cv2.INTER_AREA)
    large = np.full((2600, 2600, 3), 128, np.uint8)
    large[2000 : 2000 + len(small), 300 : 300 + len(small)] = small
    found = centerface(large)
    assert len(found.scores) == 1
    assert largest_error(found, (LANDMARKS + 0.5) * 0.35 - 0.5 + [300, 2000]) < 0.15


@pytest.mark.parametrize("clearer", ["left", "right"])
def test_faces_come_from_left_to_right(centerface: CenterFace, clearer: str) -> None:
    soft = cv2.GaussianBlur(photo(), (0, 0), 5)
    found = centerface(np.concatenate([photo(), soft] if clearer == "left" else [soft, photo()], 1))
    assert len(found.scores) == 2
    assert found.boxes[0, 0] < 512 < found.boxes[1, 0]


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (64, 4000)])
def test_odd_pictures_have_no_face(centerface: CenterFace, shape: tuple[int, int]) -> None:
    found = centerface(np.full((*shape, 3), 90, np.uint8))
    assert found.boxes.shape == (0, 4) and found.scores.shape == (0,) and found.landmarks.shape == (0, 5, 2)


def test_the_second_look_halves_the_error_of_the_crop(centerface: CenterFace, faces: Path) -> None:
    """On aligned faces, turned and shrunk into a grey photo, whose true corners are therefore known."""
    rng = np.random.default_rng(0)
    corners = square(np.eye(3)[:2], 512)
    first, second = [], []
    for path in sorted((faces / "dev").glob("*.jpg"))[:6]:
        face = cv2.imread(str(path))[..., ::-1]
        turn = cv2.getRotationMatrix2D((256, 256), rng.uniform(-15, 15), rng.uniform(0.3, 0.8))
        turn[:, 2] += rng.uniform(100, 250, 2)
        picture = cv2.warpAffine(face, turn, (900, 900), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
        for errors, landmarks in (
            (first, centerface._detect(picture, 640, 0.5).landmarks[0]),
            (second, centerface(picture).landmarks[0]),
        ):
            matrix = similarity(landmarks, template(512))
            assert matrix is not None
            errors.append(np.abs(transform(transform(corners, turn), matrix) - corners).mean())
    assert np.mean(second) < 0.65 * np.mean(first)
    assert np.mean(second) < 10  # of 512 pixels


# -- the smallest face that is wanted


class Framed(CenterFace):
    """Remembers the sides of its frames."""

    def __init__(self, threshold: float = 0.5, smallest: float = 0) -> None:
        super().__init__(threshold, smallest)
        self.sides: list[int] = []

    def _detect(self, rgb: np.ndarray, side: int, threshold: float) -> Faces:
        if side != 192:  # the second look at one face
            self.sides.append(side)
        return super()._detect(rgb, side, threshold)


def scene(side: int, factor: float) -> np.ndarray:
    """The astronaut, whose face is 90 px wide, reduced or enlarged on grey."""
    picture = cv2.resize(photo(), None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    whole = np.full((side * 3 // 4, side, 3), 128, np.uint8)
    part = whole[20:, 30:][: len(picture), : len(picture)]
    part[...] = picture[: len(part)]
    return whole


@pytest.mark.parametrize(
    ("side", "smallest", "frames"),
    [
        (1152, 0, [640]),
        (1152, 48, [640]),
        (1152, 96, [576]),
        (1152, 128, [448]),
        (400, 48, [448]),  # rounded up to what nets share
        (2600, 0, [640, 1280]),
        (2600, 150, [640, 1280]),
        (2600, 200, [640]),
    ],
)
def test_the_frame_is_as_small_as_the_wanted_faces_allow(side: int, smallest: int, frames: list[int]) -> None:
    finder = Framed().at_least(smallest)
    assert isinstance(finder, Framed)
    finder._look(np.full((side * 3 // 4, side, 3), 128, np.uint8))
    assert finder.sides == frames


@pytest.mark.parametrize(("side", "face"), [(320, 48), (800, 112), (1600, 200)])
def test_the_smallest_face_that_is_wanted_is_found_as_in_the_larger_frame(
    centerface: CenterFace, side: int, face: int
) -> None:
    factor = 1.02 * face / 90
    given = scene(side, factor)
    finder = Framed(smallest=face)
    found, today = finder(given), centerface(given)
    assert max(finder.sides) < 640 and len(found.scores) == len(today.scores) == 1
    expected = (LANDMARKS + 0.5) * factor - 0.5 + [30, 20]
    assert largest_error(found, expected) < 0.12
    here, there = (similarity(each.landmarks[0], template(512)) for each in (found, today))
    assert here is not None and there is not None
    corners = square(there, 512)
    assert np.abs(transform(corners, here) - transform(corners, there)).mean() < 10  # of 512 pixels


@pytest.mark.parametrize(
    ("options", "smallest"),
    [({}, 0), ({"min_face": 16}, 0), ({"min_face": 8}, 0), ({"min_face": 90}, 90), ({"min_face": 90, "faces": 0}, 0)],
)
def test_the_pipeline_says_how_large_the_wanted_faces_are(options: dict[str, Any], smallest: int) -> None:
    given = CenterFace()
    detector = Pipeline(Echo(), Options(**options), given).detector
    assert isinstance(detector, CenterFace) and detector.smallest == smallest and given.smallest == 0
    assert (detector is given) == (smallest == 0)


def test_a_detector_that_takes_no_size_is_used_as_it_is() -> None:
    def plain(rgb: np.ndarray) -> Faces:
        return GivenFaces(LANDMARKS[None])(rgb)

    assert Pipeline(Echo(), Options(min_face=60), plain).detector is plain


def test_given_landmarks_are_taken_as_they_are() -> None:
    found = GivenFaces(LANDMARKS[None])(photo())
    assert np.array_equal(found.landmarks[0], LANDMARKS)
    assert np.abs(found.boxes[0] - BOX).max() < 25


def test_a_given_box_alone_aligns_roughly() -> None:
    found = GivenFaces(boxes=BOX[None])(photo())
    assert largest_error(found, LANDMARKS) < 0.3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give landmarks"),
        ({"landmarks": LANDMARKS}, r"landmarks have shape \(5, 2\), expected \(N, 5, 2\)"),
        ({"boxes": BOX}, r"boxes have shape \(4,\), expected \(N, 4\)"),
        ({"boxes": np.full((1, 4), np.nan)}, "finite"),
        ({"landmarks": LANDMARKS[None], "boxes": np.zeros((2, 4))}, "1 landmark sets do not fit 2 boxes"),
    ],
)
def test_given_faces_of_other_shapes_are_refused(given: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GivenFaces(**given)


def test_unknown_detectors_are_named() -> None:
    with pytest.raises(ValueError, match="unknown detector 'yunet'; available: centerface, retinaface"):
        detector("yunet")


def test_retinaface_runs_facexlibs_own_network(tmp_path: Path) -> None:
    """With random weights in a file of the published name: everything but the faces is real."""
    from facexlib.detection.retinaface import RetinaFace as Network

    torch.manual_seed(0)
    torch.save(Network("mobile0.25", device="cpu").state_dict(), tmp_path / "detection_mobilenet0.25_Final.pth")
    finder = RetinaFace(weights=tmp_path, network="retinaface_mobile0.25", threshold=0.0)
    found = finder(photo()[:64, :96])
    assert len(found.scores) > 0
    assert found.boxes.shape == (len(found.scores), 4) and found.landmarks.shape == (len(found.scores), 5, 2)
    assert (np.diff(found.boxes[:, 0] + found.boxes[:, 2]) >= 0).all()


def test_retinaface_scales_what_it_finds_back_to_the_photo() -> None:
    class Fixed:
        def detect_faces(self, bgr: np.ndarray, threshold: float) -> np.ndarray:
            height, width = bgr.shape[:2]
            return np.array([[0, 0, width, height, 0.99, *([width / 2, height / 4] * 5)]])

    finder = RetinaFace.__new__(RetinaFace)
    finder._network, finder.threshold = Fixed(), 0.9
    found = finder(np.zeros((1000, 2560, 3), np.uint8))
    assert np.allclose(found.boxes, [[0, 0, 2560, 1000]]) and np.allclose(found.scores, 0.99)
    assert np.allclose(found.landmarks, [1280, 250])


def test_retinaface_without_weights_says_what_to_do(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    with pytest.raises(OSError, match="no weights for retinaface_mobile0.25 .* use the default detector") as raised:
        RetinaFace(weights=tmp_path, network="retinaface_mobile0.25")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_new_detector_is_a_line_of_the_table(monkeypatch) -> None:
    monkeypatch.setitem(DETECTORS, "given", lambda device: GivenFaces(boxes=np.array([[1.0, 2.0, 30.0, 40.0]])))
    assert detector("given", "cpu")(np.zeros((50, 50, 3), np.uint8)).boxes.tolist() == [[1, 2, 30, 40]]
    with pytest.raises(ValueError, match="unknown detector 'eyes'; available: centerface, retinaface, given"):
        detector("eyes")
