"""The table of detectors, by the name that `--detector` takes. A new one is a file beside this one, a line here and
a choice of the command."""

from __future__ import annotations

from collections.abc import Callable

from .centerface import CenterFace
from .detect import Detector
from .retinaface import RetinaFace

DETECTORS: dict[str, Callable[[str], Detector]] = {
    "centerface": lambda device: CenterFace(),
    "retinaface": RetinaFace,
}
"""Each makes a detector for a device ("cpu", "cuda", ...); those that run on the CPU alone ignore it."""


def detector(name: str, device: str = "cpu") -> Detector:
    """The detector of that name.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in DETECTORS:
        raise ValueError(f"unknown detector {name!r}; available: {', '.join(DETECTORS)}")
    return DETECTORS[name](device)
