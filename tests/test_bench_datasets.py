"""Test sets: every picture has its counterpart, degradations come again, and nothing of the user's is replaced."""

from __future__ import annotations

import shutil
import zipfile

import numpy as np
import pytest
from bench_pieces import PEOPLE, folder_of, photo
from PIL import Image

from iqp_adapter.bench.outputs import is_made_of, write_png
from iqp_adapter.bench.test_sets import PUBLISHED, degraded, from_folder, published
from iqp_adapter.degradations.kinds import DEGRADATIONS, degradation_of
from iqp_adapter.degradations.rng import sample_seed
from iqp_adapter.pictures import read_pixels
from iqp_adapter.store import hub
from iqp_adapter.store.files import sha256_of


class TestFolders:
    def test_inputs_alone(self, tmp_path):
        samples = from_folder(folder_of(tmp_path / "lfw"))
        assert [sample.name for sample in samples] == sorted(PEOPLE)
        assert {sample.dataset for sample in samples} == {"lfw"} and samples[0].original is None
        assert [sample.group for sample in samples] == ["ann", "ann", "bob", "cid"]

    def test_originals_are_found_by_stem_whatever_the_order_and_the_suffix(self, tmp_path):
        inputs = folder_of(tmp_path / "lq")
        originals = folder_of(tmp_path / "gt", PEOPLE[::-1], suffix=".bmp")
        for sample in from_folder(inputs, originals):
            assert sample.original is not None and sample.original.stem == sample.input.stem == sample.name

    @pytest.mark.parametrize(
        ("given", "wanted", "said"),
        [
            (PEOPLE, PEOPLE[:3], r"1 \(cid_1\) missing, 0 left over"),
            (PEOPLE[:2], PEOPLE, r"0 missing, 2 \(bob_1, cid_1\) left over"),
        ],
    )
    def test_a_picture_without_its_counterpart_is_an_error(self, tmp_path, given, wanted, said):
        with pytest.raises(ValueError, match=said):
            from_folder(folder_of(tmp_path / "lq", given), folder_of(tmp_path / "gt", wanted))

    def test_two_files_of_one_stem_are_an_error(self, tmp_path):
        inputs = folder_of(tmp_path / "lq")
        folder_of(inputs, PEOPLE[:1], suffix=".jpg")
        with pytest.raises(ValueError, match=r"ann_1.jpg and ann_1.png; stems must be unique"):
            from_folder(inputs)

    def test_another_size_of_the_original_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match=r"\(64, 64\) and its original \(128, 128\); bring them to one size"):
            from_folder(folder_of(tmp_path / "lq", side=64), folder_of(tmp_path / "gt"))

    def test_folders_in_a_folder_are_test_sets(self, tmp_path):
        for name in ("CelebA", "Wider-Test"):
            folder_of(tmp_path / "lq" / name)
            folder_of(tmp_path / "gt" / name)
        samples = from_folder(tmp_path / "lq", tmp_path / "gt")
        assert [sample.dataset for sample in samples] == ["CelebA"] * 4 + ["Wider-Test"] * 4
        assert all(str(sample.original).split("/")[-2] == sample.dataset for sample in samples)
        shutil.rmtree(tmp_path / "gt" / "CelebA")
        with pytest.raises(ValueError, match=r"1 \(CelebA\) missing"):
            from_folder(tmp_path / "lq", tmp_path / "gt")

    def test_nothing_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="give a folder of pictures, or one of celeba-test"):
            from_folder(tmp_path / "no")
        with pytest.raises(FileNotFoundError, match="no pictures in"):
            from_folder(tmp_path)


