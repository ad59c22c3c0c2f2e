"""The formats of exported programs: what each writes, and what runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from .graph import Program

Arrays = Mapping[str, np.ndarray]
"""Inputs of a program by their names: lq (B, 3, R, R), quality (B, 1), scale (B,), fidelity (B,); float32."""

Session = Callable[[Arrays], Sequence[np.ndarray]]
"""Runs a program: its inputs -> its outputs in their order. One thread at a time."""


class Format(Protocol):
    """A way to write a program and to run it, as a module of this package.

    Attributes:
        FILES: names of the files that it writes.
        PRECISIONS: which it can run, the exact one first.
        PACKAGES: that it needs to write and to run.
        EXTRA: of this library, which installs them.
    """

    FILES: tuple[str, ...]
    PRECISIONS: tuple[str, ...]
    PACKAGES: tuple[str, ...]
    EXTRA: str

    def write(self, program: Program, folder: Path, precision: str, calibration: Iterable[Arrays]) -> None:
        """Writes a program into a folder.

        Args:
            calibration: inputs by which int8 finds its ranges; of no other precision.
        """

    def open(self, folder: Path, precision: str, device: torch.device) -> Session:
        """What runs the program in a folder.

        Raises:
            ValueError: for a file that the engine cannot read, and a precision or device that it has not here.
        """


FORMATS = ("openvino", "onnx")
"""Names of the formats; each is the module of that name here, as `Format`."""


def format_of(name: str) -> Format:
    """The format of that name, whose packages are here.

    Raises:
        ValueError: for another name.
        ImportError: says what to install.
    """
    if name not in FORMATS:
        raise ValueError(f"format is {name!r}; use {' or '.join(FORMATS)}")
    found: Format = import_module(f".{name}", __package__)
    require(found, name)
    return found


def require(found: Format, name: str) -> None:
    """Raises ImportError where a package is missing, and says what to install."""
    if missing := [package for package in found.PACKAGES if find_spec(package) is None]:
        raise ImportError(
            f"engine {name} needs {', '.join(missing)}, which is not installed; pip install iqp_adapter[{found.EXTRA}]"
        )


def is_installed(name: str) -> bool:
    """Whether everything that a format needs is here."""
    found: Format = import_module(f".{name}", __package__)
    return all(find_spec(package) for package in found.PACKAGES)
