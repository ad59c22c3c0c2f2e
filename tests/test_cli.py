"""The command `iqp` as such: its commands, its version, and errors in one line."""

from __future__ import annotations

import pytest
from no_memory import NO_MEMORY
from typer.testing import CliRunner

from iqp_adapter import __version__
from iqp_adapter.cli import app
from iqp_adapter.store import files
from iqp_adapter.store.words import USER_ERRORS


def run(*words: str):
    return CliRunner().invoke(app, words)


def test_version():
    assert run("--version").stdout == f"iqp {__version__}\n"


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_names_every_command(words):
    shown = run(*words).output
    assert all(f" {command} " in shown for command in ("restore", "score", "train"))


@pytest.mark.parametrize("command", ["restore", "score", "train native"])
def test_every_command_has_help(command):
    result = run(*command.split(), "--help")
    assert result.exit_code == 0 and "Usage" in result.output


def test_a_user_error_is_one_line_and_status_2(tmp_path):
    result = run("score", str(tmp_path / "no.png"))
    assert result.exit_code == 2
    assert (
        result.output
        == f"iqp: no image at {tmp_path / 'no.png'}; give an image, a folder of images or a glob in quotes\n"
    )


@pytest.mark.parametrize("kind", USER_ERRORS)
def test_every_kind_of_user_error_loses_its_trace(monkeypatch, kind):
    def fail(paths):
        raise kind("what was given;\n what to try")

    monkeypatch.setattr(files, "list_images", fail)
    result = run("score", "a.png")
    assert (result.exit_code, result.output) == (2, "iqp: what was given; what to try\n")


@pytest.mark.parametrize("error", NO_MEMORY.values(), ids=NO_MEMORY)
def test_want_of_memory_is_one_line_that_says_what_to_try(monkeypatch, error):
    def fail(paths):
        raise error

    monkeypatch.setattr(files, "list_images", fail)
    result = run("score", "a.png")
    [line] = result.output.splitlines()
    assert result.exit_code == 2 and line.startswith("iqp: no memory is left (")
    assert line.endswith("); take a smaller batch or smaller pictures, or another device")


@pytest.mark.parametrize(
    ("words", "kind"),
    [(["--debug"], ValueError), ([], KeyError), ([], RuntimeError)],
)
def test_with_debug_and_for_our_own_mistakes_the_trace_is_kept(monkeypatch, words, kind):
    def fail(paths):
        raise kind("oh")

    monkeypatch.setattr(files, "list_images", fail)
    assert isinstance(run(*words, "score", "a.png").exception, kind)
