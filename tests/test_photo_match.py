"""Quality "match": the face that fits its surroundings is found, and fits better than the best one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from photo_standins import FACE, LANDMARKS, Dial, photo

from iqp_adapter.photo import restore_photos
from iqp_adapter.photo.align import align, similarity, template
from iqp_adapter.photo.match import LEVELS, best_match, difference, texture

MATRIX = similarity(LANDMARKS, template(256))
BLURS = (3.0, 2.0, 1.4, 0.8, 0.0)
NOISES = (12.0, 8.0, 5.0, 2.5, 0.0)


def blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), sigma) if sigma else picture


def noisy(picture: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    grain = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return (cv2.GaussianBlur(picture, (0, 0), 1) + grain).clip(0, 255).round().astype(np.uint8)


def faces_of(pictures: list[np.ndarray]) -> list[np.ndarray]:
    return [align(picture, MATRIX, 256) / 255 for picture in pictures]


@pytest.mark.parametrize("true", range(5))
def test_the_photos_own_sharpness_is_found(true: int) -> None:
    candidates = faces_of([blurred(photo(), sigma) for sigma in BLURS])
    assert abs(best_match(blurred(photo(), BLURS[true]), candidates, MATRIX) - true) <= 1


@pytest.mark.parametrize("true", range(5))
def test_the_photos_own_noise_is_found(true: int) -> None:
    candidates = faces_of([noisy(photo(), sigma, 1) for sigma in NOISES])
    assert abs(best_match(noisy(photo(), NOISES[true], 2), candidates, MATRIX) - true) <= 1


def test_texture_is_monotone_in_blur_and_noise() -> None:
    grey = photo().mean(-1).astype(np.float32)
    everywhere = np.ones(grey.shape, bool)
    sharpness = [texture(blurred(grey, sigma), everywhere).sharpness for sigma in BLURS]
    assert sharpness == sorted(sharpness)
    noise = [texture(noisy(grey, sigma, 1).astype(np.float32), everywhere).noise for sigma in NOISES]
    assert noise == sorted(noise, reverse=True)
    assert np.allclose(2 ** np.array(noise[:3]), NOISES[:3], rtol=0.15)  # in levels, not only in order


def test_noise_is_not_taken_for_sharpness() -> None:
    grey = photo().mean(-1).astype(np.float32)
    everywhere = np.ones(grey.shape, bool)
    clean, grainy = (texture(noisy(grey, sigma, 1).astype(np.float32), everywhere).sharpness for sigma in (0, 8))
    sharper = texture(grey, everywhere).sharpness
    assert abs(grainy - clean) < 0.25 * (sharper - clean)


def test_nothing_around_the_face_leaves_the_best() -> None:
    alone = np.zeros((40, 40, 3), np.uint8)
    whole = similarity((template(256) + 0.5) * (40 / 256) - 0.5, template(256))
    assert difference(alone, np.zeros((256, 256, 3), np.float32), whole) is None
    assert best_match(alone, [np.zeros((256, 256, 3), np.float32)] * 5, whole) == 4


def test_the_photo_is_not_changed_by_measuring() -> None:
    before = photo()
    best_match(before, faces_of([photo()] * 2), MATRIX)
    assert np.array_equal(before, photo())


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0])
def test_match_differs_less_from_the_surroundings_than_best(sigma: float) -> None:
    """A sharp face in a blurred photo: the composite that "best" leaves, and "match" mends."""
    composite = blurred(photo(), sigma)
    composite[40:200, 150:300] = photo()[40:200, 150:300]
    asked = {}
    for quality in ("best", "match"):
        model = Dial() if quality == "match" else _Best()
        [restored] = restore_photos([composite], model, detector=FACE, quality=quality)
        face = align(restored.pixels, MATRIX, 256) / 255
        asked[quality] = difference(composite, face, MATRIX)
    assert asked["match"] < asked["best"]


class _Best(Dial):
    def restore(self, lq, **asked):  # type: ignore[no-untyped-def]
        return super().restore(lq, **asked | {"quality": LEVELS[-1]})


def test_levels_end_at_the_best_seen_in_training() -> None:
    assert len(LEVELS) == 5 and LEVELS[0] == pytest.approx(0.05) and LEVELS[-1] == pytest.approx(0.95)
