"""`iqp score`: no table is lost, whatever the pictures, their names, the console and the disk are like."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from iqp_adapter.cli import app
from iqp_adapter.core.metrics import canonical
from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.scoring.scales import digest_of
from iqp_adapter.scoring.scorer import Scorer
from iqp_adapter.store import checkpoint, hub

module = sys.modules["iqp_adapter.cli.score"]  # the command of that name hides it in the package


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["score", *map(str, arguments), "--device", "cpu"], env={"COLUMNS": "200"})
    return result.exit_code, result.output


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A metric without a network."""
    monkeypatch.setattr(Scorer, "_scores", lambda self, images: images.mean((1, 2, 3)))


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for level in (51, 102, 153, 204):
        Image.new("L", (96, 96), level).save(folder / f"{level}.png")
    return folder


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "scores.sqlite"


def test_a_broken_picture_costs_itself(cases, tmp_path, cache):
    table, report = tmp_path / "t.csv", tmp_path / "t.json"
    code, output = run(cases / "04-broken-png", "--csv", table, "--json", report, "--cache", cache)
    assert code == 1
    [line] = [line for line in output.splitlines() if line.startswith("not scored")]
    assert line.startswith(f"not scored: {cases / '04-broken-png' / 'b_broken.png'}: ")
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [Path(row["file"]).name for row in rows] == ["a.png", "b_broken.png", "c.png", "d_bad_exif.png"]
    assert [bool(row[canonical("iqp-lite")]) for row in rows] == [True, False, True, True]
    assert [bool(file["error"]) for file in json.loads(report.read_text())["files"]] == [False, True, False, False]


def test_scores_of_an_earlier_version_in_the_cache_are_said_and_made_again(photos, cache, second_lite):
    assert run(photos / "51.png", photos / "102.png", "-m", "iqp-lite@1", "--cache", cache)[0] == 0
    code, output = run(photos, "-m", "iqp-lite", "-m", "piqe", "--cache", cache)
    assert code == 0
    assert (
        "2 of 4 images had stale scores in the cache, by iqp-lite/v1, not comparable with iqp-lite@2; "
        "they are scored again"
    ) in " ".join(output.split())
    assert "stale" not in run(photos, "-m", "iqp-lite", "--cache", cache)[1]
    assert "stale" not in run(photos, "-m", "iqp-lite@1", "--cache", cache)[1]


class TestQuality:
    @pytest.fixture
    def weights(self, tmp_path) -> Path:
        """A metric with two score scales, by which the photos' scores of 0.2 to 0.8 have other qualities."""
        config, state = checkpoint.load(hub.BUILTIN / "iqp-lite-1")
        sets = {"scales": {"faces": [0, 1], "[film]": [0.5, 1.0]}, "default_scale": "faces"}
        checkpoint.save(tmp_path / "weights", state, config | {"version": 7} | sets)
        return tmp_path / "weights"

    @pytest.mark.parametrize(
        ("words", "name", "qualities"),
        [([], "faces", [0.4, 0.6, 0.8, 0.2]), (["--scale", "[film]"], "[film]", [0.0, 0.2, 0.6, 0.0])],
    )
    def test_it_is_shown_beside_the_score_with_the_name_of_its_scale(
        self, photos, tmp_path, cache, weights, words, name, qualities
    ):
        table, report = tmp_path / "t.csv", tmp_path / "t.json"
        code, output = run(photos, "--weights", weights, *words, "--csv", table, "--json", report, "--cache", cache)
        assert code == 0 and f"quality by '{name}'" in output and f"{qualities[2]:.3f}" in output
        rows = list(csv.DictReader(table.open(encoding="utf-8")))
        assert list(rows[0]) == ["file", "iqp-lite@7", "quality", "error"]
        assert [float(row["quality"]) for row in rows] == pytest.approx(qualities, abs=1e-6)
        content = json.loads(report.read_text())
        scale = ScoreScale("iqp-lite@7", False, (0.0, 1.0) if name == "faces" else (0.5, 1.0))
        assert content["metrics"]["iqp-lite@7"]["scale"] == {"name": name, "sha256": digest_of(scale)}
        assert [file["quality"]["iqp-lite@7"] for file in content["files"]] == pytest.approx(qualities, abs=1e-6)

    def test_an_unknown_scale_is_refused_with_those_there_are(self, photos, cache, weights):
        code, output = run(photos, "--weights", weights, "--scale", "portraits", "--cache", cache)
        assert code == 2 and "unknown --scale 'portraits'; iqp-lite@7 has faces, [film]" in output
        code, output = run(photos, "-m", "iqp-lite@1", "--scale", "faces", "--cache", cache)
        assert code == 2 and "--scale 'faces': iqp-lite@1 has no scales; leave it out" in output

    def test_a_broken_picture_has_none(self, photos, tmp_path, cache, weights):
        (photos / "a.png").write_bytes(b"no picture")
        code, _ = run(photos, "--weights", weights, "--csv", tmp_path / "t.csv", "--cache", cache)
        rows = {Path(row["file"]).name: row for row in csv.DictReader((tmp_path / "t.csv").open(encoding="utf-8"))}
        assert code == 1 and rows["a.png"]["quality"] == "" and rows["51.png"]["quality"] != ""


