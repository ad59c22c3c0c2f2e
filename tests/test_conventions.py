"""What every command of `iqp` has: the same help, options, names and manners."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from iqp_adapter.cli import app, common
from iqp_adapter.engines import eager
from iqp_adapter.engines.choice import AUTO, TORCH
from iqp_adapter.engines.formats import FORMATS
from iqp_adapter.photo.detectors import DETECTORS
from iqp_adapter.version import __version__

COMMANDS = [
    ["restore"],
    ["score"],
    ["bench"],
    ["fetch"],
    ["export"],
    ["demo"],
    ["train", "native"],
    ["train", "adapter"],
]
WRITING = [words for words in COMMANDS if words[0] not in ("score", "demo", "env")]


def run(*words: object, width: int = 200) -> str:
    return CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": str(width), "TERM": "dumb"}).output


@pytest.fixture
def picture(tmp_path) -> Path:
    from PIL import Image
    from skimage.data import astronaut

    Image.fromarray(astronaut()[:128, 150:278]).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
class TestEveryCommand:
    def test_has_short_and_long_help_and_the_common_options(self, words):
        short, long = run(*words, "-h"), run(*words, "--help")
        assert short == long
        for option in ("--quiet", "-q", "--verbose", "-v", "--debug", "--help", "-h"):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", short), option

    def test_takes_no_unknown_option_without_a_word(self, words, tmp_path):
        assert run(*words, "--nonsense") != ""


@pytest.mark.parametrize("words", WRITING, ids=" ".join)
def test_what_writes_takes_the_same_option_for_the_place(words):
    assert re.search(r"--output +-o ", run(*words, "-h"))


@pytest.mark.parametrize(("command", "extra"), [("restore", "film"), ("restore", "ray"), ("demo", "demo")])
def test_names_of_extras_are_whole_in_the_help(command, extra):
    assert f"iqp_adapter[{extra}]" in run(command, "-h")


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version(option):
    assert run(option) == f"iqp {__version__}\n"


def test_the_package_is_the_command():
    found = subprocess.run([sys.executable, "-m", "iqp_adapter", "-V"], capture_output=True, text=True, check=True)
    assert found.stdout == f"iqp {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_it(shell):
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    words = [sys.executable, "-m", "iqp_adapter", "--show-completion", shell]
    found = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert "iqp" in found.stdout and "complete" in found.stdout.lower()


@pytest.mark.parametrize(
    "words",
    [
        ["restore", "x.png", "--engine", "fast"],
        ["restore", "x.png", "--precision", "fp8"],
        ["restore", "x.png", "--colour", "sepia"],
        ["restore", "x.png", "--detector", "eyes"],
        ["export", "tiny", "-o", "x", "--format", "coreml"],
        ["bench", "--precision", "fp8"],
    ],
    ids=lambda words: words[-2],
)
def test_choices_are_named_by_their_option(words):
    found = CliRunner().invoke(app, words)
    said = " ".join(found.output.replace("│", " ").split())
    assert found.exit_code == 2 and f"'{words[-2]}'" in said and f"'{words[-1]}' is not one of" in said


def test_the_choices_are_those_of_the_library():
    assert set(get_args(common.Detector)) == set(DETECTORS)
    assert get_args(common.Format) == FORMATS
    assert set(get_args(common.Engine)) == {AUTO, TORCH, *FORMATS}
    known = [eager.PRECISIONS, *(import_module(f"iqp_adapter.engines.{name}").PRECISIONS for name in FORMATS)]
    assert set(get_args(common.Precision)) == set().union(*known)


class TestLoudness:
    @pytest.fixture(autouse=True)
    def levels(self):
        loggers = [logging.getLogger(name) for name in ("iqp", "iqp_adapter")]
        before = [logger.level for logger in loggers]
        yield
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)

    def test_a_quiet_command_prints_nothing_but_errors(self, picture, tmp_path):
        words = ["restore", picture, "--aligned", "-o", tmp_path / "out"]
        assert run(*words, "-q") == "" and (tmp_path / "out" / "a.png").exists()
        assert "restored 1 face in 1 of 1 photo" in run(*words)
        assert "iqp: no image at" in run("score", "-q", tmp_path / "none.png")

    def test_a_table_is_printed_all_the_same(self, picture, tmp_path):
        assert "a.png" in run("score", "-q", picture, "--cache", tmp_path / "c.sqlite")

    def test_no_command_is_as_quiet_as_the_one_before(self, tmp_path):
        run("score", "-q", tmp_path / "none.png")
        assert logging.getLogger("iqp").level == logging.ERROR
        run("score", tmp_path / "none.png")
        assert logging.getLogger("iqp").level == logging.WARNING

    def test_a_verbose_one_prints_what_the_library_logs(self, tmp_path):
        run("score", "-v", tmp_path / "none.png")
        assert logging.getLogger("iqp_adapter").isEnabledFor(logging.INFO)

    @pytest.mark.parametrize("words", [["--debug", "score", "none.png"], ["score", "none.png", "--debug"]])
    def test_traces_are_shown_on_demand(self, words):
        assert isinstance(CliRunner().invoke(app, words).exception, FileNotFoundError)

    def test_quiet_and_verbose_are_refused_together(self):
        assert "--quiet takes neither --verbose nor --debug" in run("fetch", "--list", "-q", "-v")


class TestReports:
    def test_scores_are_printed_as_json_and_nothing_else_is(self, picture, tmp_path):
        found = CliRunner().invoke(app, ["score", str(picture), "--json", "-", "--cache", str(tmp_path / "c.sqlite")])
        assert json.loads(found.stdout)["files"][0]["path"] == str(picture)
        assert not Path("-").exists()

    def test_what_can_be_fetched_is_printed_as_json(self, tmp_path):
        rows = json.loads(CliRunner().invoke(app, ["fetch", "--list", "--json", "-"]).stdout)
        [one] = [row for row in rows if row["name"] == "codeformer"]
        assert one["licence"].startswith("S-Lab") and len(one["sha256"]) == 64
        run("fetch", "--list", "--json", tmp_path / "list.json")
        assert json.loads((tmp_path / "list.json").read_text()) == rows
        assert "exists" in run("fetch", "--list", "--json", tmp_path / "list.json")

    def test_what_was_restored_is_written_under_either_name(self, picture, tmp_path):
        for option in ("--report", "--json"):
            run("restore", picture, "--aligned", "-o", tmp_path / option, option, tmp_path / f"{option}.json")
        one, two = ((json.loads((tmp_path / f"{option}.json").read_text())) for option in ("--report", "--json"))
        assert one.keys() == two.keys() and "a.png" in json.dumps(two)

    def test_tables_are_not_cut_where_nobody_reads_them(self, picture, tmp_path):
        long = picture.rename(tmp_path / f"{'long' * 40}.png")
        assert long.name in run("score", long, "--cache", tmp_path / "c.sqlite", width=60)
