"""Comparing models on sets of faces, each separately, and looking at them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import typer
from native_pieces import SMALL, acting
from PIL import Image
from skimage.data import astronaut

from benchmarks.common.inputs import Pictures, astronaut_face
from benchmarks.common.sets import load_crops, load_photos
from benchmarks.native import compare_by_eye, restoration
from benchmarks.native.restoration import Method
from iqp_adapter.bench.intervals import Interval

JUDGES = ["psnr", "fsim", "piqe"]


class Mixed(torch.nn.Module):
    """Restores by mixing the input, at fidelity 1, with grey, at fidelity 0."""

    device, resolution, own_fidelity = torch.device("cpu"), 64, 1.0

    def restore(self, lq, quality="best", fidelity=None):
        weight = self.own_fidelity if fidelity is None else fidelity
        return 0.5 + weight * (lq - 0.5)


@pytest.fixture
def folder(tmp_path):
    """Crops of the astronaut's face as three people."""
    place = tmp_path / "astronauts" / "dev"
    place.mkdir(parents=True)
    face = (astronaut_face(96) * 255).astype(np.uint8)
    for name, picture in {"ann_1": face, "bob_1": face[:, ::-1], "eve_1": 255 - face}.items():
        Image.fromarray(picture).save(place / f"{name}.png")
    return place


@pytest.fixture
def mixed(monkeypatch):
    monkeypatch.setattr(restoration, "load_model", lambda place: Mixed())
    monkeypatch.setattr(restoration, "provenance", lambda *_, **__: {})


def run(folder, out, **options):
    restoration.main(["one"], [folder], judge=JUDGES, out=out, name="seen", **options)
    return json.loads((out / "seen.json").read_text())


def test_what_gives_back_its_input_keeps_all_and_what_greys_it_does_not(folder, mixed, tmp_path):
    found = run(folder, tmp_path, fidelity=[0.0, 0.5, 1.0])
    of = found["sets"]["astronauts/dev"]
    assert of["side"] == 96
    assert found["keep on every set"] == ["one best, fidelity 1"]
    holds = {(one["claim"]): one["holds"] for one in of["claims"]}
    assert holds["one best, fidelity 1 does not fall below the input on psnr"]
    assert not holds["one best, fidelity 0.5 does not fall below the input on psnr"]
    lost = [of["gain over the input"][f"one best, fidelity {w}"]["psnr"]["mean"] for w in ("0", "0.5", "1")]
    assert lost[0] < lost[1] < lost[2] == 0
    assert of["gain over one best, fidelity 0"]["one best, fidelity 1"]["psnr"]["mean"] > 0
    text = (tmp_path / "seen.md").read_text()
    assert "these keep psnr and fsim: one best, fidelity 1." in text and "**does not hold**" in text
    assert Image.open(tmp_path / "seen.png").size[0] > 500


def test_lower_values_of_some_judges_are_gains(folder, mixed, tmp_path):
    of = run(folder, tmp_path)["sets"]["astronauts/dev"]
    gain = of["methods"]["input"]["piqe"]["mean"] - of["methods"]["bicubic"]["piqe"]["mean"]
    assert of["gain over the input"]["bicubic"]["piqe"]["mean"] == pytest.approx(gain, abs=1e-3)
    assert not (tmp_path / "seen.png").exists()  # one fidelity is no curve


def test_the_mildest_degradation_can_be_made_stronger(folder, mixed, tmp_path):
    usual, severe = (run(folder, tmp_path, **options) for options in ({}, {"mildest": 1.0}))
    assert (usual["mildest"], severe["mildest"]) == (0.2, 1.0)
    usual, severe = (of["sets"]["astronauts/dev"]["methods"]["input"]["psnr"]["mean"] for of in (usual, severe))
    assert severe < usual - 0.5


