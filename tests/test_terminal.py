"""What reaches the terminal: no name is obeyed, no sign stops a command; signals that end one are like Ctrl-C."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from typer.testing import CliRunner

from iqp_adapter.cli import app
from iqp_adapter.cli.signals import ended_like_ctrl_c
from iqp_adapter.cli.terminal import cell, say, shown

HOSTILE = "\x1b]0;owned\x07\x1b[31m\x9b2J\u202egnp.\u2028\n\r\x7f\udcff"


@pytest.fixture
def quiet_again():
    """Commands that train have the library log more."""
    logger = logging.getLogger("iqp_adapter")
    before = logger.level
    yield
    logger.setLevel(before)


def test_nothing_that_a_terminal_obeys_is_printed(capsys):
    say(HOSTILE)
    out = capsys.readouterr().out
    assert out == ("\\x1b]0;owned\\x07\\x1b[31m\\x9b2J\\u202egnp.\\u2028\\n\\r\\x7f\\udcff\n")


def test_other_signs_are_printed_as_they_are():
    assert shown("照片 é ↓ 👍.png") == "照片 é ↓ 👍.png"


def test_a_cell_takes_no_name_for_markup():
    assert str(cell("[/red] :smile: \x1b")) == "[/red] :smile: \\x1b"


@pytest.mark.parametrize("words", [["score", "no\x1b[31m.png"], ["restore", "--\x1b[31m"]])
def test_errors_print_no_control_characters(words):
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and "\x1b[31m" not in result.output and "\\x1b[31m" in result.output


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_terminal_may_lack_signs(root, encoding, tmp_path):
    """Standard output and error, typer, rich and what the library logs."""
    code = """
    import logging
    from iqp_adapter.cli.terminal import cell, print_anything, say
    print_anything()
    say("照片"); say("照片", error=True)
    from rich.console import Console
    from rich.table import Table
    table = Table("file ↓"); table.add_row(cell("照片")); Console().print(table)
    logging.getLogger("iqp_adapter").warning("of %s", "照片\\x1b")
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        cwd=root,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )
    assert result.returncode == 0, result.stderr
    for stream in (result.stdout, result.stderr):
        assert ("照片" if encoding == "utf-8" else "\\u7167\\u7247") in stream.decode(encoding)
    assert b"\x1b" not in result.stderr


def test_what_the_library_logs_is_shown(monkeypatch, capsys):
    from iqp_adapter.cli.terminal import Lines

    record = logging.LogRecord("iqp_adapter", logging.WARNING, "", 0, "skipped %s", ("\x1b.png",), None)
    Lines().emit(record)
    assert capsys.readouterr().err == "skipped \\x1b.png\n"


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("heard", [signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)], indirect=True)
def test_signals_that_end_a_process_are_like_ctrl_c(heard):
    before = signal.getsignal(heard)
    with pytest.raises(KeyboardInterrupt), ended_like_ctrl_c():
        os.kill(os.getpid(), heard)
    assert signal.getsignal(heard) is before


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by nohup
    try:
        with ended_like_ctrl_c():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "native", "--config", "no.yaml", "--output", "out", "--hq"],
        ["train", "adapter", "--host", "none", "--config", "no.yaml", "--output", "out", "--hq"],
        ["bench", "--output", "photos", "--hq"],
        ["score", "--weights", "no.pth"],
    ],
    ids=lambda words: words[0],
)
def test_commands_that_look_into_no_subfolder_say_what_they_leave_out(monkeypatch, tmp_path, quiet_again, words):
    """Before its work, which these words end."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name in ("a.png", "more/b.png", "c.cr2"):
        (tmp_path / "photos" / name).touch()
    output = CliRunner().invoke(app, [*words, "photos"]).output
    assert "left out: photos has subfolders with pictures, such as photos/more/b.png; to take those, give" in output
    assert "left out: photos has files of kinds that are not read: 1 (c.cr2); save them as PNG or JPEG" in output
