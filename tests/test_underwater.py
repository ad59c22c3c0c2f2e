"""Photos under water: the formula against hand calculations, and what its attributes do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer
from PIL import Image

from benchmarks.underwater import packaged_photos
from iqp_adapter.degradations.underwater import TRANSMITTANCE, UnderwaterDegradation, relief, under_water

CLEAR = -np.log(TRANSMITTANCE["I"])


@pytest.fixture(scope="module")
def hq():
    from skimage.data import astronaut

    return (astronaut()[:256:2, 96:352:2] / 255).astype(np.float32)


def test_the_formula_by_hand():
    grey = np.full((2, 2, 3), 0.5)
    lq = under_water(grey, np.full((2, 2), 3.0), depth=2.0, attenuation=CLEAR, veil=0.6)
    for channel, a_metre in enumerate((0.805, 0.961, 0.982)):
        expected = (0.5 * a_metre**3 + 0.6 * (1 - a_metre**3)) * a_metre**2
        assert lq[..., channel] == pytest.approx(expected)


def test_near_the_surface_nothing_changes_and_far_away_there_is_only_water(hq):
    near = under_water(hq, np.zeros(hq.shape[:2]), 0, CLEAR, 0.6)
    assert np.array_equal(near, hq)
    far = under_water(hq, np.full(hq.shape[:2], 1e4), 1.0, CLEAR, 0.6)
    assert far == pytest.approx(np.broadcast_to(0.6 * np.array(TRANSMITTANCE["I"]), hq.shape))


@pytest.mark.parametrize("water", ["I", "IA", "IB", "II", "III", "1C", "3C"])
def test_red_is_lost_first_but_in_turbid_water(water):
    red, green, blue = TRANSMITTANCE[water]
    assert red < green and red < blue
    assert TRANSMITTANCE["9C"][0] > TRANSMITTANCE["9C"][2]


def test_a_picture_is_decided_by_its_seed(hq):
    degrade = UnderwaterDegradation()
    assert np.array_equal(degrade(hq, 3), degrade(hq, 3))
    assert not np.array_equal(degrade(hq, 3), degrade(hq, 4))
    lq = degrade(hq, 3)
    assert lq.shape == hq.shape and lq.dtype == np.float32 and 0 <= lq.min() <= lq.max() <= 1


def test_strength_costs_contrast(hq):
    def contrast(strength):
        degrade = UnderwaterDegradation(strength=(strength, strength), noise=(0, 0))
        return np.mean([(lq := degrade(hq, seed)).std((0, 1)).mean() / lq.mean() for seed in range(8)])

    assert contrast(0.05) > 1.1 * contrast(0.5) > 1.2 * contrast(1.0)


def test_the_camera_exposes_the_brightest_channel(hq):
    lq = UnderwaterDegradation(exposure=(0.4, 0.4), noise=(0, 0))(0.4 * hq, 5)
    assert lq.mean((0, 1)).max() == pytest.approx(0.4, abs=0.01)


def test_a_scene_reaches_from_near_to_far():
    scene = relief(40, 60, np.random.default_rng(0))
    assert scene.shape == (40, 60) and scene.min() == 0 and scene.max() == pytest.approx(1)
    steps = np.abs(np.diff(scene, axis=0)).max(), np.abs(np.diff(scene, axis=1)).max()
    assert max(steps) < 0.15  # smooth
    tops = [relief(32, 32, np.random.default_rng(seed))[:8].mean() for seed in range(40)]
    assert np.mean(tops) > 0.5  # farther at the top


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"water": ("X",)}, r"water is \['X'\]; choose from I, IA"),
        ({"water": ()}, r"water is \[\]; choose from I"),
        ({"depth": (3, 1)}, "depth is"),
        ({"veil": (0, 2)}, "veil is"),
        ({"blur": 3}, "underwater has no blur; it has water, depth"),
    ],
)
def test_impossible_settings_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        UnderwaterDegradation.for_resolution(128, **change)


def test_other_pictures_are_refused(hq):
    with pytest.raises(TypeError, match="picture is float64"):
        UnderwaterDegradation()(hq.astype(np.float64), 0)


def test_no_photo_is_on_both_sides():
    assert len({photo.name for photo in packaged_photos.PHOTOS}) == len(packaged_photos.PHOTOS)
    assert {photo.part for photo in packaged_photos.PHOTOS} == {"train", "val"}


def test_tiles_of_photos_come_with_their_licence(tmp_path, monkeypatch):
    mine = [photo for photo in packaged_photos.PHOTOS if photo.package == "scikit-image"]
    monkeypatch.setattr(packaged_photos, "PHOTOS", mine)
    packaged_photos.main(tmp_path)
    facts = json.loads((tmp_path / "photos.json").read_text())
    assert [fact["name"] for fact in facts] == [photo.name for photo in mine]
    assert all(fact["licence"] and fact["author"] and fact["version"] for fact in facts)
    for fact in facts:
        tiles = sorted((tmp_path / fact["part"]).glob(f"{fact['name']}_*.png"))
        assert len(tiles) == fact["tiles"] >= 4
        assert Image.open(tiles[0]).size == (packaged_photos.SIDE, packaged_photos.SIDE)


def test_a_photo_whose_package_is_not_there_says_what_to_install():
    lost = packaged_photos.Photo("moon", "train", "lunar-photos", "lunar_photos/moon.jpg", "CC0", "nobody")
    with pytest.raises(typer.BadParameter, match="moon is part of lunar-photos: pip install lunar-photos"):
        packaged_photos.opened(lost)
