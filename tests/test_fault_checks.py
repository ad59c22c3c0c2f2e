"""Checks of the native model's faults: each sees a constructed fault, more of it where it is stronger, and no other."""

from __future__ import annotations

import json
from functools import partial

import cv2
import numpy as np
import pytest
import torch
import typer
from native_pieces import SMALL, acting
from PIL import Image
from skimage.data import astronaut

from benchmarks.common.inputs import as_batch, astronaut_face, load_model
from benchmarks.common.sets import check_sets, load_set, named, quality_of
from benchmarks.native import faults
from benchmarks.native.checks.bleaching import TO_ORIGINAL, bleaching, skin_lightness
from benchmarks.native.checks.contours import contours
from benchmarks.native.checks.glasses import FRAMES, edges_lost, frame_lost, shape, worn
from benchmarks.native.checks.halos import halos, outline
from benchmarks.native.checks.regions import (
    above_beside,
    below_eyes_and_nostrils,
    blurred,
    eyes_and_bridge,
    face_and_jaw,
    lab_of,
    skin,
    steepness,
)
from benchmarks.native.checks.scenes import scenes
from benchmarks.native.checks.specks import specks
from iqp_adapter.bench.intervals import Interval
from iqp_adapter.degradations.discolour import fade, grey
from iqp_adapter.degradations.face import Degradation

SIDES = (256, 512)


@pytest.fixture(scope="module")
def faces():
    """The astronaut's face by its side, RGB (H, W, 3) in [0, 1]."""
    return {side: astronaut_face(side) for side in SIDES}


@pytest.fixture(scope="module")
def face(faces):
    return faces[256]


def lab(picture):
    return lab_of(as_batch(np.ascontiguousarray(picture, np.float32).clip(0, 1))[0])


def with_lightness(picture, change):
    """CIELAB of a picture (H, W, 3) whose lightness is changed by (H, W)."""
    found = lab(picture)
    found[..., 0] += change
    return found


