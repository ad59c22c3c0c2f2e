"""`iqp bench` as a user runs it: offline, at once, again, and with mistakes."""

from __future__ import annotations

import csv
import json
import socket

import numpy as np
import pytest
from bench_pieces import folder_of
from typer.testing import CliRunner

from iqp_adapter.bench.writers import read_report
from iqp_adapter.cli import app
from iqp_adapter.cli.bench import options_of
from iqp_adapter.degradations.kinds import DEGRADATIONS
from iqp_adapter.pictures import read_pixels
from iqp_adapter.provenance import command


def bench(*words: object):
    return CliRunner().invoke(app, ["bench", *map(str, words)])


def go_offline(patched: pytest.MonkeyPatch) -> None:
    """No weights are fetched, and none of this machine's are found."""

    def refuse(*_):
        raise ConnectionError("tests use no network")

    patched.setattr(socket.socket, "connect", refuse)
    patched.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    patched.setenv("IQP_WEIGHTS", "no such folder")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    go_offline(monkeypatch)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """One run with the model that ships, on two people."""
    place = tmp_path_factory.mktemp("cli")
    folder_of(place / "faces", ("ann_1", "bob_1", "cid_1"), side=256)
    words = ["--hq", place / "faces", "--size", 256, "--limit", 2, "--dial", 2, "--quality", "best", "--device", "cpu"]
    words += ["-m", "iqp-lite", "-m", "psnr", "-m", "musiq", "--protocol", "ntire2026", "-o", place / "out"]
    with pytest.MonkeyPatch.context() as patched:
        go_offline(patched)
        return place, words, bench(*words)


def test_it_runs_offline_with_what_ships(ran):
    place, _, result = ran
    assert result.exit_code == 0, result.output
    report = read_report(place / "out" / "report.json")
    assert [method.name for method in report.methods] == ["input", "tiny, best", "tiny, 0", "tiny, 1"]
    assert report.baseline == "input" and len(report.pictures) == 2
    assert {row["method"] for row in csv.DictReader((place / "out" / "report.csv").open())} == set(report.values)
    assert str(place) not in (place / "out" / "report.json").read_text()
    assert len(report.environment["data"]["faces"]["sha256"]) == 64 and report.environment["packages"]["torch"]


def test_what_was_not_run_is_seen_everywhere(ran):
    place, _, result = ran
    assert "not run: musiq/koniq:" in result.output and "not run: fid/vqfr:" in result.output
    text = (place / "out" / "report.md").read_text()
    assert "**Not run: musiq/koniq**" in text and "## ntire2026" in text
    scores = json.loads((place / "out" / "report.json").read_text())["scores"]["ntire2026"]["tiny, best"]
    assert scores["not run"] == ["CLIPIQA", "MANIQA", "MUSIQ", "QALIGN", "FID"] and not scores["complete"]
    assert scores["gate"] == {"not run": "no threshold for the test set faces"}


def test_the_raised_metric_has_its_guards(ran):
    report = read_report(ran[0] / "out" / "report.json")
    guard = report.companions["iqp-lite@native"]
    assert "niqe/basicsr@native" in guard["held out"] and "psnr/rgb@native" not in guard["held out"]
    assert {column.id for column in report.columns} >= {"niqe/basicsr@native", "identity/dlib"}


def test_the_dial_has_its_curve(ran):
    report = read_report(ran[0] / "out" / "report.json")
    assert [point["quality"] for point in report.dial["tiny"]] == [0.0, 1.0]


