"""Programs that restore a folder: what they are, by content, and a run of one that ends and leaves nothing behind."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import IO

from .cache import content_of, digest

INPUT, OUTPUT = "{input}", "{output}"
_TAIL = 1 << 14
"""Bytes of a program's words that are kept, the last ones."""


def words_of(text: str) -> list[str]:
    """The words of a command as a shell splits them.

    Raises:
        ValueError: where it cannot be split, and where `{input}` or `{output}` is not in it.
        FileNotFoundError: where its program is not there.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"the command {text!r} cannot be split into words: {error}") from None
    if INPUT not in text or OUTPUT not in text:
        raise ValueError(f"the command {text!r} needs {INPUT} and {OUTPUT}, the folders to read and to write")
    if shutil.which(words[0]) is None:
        raise FileNotFoundError(f"no program {words[0]!r} that can be run, for the command {text!r}; give its path")
    return words


def key_of(words: Sequence[str]) -> str:
    """A hash of a command, of its program, and of every file that it names, also as `--option=FILE`.

    Folders that it names, modules that it imports and variables of the environment are not in it.
    """
    files = [shutil.which(words[0]), *words[1:], *(word.partition("=")[2] for word in words[1:])]
    return digest(*words, *(content_of(Path(file)) for file in files if file and _is_file(file)))


def run_program(words: Sequence[str], seconds: float) -> None:
    """Runs a program without input, and ends it with all that it has started.

    Raises:
        OSError: where it fails, with its last line.
        TimeoutError: where it takes longer than `seconds`.
    """
    with _started(words) as process:
        tails = [_Tail(process.stderr), _Tail(process.stdout)]
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{words[0]} was stopped after {seconds:g} s; give it longer by --timeout") from None
        finally:
            _end(process)
        if process.returncode:
            last = next((lines[-1] for lines in (tail.lines() for tail in tails) if lines), "no output")
            raise OSError(f"{words[0]} {_ending(process.returncode)}: {last}")


def _started(words: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills a program with its children; after its own end, the children that it has left."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()
    process.wait()


class _Tail:
    """Reads a stream to its end and keeps the last bytes, so that a program neither waits nor fills the memory."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self.stream, self.kept = stream, b""
        self.reader = Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        with suppress(ValueError, OSError):  # it is closed
            while self.stream and (block := os.read(self.stream.fileno(), _TAIL)):
                self.kept = (self.kept + block)[-_TAIL:]

    def lines(self) -> list[str]:
        """Lines that say something, without signs that move a terminal's cursor."""
        self.reader.join(5)
        plain = ("".join(sign for sign in line if sign.isprintable()) for line in self._text().splitlines())
        return [line.strip()[:500] for line in plain if line.strip()]

    def _text(self) -> str:
        return self.kept.decode(errors="replace")


def _ending(status: int) -> str:
    if status > 0:
        return f"ended with status {status}"
    names = {each.value: each.name for each in signal.Signals}
    return f"was ended by the signal {names.get(-status, -status)}"


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):  # too long, or a zero byte
        return False