def head_on_grey(side, halo=0.0):
    """CIELAB of a dark head on a grey background, with a light rim outside of it."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    outside = np.hypot((x - 0.5) / 0.34, (y - 0.55) / 0.45) - 1
    lightness = 25 + 35 / (1 + np.exp(-outside * 60)) + halo * np.exp(-(((outside - 0.1) / 0.06) ** 2))
    return np.dstack([lightness, np.zeros((side, side, 2))]).astype(np.float32)


class TestSpecks:
    def speckled(self, face, chroma):
        found = lab(grey(face))
        found[100:104, 60:160, 1] += chroma
        return found

    def test_colours_on_grey_are_seen_and_grey_has_none(self, face):
        none, mild, strong = (specks(self.speckled(face, chroma)) for chroma in (0, 10, 30))
        assert none["coloured, %"] == 0 and none["chroma, 99.9 %"] < 0.2
        assert mild["coloured, %"] == pytest.approx(100 * 400 / 256**2)
        for measure in ("mean chroma", "chroma, 99.9 %"):
            assert none[measure] < mild[measure] < strong[measure]

    def test_a_faint_tint_of_the_whole_is_a_mean_and_no_speck(self, face):
        tinted = lab(grey(face))
        tinted[..., 2] += 3
        assert specks(tinted)["coloured, %"] == 0 and specks(tinted)["mean chroma"] == pytest.approx(3, abs=0.1)


class TestHalos:
    @pytest.mark.parametrize("side", SIDES)
    def test_a_light_rim_and_a_dark_spot_are_seen_and_the_original_has_none(self, side):
        original = head_on_grey(side)
        mild, strong = (halos(head_on_grey(side, halo), original) for halo in (8, 20))
        assert set(halos(original, original).values()) == {0}
        for measure, value in mild.items():
            assert 1 < value < strong[measure]
        original[side // 10 : side // 8, side // 3 : side // 2, 0] -= 30
        assert halos(original, head_on_grey(side))["halo, % of the outline"] > 1

    def test_size_does_not_matter(self):
        small, large = (halos(head_on_grey(side, 12), head_on_grey(side)) for side in SIDES)
        assert small == pytest.approx(large, rel=0.1)

    def test_blur_noise_and_another_exposure_are_no_halo(self):
        original = head_on_grey(256)
        noise = np.random.default_rng(0).normal(0, 3, original.shape).astype(np.float32)
        for restored in (blurred(original, 1 / 64), original + noise, original + np.float32([5, 0, 0])):
            assert halos(restored, original)["halo, % of the outline"] < 0.1

    def test_the_outline_is_where_hair_meets_background(self):
        band = outline(head_on_grey(256)[..., 0])
        assert band[30, 128] and band[120, 40]  # above and beside the head
        assert not band[140, 128] and not band[2, 2] and not band[230].any()  # face, corner and shoulders

    def test_a_face_without_an_outline_is_measured_too(self):
        flat = np.full((64, 64, 3), 50, np.float32)
        assert halos(flat, flat)["halo, L*"] == 0


class TestBleaching:
    def test_fading_is_seen_and_its_direction_is_told(self, face):
        original = lab(face)
        none, mild, strong = (bleaching(lab(fade(face, amount)), original, original) for amount in (0, 0.15, 0.5))
        assert none["skin to the original, CIEDE2000"] == pytest.approx(0, abs=1e-3)
        assert 1 < mild["skin to the original, CIEDE2000"] < strong["skin to the original, CIEDE2000"]
        assert mild["skin to the input, CIEDE2000"] == mild["skin to the original, CIEDE2000"]
        assert 0 > mild["skin chroma"] > strong["skin chroma"]
        darker = bleaching(with_lightness(face, -5), original, original)
        assert darker["skin lightness"] == pytest.approx(-5, abs=1e-3) and darker["skin chroma"] == 0

    def test_size_does_not_matter(self, faces):
        small, large = (bleaching(lab(fade(faces[side], 0.3)), lab(faces[side]), lab(faces[side])) for side in SIDES)
        assert small == pytest.approx(large, rel=0.1)

    def test_a_bleached_patch_is_a_share_of_the_skin(self, face):
        original, patch = lab(face), np.zeros((256, 256), np.float32)
        patch[150:180, 85:115] = 1
        faint, clear = (with_lightness(face, strength * blurred(patch, 1 / 64)) for strength in (1, 20))
        assert bleaching(faint, original, original)["skin visibly off, %"] == 0
        assert 3 < bleaching(clear, original, original)["skin visibly off, %"] < 40

    def test_only_skin_counts(self, face):
        original = lab(face)
        painted = original + 40 * ~skin(256)[..., None]
        assert bleaching(painted, original, original)["skin to the original, CIEDE2000"] < 0.01

    def test_detail_is_no_change_of_colour(self, face):
        original = lab(face)
        assert bleaching(blurred(original, 1 / 128), original, original)["skin to the original, CIEDE2000"] < 1

    def test_how_light_skin_is(self, face):
        assert skin_lightness(with_lightness(face, -20)) == pytest.approx(skin_lightness(lab(face)) - 20, abs=1e-3)


@pytest.mark.parametrize("name", FRAMES)
class TestGlasses:
    @pytest.mark.parametrize("side", SIDES)
    def test_what_is_left_of_a_frame(self, faces, name, side):
        bare, frame = faces[side], FRAMES[name]
        framed = worn(bare, frame)
        full, none = lab(framed)[..., 0], lab(bare)[..., 0]

        def lost(share):
            return frame_lost(full + share * (none - full), full, none, frame)

        assert [lost(share) for share in (0, 0.3, 0.7, 1)] == pytest.approx([0, 30, 70, 100], abs=0.01)

    def test_blur_loses_a_part(self, face, name):
        frame = FRAMES[name]
        full, none = lab(worn(face, frame))[..., 0], lab(face)[..., 0]
        mild, strong = (frame_lost(blurred(full, sigma), full, none, frame) for sigma in (1 / 128, 1 / 32))
        assert 3 < mild < strong < 110

    def test_frames_sit_around_the_eyes(self, name):
        small, large = (shape(FRAMES[name], side) for side in SIDES)
        assert small.mean() == pytest.approx(large.mean(), rel=0.01)  # also one that is as thin as a pixel
        assert (small > 0.5).any() and small.max() <= 1
        assert small[eyes_and_bridge(256)].sum() > 0.75 * small.sum()
        assert small[118:124, 94:100].sum() == 0  # the eye itself is free


class TestEdgesAtTheEyes:
    def test_what_is_blurred_away_is_lost(self, face):
        original = lab(face)[..., 0]
        mild, strong = (edges_lost(blurred(original, sigma), original) for sigma in (1 / 80, 1 / 30))
        assert edges_lost(original, original) == 0 < mild < strong <= 100

    def test_an_edge_may_move_a_little_and_not_much(self, face):
        original = lab(face)[..., 0]
        near, far = (edges_lost(np.roll(original, step, 0), original) for step in (2, 12))
        assert near < 5 < far

    def test_an_edge_whose_other_side_is_dark_is_another_edge(self, face):
        original = lab(face)[..., 0]
        assert edges_lost(100 - original, original) > 20

    def test_worn_glasses_that_are_erased(self, face):
        framed = lab(worn(face, FRAMES["thick black, squarer"]))[..., 0]
        assert edges_lost(lab(face)[..., 0], framed) > 20

    def test_without_edges_nothing_is_lost(self):
        assert edges_lost(np.zeros((64, 64), np.float32), np.full((64, 64), 50, np.float32)) == 0


class TestContours:
    def drawn(self, face, depth):
        """The face with its strong edges drawn in pencil."""
        lightness = lab(face)[..., 0]
        lines = (steepness(lightness, 1 / 100) > 6) & face_and_jaw(256)
        return with_lightness(face, -depth * cv2.GaussianBlur(lines.astype(np.float32), (0, 0), 0.7))

    def test_dark_lines_are_seen(self, face):
        none, mild, strong = (contours(self.drawn(face, depth), lab(face)) for depth in (0, 12, 30))
        assert none == {"along contours, L*": 0, "darkened, % of contours": 0, "crescents, %": 0}
        assert 0 > mild["along contours, L*"] > strong["along contours, L*"]
        assert 0 < mild["darkened, % of contours"] < strong["darkened, % of contours"]

    def test_light_lines_have_the_other_sign(self, face):
        found = contours(self.drawn(face, -12), lab(face))
        assert found["along contours, L*"] > 0 and found["darkened, % of contours"] < 5

    def test_another_exposure_darkens_no_contour(self, face):
        found = contours(with_lightness(face, -10), lab(face))
        assert found == pytest.approx(
            {"along contours, L*": 0, "darkened, % of contours": 0, "crescents, %": 0}, abs=0.01
        )

    def crescent(self, side, depth, size=0.05):
        y, x = (np.mgrid[:side, :side] + 0.5) / side
        return -depth * np.exp(-(((x - 0.378) / size) ** 2) - ((y - 0.525) / (size / 2.5)) ** 2)

    def test_dark_crescents_below_an_eye_are_seen(self, faces):
        found = [
            [
                contours(with_lightness(faces[side], self.crescent(side, depth)), lab(faces[side]))
                for depth in (3, 12, 30)
            ]
            for side in SIDES
        ]
        (faint, mild, strong), large = ([one["crescents, %"] for one in of] for of in found)
        assert faint == 0 < mild < strong
        assert large == pytest.approx([faint, mild, strong], rel=0.2)

    def test_grain_is_no_crescent(self, face):
        speck = self.crescent(256, 60, size=0.008)
        assert contours(with_lightness(face, speck), lab(face))["crescents, %"] == 0
        assert below_eyes_and_nostrils(256)[134, 97]  # where it lies

    def test_a_face_without_contours_is_measured_too(self):
        flat = np.full((64, 64, 3), 50, np.float32)
        assert contours(flat, flat)["along contours, L*"] == 0


def test_a_mask_is_compared_with_what_lies_beside_it():
    picture, where = np.full((100, 100), 40, np.float32), np.zeros((100, 100), bool)
    where[40:60, 48:52] = True
    picture[where] = 30
    picture[:, :30] = 90  # too far away to count
    assert above_beside(picture, where, 0.03, 0.08).min() == pytest.approx(-10, abs=0.1)
    assert not above_beside(picture, np.ones((100, 100), bool), 0.03, 0.08).size


class TestTheCommand:
    @pytest.fixture
    def album(self, tmp_path):
        """The astronaut, brighter and darker, as four people."""
        folder = tmp_path / "astronauts" / "dev"
        folder.mkdir(parents=True)
        face = astronaut_face(96)
        for place, name in enumerate(("ann_1", "bob_1", "eve_1", "kim_1", "lou_1", "mia_1")):
            Image.fromarray((face * (1 - 0.1 * place) * 255).astype(np.uint8)).save(folder / f"{name}.png")
        return folder

    @pytest.fixture
    def model(self, tmp_path):
        acting(SMALL).save_pretrained(tmp_path / "small")
        return tmp_path / "small"

    def test_it_measures_every_model_on_every_set(self, album, model, tmp_path):
        faults.main([f"one={model}", f"two={model}"], [album], fidelity=0.2, out=tmp_path, name="seen")
        found = json.loads((tmp_path / "seen.json").read_text())
        of = found["sets"]["astronauts/dev"]
        assert of["side"] == 96 and of["people"] == 6
        assert list(of["methods"]) == ["original", "input", "bicubic", "one", "two"]
        assert of["methods"]["one"].keys() >= faults.ALLOWED.keys()
        assert of["methods"]["one"] == of["methods"]["two"]
        assert {gain["mean"] for gain in of["less one"]["two"].values()} == {0}
        assert set(of["verdicts"]["one"].values()) >= {"fails"}  # it was never trained
        assert found["models"]["one"] == {"resolution": 32, "fidelity": 0.2}
        assert "## astronauts/dev, 96 px" in (tmp_path / "seen.md").read_text()

    def seen(self, album):
        load = partial(load_set, album, None, 1)
        return faults.look(load(), scenes(load(), load), {})

    def test_the_original_passes_and_frames_on_the_input_are_worn(self, album):
        seen = self.seen(album)
        people = faults.result(
            faults.Seen(seen.people, seen.skin, seen.values | {"perfect": seen.values["original"]}), ["perfect"]
        )
        assert set(people["verdicts"]["perfect"].values()) == {"passes"}
        assert seen.values["original"]["thick black, squarer lost, %"].max() < 0.01
        assert seen.values["input"]["thick black, squarer lost, %"].max() < 90
        assert seen.values["input"]["coloured, %"].max() == 0

    def test_real_faces_are_compared_with_themselves(self, album, model, tmp_path):
        faults.main([f"one={model}"], crops=[album], photos=[self.photo(tmp_path)], out=tmp_path, name="real")
        found = json.loads((tmp_path / "real.json").read_text())["sets"]
        cut, crops = found["some/photos"], found["astronauts/dev"]
        assert cut["pictures"] == 2 and cut["side"] == crops["side"] == 512 and not cut["skin"]
        assert list(crops["methods"]) == ["input", "one"]
        assert {measure["mean"] for name, measure in crops["methods"]["input"].items() if "chroma" not in name} == {0}
        assert crops["verdicts"]["one"]["skin to the input, CIEDE2000"] == "fails"
        assert TO_ORIGINAL not in crops["methods"]["one"] and len(crops["skin"]) == 3

    def photo(self, tmp_path):
        """Two photos of the astronaut."""
        folder = tmp_path / "some" / "photos"
        folder.mkdir(parents=True)
        for name in ("one", "two"):
            Image.fromarray(astronaut()).save(folder / f"{name}.png")
        return folder

    def test_skin_is_told_apart_within_a_set(self, album):
        seen = self.seen(album)
        assert (np.diff(seen.skin) < 0).all()
        assert [name.split(",")[0] for name in faults.by_skin(seen)] == ["dark", "middle", "bright"]

    @pytest.mark.parametrize(("low", "high", "verdict"), [(0, 1, "passes"), (0.5, 1.5, "uncertain"), (1.1, 2, "fails")])
    def test_verdicts(self, low, high, verdict):
        assert faults.verdict(Interval((low + high) / 2, low, high), 1.0) == verdict


class TestSets:
    def test_models_have_names(self, tmp_path):
        assert named(["tiny", "new=RUN/model", "RUN/other"]) == {
            "tiny": "tiny",
            "new": "RUN/model",
            "other": "RUN/other",
        }
        with pytest.raises(typer.BadParameter, match="two models are called 'model'"):
            named(["A/model", "B/model"])

    def test_qualities(self):
        assert quality_of("best") == "best" and quality_of("0.3") == 0.3
        with pytest.raises(typer.BadParameter, match="quality is 'good'; give a number"):
            quality_of("good")

    def test_two_folders_of_one_name_are_refused(self, tmp_path):
        with pytest.raises(typer.BadParameter, match="two folders are called faces/dev"):
            check_sets([tmp_path / "a" / "faces" / "dev", tmp_path / "b" / "faces" / "dev"])
        with pytest.raises(typer.BadParameter, match="nothing to look at"):
            check_sets([])

    def test_pictures_keep_their_own_size_and_a_change_keeps_the_draws(self, tmp_path):
        face = astronaut_face(80)
        Image.fromarray((face * 255).astype(np.uint8)).save(tmp_path / "ann_1.png")
        plain, halved = load_set(tmp_path, None, 2), load_set(tmp_path, 64, 1)
        assert plain.degraded.shape == (2, 3, 80, 80) and halved.original.shape == (1, 3, 64, 64)
        assert not torch.equal(plain.degraded[0], plain.degraded[1])
        same = load_set(tmp_path, None, 2, change=lambda picture: picture)
        assert torch.equal(same.degraded, plain.degraded) and torch.equal(same.original, plain.original)
        dark = load_set(tmp_path, None, 2, change=lambda picture: picture * 0)
        assert dark.original.max() == 0 and dark.degraded.mean() < 0.1

    def test_the_degradation_fits_the_size(self, tmp_path, monkeypatch):
        asked = []
        made = Degradation.for_resolution
        monkeypatch.setattr(Degradation, "for_resolution", lambda px, **rest: asked.append(px) or made(px, **rest))
        Image.fromarray((astronaut_face(96) * 255).astype(np.uint8)).save(tmp_path / "ann_1.png")
        load_set(tmp_path, None, 1)
        assert asked == [96]

    def test_a_model_of_any_size_restores_pictures_of_any_size(self, tmp_path):
        acting(SMALL).save_pretrained(tmp_path / "small")
        model = load_model(tmp_path / "small")
        assert model.restore(torch.rand(1, 3, 96, 96).to(model.device)).shape == (1, 3, 96, 96)
