"""A second look: faces that are turned, grainy or cut are found in another view, and no face is found where none is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from photo_standins import LANDMARKS, Negative, photo
from skimage import data

from iqp_adapter.photo import CenterFace, Faces, restore_photos
from iqp_adapter.photo.align import transform
from iqp_adapter.photo.second_look import LONGEST, _views, second_look

EYES = float(np.linalg.norm(LANDMARKS[1] - LANDMARKS[0]))


@pytest.fixture(scope="module")
def centerface() -> CenterFace:
    return CenterFace()


def head() -> np.ndarray:
    return np.ascontiguousarray(photo()[:260, 80:370])


def off(found: Faces, expected: np.ndarray) -> float:
    """The largest error of a landmark, in distances between the eyes."""
    assert len(found.scores) == 1
    return float(np.linalg.norm(found.landmarks[0] - expected, axis=-1).max() / EYES)


def test_an_upside_down_face_is_found_as_it_is_upright(centerface: CenterFace) -> None:
    picture = head()
    upright = centerface(picture)
    turned = second_look(np.ascontiguousarray(picture[::-1, ::-1]), centerface._look, 0.5)
    assert turned.view == "turned by 180 degrees"
    assert off(turned, [289, 259] - upright.landmarks[0]) < 0.15
    left, top, right, bottom = upright.boxes[0]
    assert np.abs(turned.boxes[0] - [289 - right, 259 - bottom, 289 - left, 259 - top]).max() < 8


def test_a_reported_turned_photo_is_restored(cases: Path) -> None:
    [restored] = restore_photos([cases / "19-turned" / "turned180.png"], Negative())
    assert restored.changed
    assert restored.faces[0].note == "found at a second look: turned by 180 degrees"


@pytest.mark.parametrize("kind", ["grain", "dots"])
def test_a_face_under_grain_or_dots_is_found(centerface: CenterFace, kind: str) -> None:
    if kind == "grain":
        noisy = head() + np.random.default_rng(0).normal(0, 110, head().shape)
        picture = noisy.clip(0, 255).round().astype(np.uint8)
    else:
        y, x = np.mgrid[:260, :290] * (np.pi / 4)
        dots = 127 + 127 * np.cos(x + y) * np.cos(x - y)
        picture = np.dstack([((head().mean(-1) > dots) * 255).astype(np.uint8)] * 3)
    assert not len(centerface._look(picture).scores)
    found = centerface(picture)
    assert found.view and off(found, LANDMARKS - [80, 0]) < 0.5


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket", "brick", "grass", "coins", "text", "clock"])
def test_nothing_is_found_where_no_face_is(centerface: CenterFace, name: str) -> None:
    picture = getattr(data, name)()
    rgb = np.ascontiguousarray(picture if picture.ndim == 3 else np.dstack([picture] * 3))
    assert not len(centerface(rgb[..., :3]).scores)


@pytest.mark.parametrize("shape", [(200, 256), (256, 200), (LONGEST * 2, LONGEST), (1, 7), (1, 1)])
def test_every_view_leads_back_to_the_photo(shape: tuple[int, int]) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    ramp = np.dstack([x / shape[1], y / shape[0], np.zeros_like(x)]) * 255
    for view in _views(ramp.round().astype(np.uint8)):
        points = np.array([[0.3, 0.4], [0.5, 0.5], [0.7, 0.6]]) * np.array(shape[::-1]) - 0.5
        column, row = transform(points, view.matrix).round().astype(int).T
        found = view.picture[row, column, :2] / 255 * shape[::-1]
        assert np.abs(found - points).max() < 0.02 * max(shape) + 1, view.name


class Seer:
    """A detector that sees a face in the views it is told to, with a confidence each."""

    def __init__(self, *scores: float) -> None:
        self.scores = scores
        self.looks = 0

    def __call__(self, rgb: np.ndarray) -> Faces:
        score = self.scores[self.looks]
        self.looks += 1
        some = np.array([score])[: score > 0]
        return Faces(np.tile([1.0, 2, 3, 4], (len(some), 1)), some, np.ones((len(some), 5, 2)))


def test_the_clearest_view_counts_and_must_be_clearer_than_a_first_look() -> None:
    assert second_look(photo(), Seer(0, 0.7, 0.9, 0.8, 0), 0.5).view == "turned by 270 degrees"
    assert not len(second_look(photo(), Seer(0.55, 0.5, 0, 0.59, 0.6), 0.5).scores)
    assert len(second_look(photo(), Seer(0.55, 0.5, 0, 0.59, 0.61), 0.5).scores) == 1


def test_a_face_seen_at_first_sight_costs_no_second_look(
    centerface: CenterFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("looked again")

    monkeypatch.setattr("iqp_adapter.photo.centerface.second_look", refuse)
    assert len(centerface(photo()).scores) == 1


def test_half_a_face_at_the_border_is_found(centerface: CenterFace) -> None:
    assert len(centerface(np.ascontiguousarray(photo()[:, 223:])).scores) == 1
    assert len(centerface(np.ascontiguousarray(cv2.flip(photo()[:, :224], 0))).scores) == 1
