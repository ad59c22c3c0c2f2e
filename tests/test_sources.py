"""Where training pictures come from: shards and tables give the samples of the folder that they were made of."""

from __future__ import annotations

import json
import logging
import pickle
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_dataset import assert_same, batches, build, picture
from training_run import config
from typer.testing import CliRunner

from iqp_adapter.cli import app
from iqp_adapter.training import shards, tables
from iqp_adapter.training.dataset import FaceFolder, FacePairs
from iqp_adapter.training.face_sets import set_names
from iqp_adapter.training.native_training import NativeTraining
from iqp_adapter.training.resuming import identity
from iqp_adapter.training.sources import Packed, source_of

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("faces")
    for seed in range(7):
        Image.fromarray(picture(seed)).save(root / f"{seed}.png")
    return root


def packed(folder: Path, path: Path, names: slice = slice(None), inside: str = "set/") -> Path:
    """A shard with the pictures of a folder, and beside each its text, as WebDataset has it."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for file in sorted(folder.iterdir())[names]:
            shard.add(file, f"{inside}{file.name}")
            info = tarfile.TarInfo(f"{inside}{file.stem}.json")
            info.size = 2
            shard.addfile(info, BytesIO(b"{}"))
    return path


def table_of(files: list[Path], **columns) -> datasets.Dataset:
    content = {"image": [None if file is None else {"bytes": file.read_bytes(), "path": None} for file in files]}
    return datasets.Dataset.from_dict(content | columns).cast_column("image", datasets.Image())


@pytest.fixture(scope="module", params=["one shard", "folder of shards", "glob", "saved table", "parquet"])
def source(request, folder, tmp_path_factory) -> str:
    """The pictures of the folder in another form, by the name that a command takes."""
    root = tmp_path_factory.mktemp("packed")
    if request.param in ("saved table", "parquet"):
        table = table_of(sorted(folder.iterdir()), number=list(range(7)))
        if request.param == "parquet":
            table.to_parquet(root / "train-0.parquet")
        else:
            table.save_to_disk(root)
        return f"datasets:{root}"
    packed(folder, root / "s" / "a-0.tar", slice(0, 3))
    packed(folder, root / "s" / "a-1.tar", slice(3, 7))
    names = {
        "one shard": packed(folder, root / "all.tar"),
        "folder of shards": root / "s",
        "glob": root / "s" / "a-*.tar",
    }
    return str(names[request.param])


class TestSamples:
    def test_they_are_those_of_the_folder_in_the_same_order(self, folder, source):
        assert_same(batches(build(source), 6, batch_size=3), batches(build(folder), 6, batch_size=3))

    def test_resuming_inside_an_epoch(self, folder, source):
        assert_same(batches(build(source), 2, batch_size=3, start_step=4), batches(build(folder), 6, batch_size=3)[4:])

    def test_uncached_with_workers_and_pickled_they_are_the_same(self, folder, source):
        data, expected = build(source, cache_bytes=0), batches(build(folder), 4, batch_size=3)
        assert_same(batches(data, 4, batch_size=3, workers=2), expected)
        assert_same(batches(pickle.loads(pickle.dumps(data)), 4, batch_size=3), expected)

    def test_small_ones_are_left_out_by_their_heads_and_named(self, folder, source, tmp_path, caplog):
        (tmp_path / "f").mkdir()
        Image.fromarray(picture(9, 40, 40)).save(tmp_path / "f" / "small.png")
        if source.startswith("datasets:"):
            small = Packed("t", tables.rows(table_of([*sorted(folder.iterdir()), tmp_path / "f" / "small.png"])))
            named = "the table, row 7: 40 x 40 px"
        else:
            small = packed(tmp_path / "f", tmp_path / "x" / "one.tar")
            named = f"{small}/set/small.png: 40 x 40 px"
            small = Packed("t", [*source_of(source).files, *shards.members([small])])
        with caplog.at_level(logging.WARNING):
            assert len(build(small, cache_bytes=0)) == 7
        assert named in caplog.text

    def test_pairs_go_by_name(self, folder, tmp_path):
        for place in (3, 1, 0, 2, 4, 5, 6):
            (tmp_path / "lq").mkdir(exist_ok=True)
            Image.fromarray(255 - picture(place)).save(tmp_path / "lq" / f"{place}.png")
        shard = packed(tmp_path / "lq", tmp_path / "s" / "lq.tar", inside="")
        for inputs in (shard, tmp_path / "lq"):
            sample = FacePairs(packed(folder, tmp_path / "s" / "hq.tar"), inputs, 64)[0, 2]
            torch.testing.assert_close(sample["lq"], 1 - sample["hq"], atol=1 / 254, rtol=0)
        with pytest.raises(ValueError, match=r"1 of 7 pictures \(set/6.png\) have no partner in .*part.tar, or"):
            FacePairs(tmp_path / "s" / "hq.tar", packed(tmp_path / "lq", tmp_path / "part.tar", slice(0, 6)), 64)


class TestIdentity:
    def test_it_tells_other_pictures_and_another_order(self, folder, tmp_path):
        files = sorted(folder.iterdir())
        for pack in (self.in_shard, self.in_table):
            same, again, fewer, turned = (
                identity(FaceFolder(pack(chosen, tmp_path / str(n)), 64))
                for n, chosen in enumerate((files, files, files[1:], files[::-1]))
            )
            assert same == again
            assert same["sha256"] not in (fewer["sha256"], turned["sha256"])
            assert same["pictures"] == 7

    @staticmethod
    def in_shard(files: list[Path], place: Path) -> Packed:
        place.mkdir()
        with tarfile.open(place / "x.tar", "w") as shard:
            for file in files:
                shard.add(file, file.name)
        return Packed("t", shards.members([place / "x.tar"]))

    @staticmethod
    def in_table(files: list[Path], place: Path) -> Packed:
        return Packed("t", tables.rows(table_of(files)))

    def test_sets_are_named_after_them(self):
        names = ["s/a-*.tar", "datasets:owner/faces:train", "x/photos"]
        assert set_names(list(map(Path, names))) == ["a-*.tar", "faces:train", "photos"]


class TestShards:
    def test_a_packed_one_is_one_line(self, folder, tmp_path):
        with tarfile.open(tmp_path / "x.tar", "w:gz") as shard:
            shard.add(folder / "0.png", "0.png")
        with pytest.raises(OSError, match=r"^.*/x.tar: not a plain tar file, .*; unpack it, or pack it again$"):
            FaceFolder(tmp_path / "x.tar", 64)

    @pytest.mark.parametrize("left", [0.5, 0.02])
    def test_one_that_is_cut_short_is_one_line(self, folder, tmp_path, left):
        whole = packed(folder, tmp_path / "s" / "x.tar")
        (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[: int(whole.stat().st_size * left)])
        with pytest.raises(OSError, match=r"cut.tar: .*cut short"):
            FaceFolder(tmp_path / "cut.tar", 64)

    def test_without_a_picture_it_is_one_line(self, tmp_path):
        (tmp_path / "a.txt").write_text("x")
        with tarfile.open(tmp_path / "x.tar", "w") as shard:
            shard.add(tmp_path / "a.txt", "a.txt")
        with pytest.raises(FileNotFoundError, match=r"^no picture in .*x.tar; pack PNG or JPEG files$"):
            FaceFolder(tmp_path / "x.tar", 64)

    def test_a_damaged_picture_is_left_out_and_named(self, folder, tmp_path, caplog):
        (tmp_path / "f").mkdir()
        (tmp_path / "f" / "a.png").write_bytes((folder / "0.png").read_bytes())
        (tmp_path / "f" / "b.png").write_bytes(b"no picture")
        shard = packed(tmp_path / "f", tmp_path / "x.tar")
        with caplog.at_level(logging.WARNING):
            assert len(FaceFolder(shard, 64)) == 1
        assert f"skipped {shard}/set/b.png: not a picture that can be read" in caplog.text

    def test_a_folder_with_pictures_is_a_folder(self, folder, tmp_path):
        packed(folder, tmp_path / "x.tar")
        (tmp_path / "a.png").write_bytes((folder / "0.png").read_bytes())
        assert [file.name for file in source_of(tmp_path).files] == ["a.png"]


class TestTables:
    def test_a_chosen_order_is_kept(self, folder):
        files = sorted(folder.iterdir())
        turned = table_of(files).select([4, 0, 2])
        data = FaceFolder(Packed("t", tables.rows(turned)), 64)
        for place, chosen in enumerate((4, 0, 2)):
            assert torch.equal(data[0, place]["hq"], FaceFolder(folder, 64)[0, chosen]["hq"])

    def test_a_row_without_a_picture_is_left_out_and_named(self, folder, caplog):
        with caplog.at_level(logging.WARNING):
            data = FaceFolder(Packed("t", tables.rows(table_of([folder / "0.png", None]))), 64)
        assert len(data) == 1 and "skipped the table, row 1: the row holds no picture" in caplog.text

    def test_pictures_that_stand_in_files_beside_it_are_read(self, folder):
        table = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train")
        assert_same(
            batches(build(Packed("t", tables.rows(table))), 3, batch_size=3), batches(build(folder), 3, batch_size=3)
        )

    def test_a_split_and_a_column_are_chosen(self, folder, tmp_path):
        files = sorted(folder.iterdir())
        lq = table_of(files[2:4]).rename_column("image", "lq")
        both = datasets.concatenate_datasets([table_of(files[:2], n=[1, 2]), lq], axis=1)
        datasets.DatasetDict({"train": both, "dev": both.select([0])}).save_to_disk(tmp_path)
        assert len(source_of(f"datasets:{tmp_path}:dev:lq").files) == 1
        assert len(source_of(f"datasets:{tmp_path}:train:image").files) == 2
        with pytest.raises(ValueError, match=r"has 2 columns of pictures; name one of image, lq$"):
            source_of(f"datasets:{tmp_path}")
        with pytest.raises(ValueError, match=r"has no column of pictures 'n'; name one of image, lq$"):
            source_of(f"datasets:{tmp_path}:train:n")

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("datasets:", "'datasets:' is no table; write datasets:OWNER/NAME"),
            ("datasets:a/b:c:d:e", "is no table; write datasets:OWNER/NAME"),
            ("datasets:nowhere/nothing", "^datasets:nowhere/nothing cannot be loaded: "),
            ("datasets:nowhere/nothing@v1:dev", "^datasets:nowhere/nothing@v1:dev cannot be loaded: "),
        ],
    )
    def test_a_wrong_name_is_one_line(self, name, words):
        with pytest.raises(ValueError, match=words) as caught:
            source_of(name)
        assert "\n" not in str(caught.value)

    def test_a_streamed_one_is_refused(self, folder):
        with pytest.raises(TypeError, match=r"^the table is IterableDataset, .* without streaming$"):
            tables.rows(table_of([folder / "0.png"]).to_iterable_dataset())

    def test_without_the_package_it_is_one_line(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "datasets", None)
        with pytest.raises(ImportError, match=r"^tables need a further package: pip install .*datasets\]'$"):
            source_of("datasets:a/b")


def test_a_run_on_shards_and_a_table_goes_on_where_it_stopped(folder, tmp_path):
    table_of(sorted(folder.iterdir())).save_to_disk(tmp_path / "table")
    hq = [packed(folder, tmp_path / "s" / "x.tar"), Path(f"datasets:{tmp_path / 'table'}")]
    whole = NativeTraining(config(4), hq, tmp_path / "whole")
    whole.run_stage("stage1")
    NativeTraining(config(2), hq, tmp_path / "parts").run_stage("stage1")
    NativeTraining(config(4), hq, tmp_path / "parts").run_stage("stage1")
    one, two = (torch.load(tmp_path / run / "stage1" / "state.pt", weights_only=True) for run in ("whole", "parts"))
    assert one["step"] == two["step"] == 4
    assert all(torch.equal(value, two["averaged"][key]) for key, value in one["averaged"].items())
    assert set(json.loads((tmp_path / "whole" / "score_scale.json").read_text())["sets"]) == {"x.tar", "table"}


def test_the_command_takes_them(folder, tmp_path):
    found = CliRunner().invoke(
        app,
        [
            "train",
            "native",
            "--config",
            "no.yaml",
            "--hq",
            str(packed(folder, tmp_path / "x.tar")),
            "-o",
            str(tmp_path),
        ],
    )
    assert "left out" not in found.output and "no.yaml" in found.output