def test_one_set_of_two_is_enough_to_fall():
    sets = {
        "a": {"claims": [{"method": "one best", "holds": True}, {"method": "two best", "holds": True}]},
        "b": {"claims": [{"method": "one best", "holds": False}, {"method": "two best", "holds": True}]},
    }
    methods = [Method("one", "best", None), Method("two", "best", None)]
    assert restoration.keepers(sets, methods) == ["two best"]


def test_judges(monkeypatch):
    monkeypatch.setattr(restoration, "panel_of", list)
    assert restoration.judges_of(["psnr", "psnr"]) == ["psnr"]
    assert {"identity", "fsim", "niqe@512"} <= set(restoration.judges_of(["psnr", "all"]))
    with pytest.raises(typer.BadParameter, match="unknown judge 'pnsr'; choose from"):
        restoration.judges_of(["pnsr"])


class TestLooking:
    @pytest.fixture
    def model(self, tmp_path):
        acting(SMALL).save_pretrained(tmp_path / "small")
        return tmp_path / "small"

    def test_sheets_of_faces_photos_and_crops(self, folder, model, tmp_path):
        photos = tmp_path / "old" / "photos"
        photos.mkdir(parents=True)
        Image.fromarray(astronaut()).save(photos / "one.jpg")
        compare_by_eye.main([f"a={model}", f"b={model}"], tmp_path / "out", [folder], [photos], count=2)
        faces, cut = (Image.open(tmp_path / "out" / f"{name}-1.png") for name in ("astronauts-dev", "old-photos"))
        assert faces.width == 8 * (96 + 4) - 4 and faces.height > 2 * 96
        assert cut.width == 7 * (512 + 4) - 4

    def test_the_repository_is_refused(self, root, model):
        with pytest.raises(typer.BadParameter, match="is inside the repository"):
            compare_by_eye.main([str(model)], root / "benchmarks" / "results")

    def test_every_setting_is_a_column(self, monkeypatch):
        shown = compare_by_eye.columns(torch.rand(1, 3, 32, 32), {"small": acting(SMALL)})
        assert list(shown) == ["input", "small, best", "small, any", "small, fidelity 0"]
        pictures = list(shown.values())
        assert not any(torch.equal(one, other) for one, other in zip(pictures, pictures[1:], strict=False))

    def test_faces_are_spread_over_a_folder(self):
        assert compare_by_eye.spread(20, 3) == [0, 10, 19] and compare_by_eye.spread(2, 6) == [0, 1]

    def test_long_folders_take_several_sheets(self, tmp_path):
        pictures = {"input": torch.rand(compare_by_eye.ROWS + 1, 3, 8, 8)}
        compare_by_eye.write(tmp_path, tmp_path / "some" / "faces", pictures)
        assert sorted(file.name for file in tmp_path.glob("*.png")) == ["some-faces-1.png", "some-faces-2.png"]


def test_faces_are_cut_out_of_photos(tmp_path):
    Image.fromarray(astronaut()).save(tmp_path / "one.png")
    found = load_photos(tmp_path)
    assert isinstance(found, Pictures) and found.people == ["one 0"]
    torch.testing.assert_close(found.degraded[0].permute(1, 2, 0), torch.from_numpy(astronaut_face(512)))
    assert load_crops(tmp_path).original.shape == (1, 3, 512, 512)


def test_a_photo_without_a_face_is_refused(tmp_path):
    Image.new("RGB", (200, 200)).save(tmp_path / "black.png")
    with pytest.raises(typer.BadParameter, match="no face is found"):
        load_photos(tmp_path)


@pytest.mark.parametrize(("mean", "holds"), [(-0.1, False), (0.1, True)])
def test_the_mean_decides_whether_a_claim_holds(mean, holds):
    gain = Interval(mean, mean - 0.3, mean + 0.3)
    found = restoration.claims({"one best": {"psnr": gain}}, [Method("one", "best", None)])
    assert [(one["holds"], one["gain"]) for one in found] == [(holds, gain)]
