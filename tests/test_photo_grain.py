"""Quality "match" gives a face back the grain that it had, and adds none to a photo without grain."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from photo_standins import FACE, LANDMARKS, Echo, photo
from PIL import Image
from torch.nn.functional import avg_pool2d

from iqp_adapter.photo import restore_photo, restore_photos
from iqp_adapter.photo.align import align, similarity, template
from iqp_adapter.photo.grain import missing_grain

MATRIX = similarity(LANDMARKS, template(256))
CHEEK, WALL = np.s_[105:150, 185:235], np.s_[60:200, 20:80]


class Smooth(Echo):
    """Takes every grain away."""

    def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
        return avg_pool2d(lq, 9, 1, 4, count_include_pad=False)


def soft() -> np.ndarray:
    return cv2.GaussianBlur(photo(), (0, 0), 1.5)


def grainy(strength: float, softness: float = 0.0, grey: bool = True) -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal((512, 512, 1 if grey else 3))
    noise = np.broadcast_to(noise, (512, 512, 3)).copy()
    if softness:
        noise = cv2.GaussianBlur(noise, (0, 0), softness)
        noise /= noise.std()
    picture = np.dstack([soft().mean(-1)] * 3) if grey else soft()
    return (picture + strength * noise).clip(0, 255).round().astype(np.uint8)


def fine(picture: np.ndarray) -> np.ndarray:
    return picture - cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 2)


def lost(picture: np.ndarray) -> Any:
    """What is missing of the grain after all of it was smoothed away."""
    face = cv2.GaussianBlur(align(picture, MATRIX, 256), (0, 0), 4) / np.float32(255)
    return missing_grain(picture, face, MATRIX)


@pytest.mark.parametrize("strength", [6, 14])
@pytest.mark.parametrize("softness", [0.0, 0.8])
@pytest.mark.parametrize("grey", [True, False])
def test_a_face_has_the_grain_of_its_photo(strength: float, softness: float, grey: bool) -> None:
    given = grainy(strength, softness, grey)
    before, after = fine(given), fine(restore_photo(given, Smooth(), detector=FACE, quality="match"))
    plain = fine(restore_photo(given, Smooth(), detector=FACE, quality="best"))
    assert 0.6 < after[CHEEK].std() / before[CHEEK].std() < 1.2
    assert plain[CHEEK].std() < 0.5 * before[CHEEK].std()
    assert not grey or np.ptp(after, axis=-1).max() < 1e-3
    alike = [
        np.corrcoef(part[CHEEK][:, 1:, 0].ravel(), part[CHEEK][:, :-1, 0].ravel())[0, 1] for part in (before, after)
    ]
    assert abs(alike[0] - alike[1]) < 0.25


def test_a_reported_film_photo_keeps_its_grain(cases: Path) -> None:
    from iqp_adapter import load

    given = Image.open(cases / "18-film-grain" / "grain.png")
    restored = np.asarray(restore_photo(given, load("tiny", device="cpu"), quality="match"))
    before, after = fine(np.asarray(given)), fine(restored)
    for place in (np.s_[94:128, 150:170], np.s_[150:170, 94:128], np.s_[60:100, 190:215]):
        assert 0.5 < after[place].std() / before[place].std() < 1.2


def test_grain_is_the_same_each_time_and_another_in_another_photo() -> None:
    one, again, other = (lost(picture) for picture in (grainy(10), grainy(10), grainy(10)[:, ::-1].copy()))
    assert np.array_equal(one.field((40, 50)), again.field((40, 50)))
    assert one.seed != other.seed


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_grain_grows_with_the_photo(factor: int) -> None:
    field = lost(grainy(10)).field((81, 102, 3), factor)
    assert field.shape == (81, 102, 3) and 0.6 * 10 < 255 * field.std() < 1.3 * 10
    beside = np.corrcoef(field[:, 1:, 0].ravel(), field[:, :-1, 0].ravel())[0, 1]
    assert beside > 0.4 if factor > 1 else abs(beside) < 0.2


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    stored = BytesIO()
    Image.fromarray(picture).save(stored, "JPEG", quality=quality)
    return np.asarray(Image.open(stored))


@pytest.mark.parametrize("quality", [None, 10, 25, 50, 75])
@pytest.mark.parametrize("source", [photo, soft])
def test_a_photo_without_grain_gets_none(quality: int | None, source: Any) -> None:
    assert lost(source() if quality is None else jpeg(source(), quality)) is None


def test_grain_of_the_face_or_of_the_wall_alone_is_not_added() -> None:
    face_only, wall_only = soft(), grainy(12, grey=False)
    face_only[60:190, 160:280] = grainy(12, grey=False)[60:190, 160:280]
    wall_only[40:200, 140:300] = soft()[40:200, 140:300]
    assert lost(face_only) is None
    assert 255 * lost(wall_only).field((99, 99)).std() < 4  # no more than the face's own fine detail


def test_a_face_that_kept_its_grain_gets_no_more() -> None:
    given = grainy(12)
    face = align(given, MATRIX, 512) / np.float32(255)
    kept = missing_grain(given, face, similarity(LANDMARKS, template(512)))
    assert 255 * kept.field((99, 99)).std() < 7  # of 12; cutting out and pasting takes about a third of the energy


def test_only_match_adds_grain() -> None:
    [best] = restore_photos([grainy(14)], Smooth(), detector=FACE, quality="best")
    [number] = restore_photos([grainy(14)], Smooth(), detector=FACE, quality=0.95)
    assert np.array_equal(best.pixels, number.pixels)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_grain_is_of_the_photos_own_type(dtype: Any) -> None:
    given = (grainy(14) / 255 * (65535 if dtype == np.uint16 else 1)).astype(dtype)
    restored = restore_photo(given, Smooth(), detector=FACE, quality="match")
    top = 65535 if dtype == np.uint16 else 1
    assert restored.dtype == dtype and 0 <= restored.min() <= restored.max() <= top
    assert fine(restored / top * 255)[CHEEK].std() > 8