class TestDegraded:
    @pytest.mark.parametrize("kind", DEGRADATIONS)
    def test_it_is_the_degradation_of_the_seed_of_any_kind(self, tmp_path, kind):
        faces = folder_of(tmp_path / "faces")
        [sample] = degraded(faces, tmp_path / "out", limit=1, size=128, seed=7, changes={"kind": kind})
        assert sample.original is not None
        clean = read_pixels(sample.original)
        np.testing.assert_array_equal(clean, photo(0))
        key = sample_seed(7, 0, 0, "degradation", sha256_of(faces / "ann_1.png"))
        expected = degradation_of(128, kind)(clean.astype(np.float32) / 255, key)
        np.testing.assert_array_equal(read_pixels(sample.input), (expected * 255).round().astype(np.uint8))

    def test_neighbours_and_names_change_nothing_and_the_seed_does(self, tmp_path):
        many, few = folder_of(tmp_path / "many"), folder_of(tmp_path / "few", PEOPLE[:1])
        (few / "ann_1.png").rename(few / "zoe_9.png")

        def first(folder, name, **options):
            return read_pixels(degraded(folder, tmp_path / name, size=128, **options)[0].input)

        one = first(many, "a")
        np.testing.assert_array_equal(one, first(few, "b"))
        assert not np.array_equal(one, first(many, "c", seed=1))
        assert not np.array_equal(one, first(many, "d", changes={"grey_probability": 1.0}))

    def test_several_draws_are_several_pictures_of_the_same_people(self, tmp_path):
        samples = degraded(folder_of(tmp_path / "faces"), tmp_path / "out", limit=2, size=128, draws=2)
        assert [sample.name for sample in samples] == ["ann_1~0", "ann_1~1", "ann_2~0", "ann_2~1"]
        assert {sample.group for sample in samples} == {"ann"} and samples[0].original == samples[1].original
        assert not np.array_equal(read_pixels(samples[0].input), read_pixels(samples[1].input))

    def test_a_second_time_nothing_is_written_and_another_seed_replaces(self, tmp_path):
        faces = folder_of(tmp_path / "faces", PEOPLE[:1])
        [sample] = degraded(faces, tmp_path / "out", size=128)
        before = sample.input.stat().st_mtime_ns, sample.input.read_bytes()
        degraded(faces, tmp_path / "out", size=128)
        assert (sample.input.stat().st_mtime_ns, sample.input.read_bytes()) == before
        degraded(faces, tmp_path / "out", size=128, seed=1)
        assert sample.input.read_bytes() != before[1]

    def test_a_picture_of_somebody_is_never_replaced(self, tmp_path):
        faces = folder_of(tmp_path / "faces", PEOPLE[:1])
        theirs = folder_of(tmp_path / "out" / "inputs", PEOPLE[:1]) / "ann_1.png"
        content = theirs.read_bytes()
        with pytest.raises(FileExistsError, match="is no picture of this benchmark"):
            degraded(faces, tmp_path / "out", size=128)
        assert theirs.read_bytes() == content

    def test_a_face_that_is_too_small_is_no_silent_loss(self, tmp_path):
        with pytest.raises(ValueError, match=r"ann_1.png: 128 x 128 px, needs 512 px .* choose a smaller size"):
            degraded(folder_of(tmp_path / "faces"), tmp_path / "out")

    def test_an_attribute_that_does_not_exist(self, tmp_path):
        with pytest.raises(ValueError, match="a degradation has no fog; it has"):
            degraded(folder_of(tmp_path / "faces"), tmp_path / "out", changes={"fog": 1})


class TestPublished:
    @pytest.fixture
    def archive(self, tmp_path, monkeypatch):
        folder_of(tmp_path / "Wider-Test")
        path = tmp_path / "Wider-Test.zip"
        with zipfile.ZipFile(path, "w") as content:
            for file in (tmp_path / "Wider-Test").iterdir():
                content.write(file, f"Wider-Test/{file.name}")
                content.writestr(f"__MACOSX/Wider-Test/._{file.name}", b"")
            content.writestr("../../evil.txt", b"")
        asked = []
        monkeypatch.setattr(hub, "fetch_file", lambda name: asked.append(name) or path)
        return asked

    def test_it_is_fetched_and_unpacked_once(self, tmp_path, archive):
        samples = published("wider-test", tmp_path / "cache")
        assert [sample.name for sample in samples] == sorted(PEOPLE)
        assert {sample.dataset for sample in samples} == {"wider-test"}
        assert archive == ["datasets/LIAGM/DAEFR_test_datasets/Wider-Test.zip"]
        assert published("wider-test", tmp_path / "cache") == samples
        assert not list(tmp_path.rglob("evil.txt"))

    def test_a_name_that_nobody_knows(self, tmp_path):
        with pytest.raises(ValueError, match="no test set 'webphoto-test'; published: celeba-test, lfw-test, wider-te"):
            published("webphoto-test", tmp_path)

    def test_celeba_has_originals(self):
        assert PUBLISHED["celeba-test"].originals and not PUBLISHED["lfw-test"].originals


def test_a_picture_says_what_it_was_made_of(tmp_path):
    path = tmp_path / "a" / "b.png"
    write_png(path, photo(0), "one thing")
    assert is_made_of(path, "one thing") and not is_made_of(path, "another")
    with Image.open(path) as picture:
        np.testing.assert_array_equal(np.asarray(picture), photo(0))
    path.write_bytes(path.read_bytes()[:20])
    assert not is_made_of(path, "one thing")