def test_names_of_all_kinds_reach_the_table(photos, tmp_path, cache):
    os.rename(photos / "51.png", os.fsencode(photos / "a") + b"\xff.png")
    (photos / "102.png").rename(photos / "[red]b[bold].png")
    (photos / "153.png").rename(photos / "c\x1b[31m\n.png")
    (photos / "204.png").rename(photos / "=1+2.png")
    table, report = tmp_path / "t.csv", tmp_path / "t.json"
    previous = Path.cwd()
    os.chdir(photos)
    try:
        code, output = run("*.png", "--csv", table, "--json", report, "--cache", cache)
    finally:
        os.chdir(previous)
    assert code == 0
    assert "[red]b[bold].png" in output and "\x1b" not in output
    names = [row["file"] for row in csv.DictReader(table.open(encoding="utf-8", newline=""))]
    assert names[0] == "'=1+2.png" and names[1] == "[red]b[bold].png" and "\\udcff" in names[2]
    files = [file["path"] for file in json.loads(report.read_text(encoding="ascii"))["files"]]
    assert sorted(map(os.fsencode, files)) == sorted(os.listdir(os.fsencode(photos)))


def test_a_narrow_console_stops_nothing(photos, tmp_path, cache, root):
    """In a process of its own, since the encoding of a console is decided at the start."""
    (photos / "51.png").rename(photos / "照片.png")
    table = tmp_path / "t.csv"
    arguments = ["score", photos, "-m", "piqe", "--csv", table, "--cache", cache, "--device", "cpu"]
    result = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-c", "from iqp_adapter.cli import app; app()", *arguments],
        env=os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(root), "COLUMNS": "200"},
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert b"piqe (lower is better)" in result.stdout and b"\\u7167\\u7247.png" in result.stdout
    assert "照片.png" in table.read_text(encoding="utf-8")
    warned = [line for line in result.stderr.decode().splitlines() if "EncodingWarning" in line]
    assert not [line for line in warned if "iqp_adapter" in line and "site-packages" not in line]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--csv", "{tmp}/nowhere/t.csv"], "nowhere is no folder that t.csv can be written into; make it first"),
        (["--json", "{tmp}/nowhere/t.json"], "nowhere is no folder that t.json can be written into"),
        (["--csv", "{photos}/51.png"], "51.png would be overwritten; name another file"),
        (["--json", "{photos}"], "would be overwritten"),
        (["--csv", "{tmp}/t", "--json", "{tmp}/photos/../t"], "--csv, --json and --cache name one file twice"),
        (["--csv", "{tmp}/scores.sqlite"], "--csv, --json and --cache name one file twice"),
    ],
)
def test_what_could_not_be_written_is_refused_before_the_work(photos, tmp_path, cache, monkeypatch, arguments, message):
    monkeypatch.setattr(Scorer, "__init__", lambda *_, **__: pytest.fail("work was begun"))
    before = (photos / "51.png").read_bytes()
    code, output = run(photos, "--cache", cache, *(word.format(tmp=tmp_path, photos=photos) for word in arguments))
    assert code == 2 and message in " ".join(output.split())
    assert (photos / "51.png").read_bytes() == before and not cache.exists()


def test_a_file_that_appears_meanwhile_is_not_replaced(photos, tmp_path, cache, monkeypatch):
    table = tmp_path / "t.csv"

    def score(self: Scorer, images: torch.Tensor) -> torch.Tensor:
        table.write_text("precious")
        return images.mean((1, 2, 3))

    monkeypatch.setattr(Scorer, "_scores", score)
    code, output = run(photos, "--csv", table, "--cache", cache)
    assert code == 2 and "exists; name a new file" in " ".join(output.split())
    assert table.read_text() == "precious" and "0.800" in output


def test_an_interruption_keeps_the_scores_so_far(photos, tmp_path, cache, monkeypatch):
    asked = []

    def score(self: Scorer, images: torch.Tensor) -> torch.Tensor:
        asked.append(len(images))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return images.mean((1, 2, 3))

    monkeypatch.setattr(Scorer, "_scores", score)
    code, output = run(photos, "--batch", 1, "--cache", cache)
    assert code == 130
    line = f"interrupted after 2 of 4 images; their scores are in {cache}, and the same command goes on from there"
    assert output.strip() == line
    code, output = run(photos, "--batch", 1, "--cache", cache)
    assert code == 0 and len(asked) == 5 and "0.200" in output


def test_without_a_place_for_the_cache_scores_are_not_kept_and_all_goes_on(photos, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(module, "CACHE", tmp_path / "file" / "scores.sqlite")
    code, output = run(photos, "--cache", tmp_path / "file" / "scores.sqlite")
    assert code == 0 and "scores are not kept: " in output and "0.800" in output


def test_a_user_without_a_home_can_score(photos, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    nowhere = module.default_cache()
    monkeypatch.undo()
    monkeypatch.setattr(Scorer, "_scores", lambda self, images: images.mean((1, 2, 3)))
    monkeypatch.setattr(module, "CACHE", nowhere)
    code, output = run(photos, "--cache", nowhere)
    assert code == 0 and "scores are not kept: " in output and "0.800" in output


def test_a_cache_that_is_named_and_cannot_be_is_refused(photos, tmp_path):
    (tmp_path / "file").touch()
    code, output = run(photos, "--cache", tmp_path / "file" / "scores.sqlite")
    assert code == 2 and "does not open as a score cache" in output
