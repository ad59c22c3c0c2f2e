"""The benchmarks of photos: what is measured, what is kept, and the loop that stands for the hosts' own scripts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from photo_standins import Echo, psnr
from PIL import Image
from skimage.data import astronaut

from benchmarks import effective_resolution, photo_pipeline
from benchmarks.common.facexlib_loop import restore_one_by_one
from benchmarks.common.timing import noted
from iqp_adapter.photo import CenterFace


def test_models_that_were_measured_are_kept_unless_the_settings_differ(tmp_path, monkeypatch):
    asked = []

    def alone(measure, name, photos, rounds, threads):
        asked.append((name, photos))
        times = {"ours": np.array([4.0, 5.0]), "network": np.array([3.0, 4.0])}
        return photo_pipeline.summary(8, times | ({} if name == "tiny" else {"loop": np.array([8.0, 10.0])}))

    monkeypatch.setattr(photo_pipeline, "alone", alone)
    photo_pipeline.main(["tiny"], 40, 2, 1, tmp_path)
    photo_pipeline.main(["tiny", "gfpgan"], 40, 2, 1, tmp_path)
    assert asked == [("tiny", 40), ("gfpgan", 40)]
    found = json.loads((tmp_path / "photo_pipeline.json").read_text())["models"]
    assert found["tiny"]["share_outside_network"] == pytest.approx(1 - (0.75 + 0.8) / 2)
    assert found["gfpgan"]["loop"]["ours_over_loop"]["ratio"] == 0.5
    assert "| gfpgan | 0.89 | 22.5% [20.0%, 25.0%] | 0.44 | 0.50" in (tmp_path / "photo_pipeline.md").read_text()
    photo_pipeline.main(["tiny"], 10, 2, 1, tmp_path)
    assert asked[2:] == [("tiny", 10)]


def test_every_photo_has_one_face_that_is_found_and_they_differ():
    detector, photos = CenterFace(), [photo_pipeline.photo(seed) for seed in range(3)]
    for photo in photos:
        [box] = detector(photo).boxes
        assert photo.shape == (864, 1152, 3) and (box[2:] - box[:2]).min() >= photo_pipeline.MIN_FACE
    assert not np.array_equal(photos[0], photos[1])


def test_the_calls_of_a_model_are_noted_and_can_be_made_again(tmp_path):
    model, files = Echo(), photo_pipeline.write_photos(tmp_path / "photos", 3)
    with noted(model, "restore") as network:
        assert photo_pipeline.run(model, CenterFace(), files, tmp_path / "out") == 3
    assert len(network.again) == 1 and network.seconds > 0
    assert network.again[0]().shape == (3, 3, 256, 256) and model.batches == [3, 3]
    assert model.restore.__self__ is model  # as before


def test_the_loop_of_the_scripts_restores_and_pastes_each_face(tmp_path):
    files = photo_pipeline.write_photos(tmp_path / "photos", 2)
    assert restore_one_by_one(files, tmp_path / "same", lambda faces: faces, CenterFace()) == 2
    assert restore_one_by_one(files[:1], tmp_path / "other", lambda faces: -faces, CenterFace()) == 1
    given, same, other = (np.asarray(Image.open(tmp_path / place / "000.jpg")) for place in ("photos", "same", "other"))
    assert psnr(same, given) > 30 > psnr(other, given)


def test_pictures_of_known_resolution_are_measured_and_decided_on(tmp_path, monkeypatch):
    monkeypatch.setattr(effective_resolution, "WAYS", ((256, "cubic"),))
    monkeypatch.setattr(effective_resolution, "MODELS", (64,))
    monkeypatch.setattr(effective_resolution, "milliseconds", lambda side: 1.0)
    for name in ("one_01", "other_01"):
        Image.fromarray(astronaut()).resize((256, 256), Image.Resampling.LANCZOS).save(tmp_path / f"{name}.png")
    effective_resolution.main([tmp_path], "few", 0, tmp_path)
    found = json.loads((tmp_path / "effective_resolution_few.json").read_text())
    everything = found["agreement"]["all"]
    assert everything["cases"] == 2 * 5 * 8  # people, resolutions up to the picture's own, damages
    assert everything["rank_correlation"] > 0.9 and 0.8 < everything["bias"]["mean"] < 1.2
    assert list(found["measured"]["noise 10"]) == ["64", "96", "128", "192", "256"]
    wrong = {factor: row["64"] for factor, row in found["mistakes"].items()}
    assert wrong["1.4"]["restored"]["mean"] < 0.1 and wrong["1.4"]["left_alone"]["mean"] < 0.1
    assert "| 1.4 | 0 [0, 0] |" in (tmp_path / "effective_resolution_few.md").read_text()


def test_mistakes_are_those_of_the_model_alone():
    def case(person, true, measured):
        return effective_resolution.Case(person, 0.5, true, 512, "cubic", "none", measured)

    found = [case(person, *pair) for person in "ab" for pair in ((64, 190), (128, 100), (192, 999), (256, 150))]
    wrong = effective_resolution.mistakes(found, 128, 1.4)
    assert wrong["left_alone"].mean == 0.5 and wrong["restored"].mean == 1
    wrong = effective_resolution.mistakes(found, 128, 1.1)
    assert wrong["left_alone"].mean == 0.5 and wrong["restored"].mean == 0
