"""The formats of exported programs: what each writes, and what runs it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ..store.words import wants_memory
from .graph import Program

Arrays = Mapping[str, np.ndarray]
"""Inputs of a program by their names: lq (B, 3, R, R), quality (B, 1), scale (B,), fidelity (B,); float32."""

Shape = tuple[int | None, ...]
"""Sizes of an array; None for one that may have any."""


class UnreadableError(ValueError):
    """A program that the engine cannot read, or that fails in it; says why."""


class NotHereError(ValueError):
    """A precision or device that an engine does not have on this machine."""


@dataclass(frozen=True)
class Session:
    """A program that an engine has read.

    Attributes:
        inputs: what it takes, by name.
        run: its inputs -> its outputs. One thread at a time. Raises UnreadableError.
    """

    inputs: Mapping[str, Shape]
    run: Callable[[Arrays], Sequence[np.ndarray]]


class Format(Protocol):
    """A way to write a program and to run it, as a module of this package.

    Attributes:
        FILES: names of the files that it writes.
        PRECISIONS: which it can run, the exact one first.
        PACKAGES: that it needs to run.
        WRITERS: that it needs besides, to write.
        EXTRA: of this library, which installs them.
    """

    FILES: tuple[str, ...]
    PRECISIONS: tuple[str, ...]
    PACKAGES: tuple[str, ...]
    WRITERS: tuple[str, ...]
    EXTRA: str

    def write(self, program: Program, folder: Path, precision: str, calibration: Iterable[Arrays]) -> None:
        """Writes a program into a folder.

        Args:
            calibration: inputs by which int8 finds its ranges; of no other precision.
        """

    def check(self, precision: str, device: torch.device) -> None:
        """Raises NotHereError for a precision or device that it does not have on this machine."""

    def open(self, folder: Path, precision: str, device: torch.device) -> Session:
        """What runs the program in a folder, at a precision and on a device that it has here.

        Raises:
            UnreadableError: for a file that it cannot read.
        """


FORMATS = ("openvino", "onnx")
"""Names of the formats; each is the module of that name here, as `Format`."""


def format_of(name: str) -> Format:
    """The format of that name, which can be run here.

    Raises:
        ValueError: for another name.
        ImportError: says what to install.
    """
    if name not in FORMATS:
        raise ValueError(f"format is {name!r}; use {' or '.join(FORMATS)}")
    found = _module(name)
    _require(found.PACKAGES, name)
    return found


def writing_format_of(name: str) -> Format:
    """The format of that name, which can be written and run here.

    Raises:
        ValueError, ImportError: as `format_of`.
    """
    found = format_of(name)
    _require(found.WRITERS, name)
    return found


def _require(packages: Sequence[str], name: str) -> None:
    if missing := [package for package in packages if find_spec(package) is None]:
        extra = _module(name).EXTRA
        raise ImportError(
            f"engine {name} needs {', '.join(missing)}, which is not installed; pip install iqp_adapter[{extra}]"
        )


def is_installed(name: str) -> bool:
    """Whether a restorer can be exported for a format and run here."""
    found = _module(name)
    return all(find_spec(package) for package in (*found.PACKAGES, *found.WRITERS))


def programs() -> set[str]:
    """Names of the files that a program of any format has."""
    return {file for name in FORMATS for file in _module(name).FILES}


def version_of(package: str) -> str:
    """Of a package that is here, under whatever name it was installed: onnxruntime may come as onnxruntime-gpu."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return str(import_module(package).__version__)


@contextmanager
def unreadable(what: str) -> Iterator[None]:
    """Turns whatever the binary part of an engine raises into one line; that no memory is left stays what it is.

    Raises:
        UnreadableError: says what cannot be done, and why.
    """
    try:
        yield
    except Exception as error:
        if wants_memory(error):
            raise
        raise UnreadableError(f"{what} ({reason(error)})") from None


def reason(error: Exception) -> str:
    """Why an engine failed: the end of what it says, without the places in its source."""
    return " ".join(_PLACE.sub(" ", str(error)).split())[-_LONGEST:] or type(error).__name__


_PLACE = re.compile(r"(?:Exception from )?\S+\.(?:cc|cpp|h|hpp):\d+:?")
_LONGEST = 200


def _module(name: str) -> Format:
    found: Format = import_module(f".{name}", __package__)
    return found