def test_a_second_time_gives_the_same_and_computes_nothing(ran, monkeypatch):
    from iqp_adapter.native import IQPFR
    from iqp_adapter.scoring.scorer import Scorer

    place, words, _ = ran
    before = (place / "out" / "report.json").read_text()

    def refuse(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(IQPFR, "restore", refuse)
    monkeypatch.setattr(Scorer, "__call__", refuse)
    assert bench(*words).exit_code == 0
    assert (place / "out" / "report.json").read_text() == before


def test_a_kind_of_degradation_that_comes_later_needs_no_change_here(tmp_path, monkeypatch):
    class Dark:
        @classmethod
        def for_resolution(cls, px, share=0.5):
            return lambda hq, seed: hq * share

    monkeypatch.setitem(DEGRADATIONS, "dark", Dark)
    faces, out = folder_of(tmp_path / "faces"), tmp_path / "out"
    words = ["--hq", faces, "--size", 128, "--model", f"dir: {faces}", "-m", "psnr", "--device", "cpu", "-o", out]
    result = bench(*words, "--degradation", "kind=dark", "--degradation", "share=0.25")
    assert result.exit_code == 0, result.output
    inputs, originals = (read_pixels(out / "data" / "faces" / part / "ann_1.png") for part in ("inputs", "originals"))
    np.testing.assert_allclose(inputs, originals / 4, atol=0.5)
    assert f"degradations: {', '.join(DEGRADATIONS)}" in " ".join(bench("--list").output.split())


def test_pictures_may_be_left_out(ran):
    place, words, _ = ran
    assert bench(*words, "--no-pictures").exit_code == 0
    assert read_report(place / "out" / "report.json").images == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to restore; give good faces by --hq FOLDER"),
        (["--lq", "no"], "no folder no; give a folder of pictures, or one of celeba-test"),
        (["--hq", "FACES", "--gt", "FACES"], "1 --gt for 0 --lq"),
        (["--hq", "FACES"], "needs 512 px on the shorter side; choose a smaller size"),
        (["--hq", "FACES", "--size", "128", "-m", "nique"], "unknown protocol 'nique'"),
        (["--hq", "FACES", "--size", "128", "--protocol", "ntire"], "unknown score 'ntire'; there are ntire2025"),
        (["--hq", "FACES", "--size", "128", "--baseline", "x"], "no candidate 'x' to be the baseline"),
        (["--hq", "FACES", "--size", "128", "--model", "tinny"], "'tinny'"),
        (["--hq", "FACES", "--size", "128", "--degradation", "noise"], "--degradation 'noise' has no '='"),
        (["--hq", "FACES", "--size", "128", "--degradation", "kind=fog"], "'fog'; available: face, heavy, underwater"),
        (["--hq", "FACES", "--size", "128", "--weights", "niqe=no.mat"], "no weight file no.mat for niqe"),
    ],
)
def test_mistakes_are_one_line(tmp_path, words, said):
    faces = str(folder_of(tmp_path / "faces"))
    result = bench(*[faces if word == "FACES" else word for word in words], "-o", tmp_path / "out")
    assert result.exit_code == 2 and said in result.output and result.output.count("\n") == 1, result.output


def test_a_folder_of_the_users_is_left_alone(tmp_path):
    (tmp_path / "report.md").write_text("mine")
    result = bench("--hq", folder_of(tmp_path / "faces"), "-o", tmp_path)
    assert result.exit_code == 2 and "is not empty and holds no benchmark" in result.output
    assert (tmp_path / "report.md").read_text() == "mine"


def test_an_interruption_says_how_to_go_on(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("iqp_adapter.bench.run.run", interrupt)
    result = bench("--lq", folder_of(tmp_path / "faces"), "-o", tmp_path / "out")
    assert result.exit_code == 130 and "the same command goes on from here" in result.output


def test_the_list_names_every_protocol():
    from iqp_adapter.bench.protocols import PROTOCOLS

    result = bench("--list")
    assert result.exit_code == 0 and all(name in result.output for name in PROTOCOLS)


def test_the_command_names_no_place_of_this_machine():
    def typed(words):
        return command("iqp bench", options_of(words))

    for start in (["/x/iqp", "bench"], ["/x/iqp", "--debug", "bench"], ["/x/benchmarks/launch.py"]):
        assert typed([*start, "--hq", "/a/b/faces/val", "-o", "out"]) == "iqp bench --hq faces/val -o out"
    words = [
        "iqp",
        "bench",
        "--model",
        "cmd: /a/b/python /c/d/x.py {input} {output}",
        "--weights",
        "fid/vqfr=/a/b/c.pth",
    ]
    assert typed(words) == ("iqp bench --model 'cmd: b/python d/x.py {input} {output}' --weights fid/vqfr=b/c.pth")
    assert typed(["iqp", "bench", "--adapter", "owner/name", "--lq", "a/b/c"]) == (
        "iqp bench --adapter owner/name --lq a/b/c"
    )
