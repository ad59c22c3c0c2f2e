"""The score cache (what is known is not scored again, a crash loses nothing) and the command on top of it."""

from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from iqp_adapter.cli import app
from iqp_adapter.core.metrics import canonical
from iqp_adapter.pictures import read_tensor
from iqp_adapter.scoring.score_cache import ScoreCache
from iqp_adapter.scoring.score_files import score_files


class Brightness:
    """Stands in for a scorer: the mean of an image; counts what it is asked, and refuses black images."""

    metric, protocol, lower_better = "brightness", "brightness/v1", False
    earlier = ()

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        if (images.amax((1, 2, 3)) == 0).any():
            raise ValueError("brightness has no score for a black image")
        return images.mean((1, 2, 3))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Five images of 96 px and grey 10, 20, ... 50, and what is none."""
    folder = tmp_path / "images"
    folder.mkdir()
    for level in range(10, 60, 10):
        Image.new("L", (96, 96), level).save(folder / f"{level}.png")
    return folder


@pytest.fixture
def cache(tmp_path) -> ScoreCache:
    with ScoreCache(tmp_path / "cache" / "scores.sqlite") as cache:
        yield cache


def scored(folder: Path, scorer: Brightness, cache: ScoreCache, batch: int = 2) -> dict[str, float | str]:
    files = score_files(sorted(folder.iterdir()), [scorer], cache, batch)
    return {file.path.name: file.error or round(file.scores["brightness"] * 255) for file in files}


def test_what_is_known_is_not_scored_again(folder, cache):
    first, second = Brightness(), Brightness()
    expected = {"10.png": 10, "20.png": 20, "30.png": 30, "40.png": 40, "50.png": 50}
    assert scored(folder, first, cache) == expected
    assert first.batches == [2, 2, 1]
    Image.new("L", (96, 96), 60).save(folder / "30.png")
    assert scored(folder, second, cache) == expected | {"30.png": 60}
    assert second.batches == [1]


def test_the_content_counts_not_the_name(folder, cache):
    scored(folder, Brightness(), cache)
    for file in folder.iterdir():
        file.rename(file.with_stem(f"new {file.stem}"))
    again = Brightness()
    assert scored(folder, again, cache)["new 10.png"] == 10
    assert not again.batches


def test_another_protocol_is_another_score(folder, cache):
    scored(folder, Brightness(), cache)
    changed = Brightness()
    changed.protocol = "brightness/v2"
    scored(folder, changed, cache)
    assert sum(changed.batches) == 5


def test_bad_files_are_named_and_the_rest_goes_on(folder, cache):
    (folder / "25.png").write_bytes(b"no image")
    (folder / "35.png").write_bytes((folder / "30.png").read_bytes()[:60])
    Image.new("L", (96, 96), 0).save(folder / "45.png")
    results = scored(folder, Brightness(), cache, batch=8)
    assert results["25.png"] == "not a picture that can be read"
    assert isinstance(results["35.png"], str)
    assert results["45.png"] == "brightness has no score for a black image"
    assert [results[f"{level}.png"] for level in range(10, 60, 10)] == [10, 20, 30, 40, 50]
    assert list(results) == sorted(results)


def test_sizes_are_not_mixed_in_a_batch(folder, cache):
    Image.new("L", (64, 96), 35).save(folder / "35.png")
    scorer = Brightness()
    assert scored(folder, scorer, cache, batch=8)["35.png"] == 35
    assert scorer.batches == [3, 1, 2]


def test_images_come_upright_and_in_rgb(tmp_path):
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[0, 0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    Image.fromarray(pixels).save(tmp_path / "lying.png", exif=exif)
    image = read_tensor(tmp_path / "lying.png")
    assert image.shape == (3, 3, 2)
    assert image[0, 0, 1] == 1 and image.sum() == 1


def test_a_file_that_is_no_cache_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("precious " * 1000)
    with pytest.raises(OSError, match="does not open as a score cache .*; name another file"):
        ScoreCache(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text().startswith("precious")


WRITER = """
import sys
from iqp_adapter.scoring.score_cache import ScoreCache
cache = ScoreCache(sys.argv[1])
for number in range(10**9):
    cache.put("p", {f"{number}-{part}": number for part in range(3)})
    print(number, flush=True)
"""


def test_a_killed_process_loses_nothing_that_was_put(tmp_path, root):
    path = tmp_path / "scores.sqlite"
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as writer:
        last = [int(writer.stdout.readline()) for _ in range(20)][-1]
        writer.send_signal(signal.SIGKILL)
    with ScoreCache(path) as cache:
        assert all(cache.get(f"{number}-{part}", "p") == number for number in range(last + 1) for part in range(3))
    [(count,)] = sqlite3.connect(path).execute("SELECT count(*) FROM scores_2")
    assert count % 3 == 0


def run(*arguments: object, home: Path) -> tuple[int, str]:
    words = ["score", *map(str, arguments), "--cache", str(home / "scores.sqlite"), "--device", "cpu"]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    return result.exit_code, result.output


@pytest.fixture
def photos(tmp_path) -> Path:
    """The astronaut sharp and blurred."""
    from skimage.data import astronaut

    folder = tmp_path / "photos"
    folder.mkdir()
    photo = Image.fromarray(astronaut()).crop((96, 0, 352, 256))
    photo.save(folder / "a sharp.png")
    photo.resize((32, 32)).resize((256, 256)).save(folder / "b soft.png")
    return folder


def test_the_command_shows_and_writes_the_scores(photos, tmp_path):
    table, report, lite = tmp_path / "s.csv", tmp_path / "s.json", canonical("iqp-lite")
    code, output = run(photos, "-m", "iqp-lite", "-m", "piqe", "--csv", table, "--json", report, home=tmp_path)
    assert code == 0
    rows = list(csv.DictReader(table.open()))
    assert [Path(row["file"]).name for row in rows] == ["a sharp.png", "b soft.png"]
    assert float(rows[0][lite]) > float(rows[1][lite])
    assert float(rows[0]["piqe"]) < float(rows[1]["piqe"])
    assert f"{float(rows[0][lite]):.3f}" in output
    content = json.loads(report.read_text())
    seen = content["metrics"][lite]
    assert (seen["protocol"], seen["lower_better"]) == (lite.replace("@", "/v"), False)
    assert seen["scale"]["name"] == "all" and "quality by 'all'" in output.replace("\n", " ")
    assert content["files"][0]["scores"]["piqe"] == float(rows[0]["piqe"])


def test_the_command_names_bad_files_and_ends_with_1(photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    code, output = run(photos, home=tmp_path)
    assert code == 1
    assert "broken.jpg" in output and "a sharp.png" in output


def test_the_command_overwrites_nothing(photos, tmp_path):
    (tmp_path / "mine.csv").write_text("precious")
    code, output = run(photos, "--csv", tmp_path / "mine.csv", home=tmp_path)
    assert code == 2 and "would be overwritten" in output
    assert (tmp_path / "mine.csv").read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no image at nowhere"),
        (["{photos}", "-m", "niqee"], "unknown metric 'niqee'; nearest: niqe"),
        (["{photos}", "-m", "niqe", "-m", "piqe", "--weights", "w.pth"], "--weights belongs to one metric"),
    ],
)
def test_mistakes_are_one_line(photos, tmp_path, arguments, message):
    code, output = run(*(word.format(photos=photos) for word in arguments), home=tmp_path)
    assert code == 2 and message in " ".join(output.split())
