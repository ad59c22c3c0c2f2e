"""What happens to a visitor's photo: its faces are found once, and restored again whenever the dial moves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..photo import CenterFace, Detector, Faces, Restored, restore_photos
from ..photo.demo import degraded_astronaut
from ..pictures import read_pixels, size_of
from .shelf import Loaded

MEGAPIXELS = 50
"""Of the largest photo that the page takes; `iqp restore` takes larger ones."""

FACES = 16
"""The largest ones of a photo are restored, so that a crowd does not keep other visitors waiting."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A photo, and the faces that were found in it."""

    pixels: np.ndarray
    """(H, W, 3) uint8, upright."""
    faces: Faces
    left_out: int = 0
    """How many faces were found beyond those."""


@dataclass(frozen=True)
class Asked:
    """Where the controls stand.

    Attributes:
        quality: from 0 to 1.
        fidelity: from 0 (detail) to 1 (likeness); None leaves it to the model.
        force: restore faces, too, that have more detail than the model gives.
    """

    quality: float
    fidelity: float | None = None
    force: bool = False


class Visits:
    """Looks at photos, by one detector for all visitors.

    Args:
        detector: by default `CenterFace`, which several threads may ask at once.
    """

    def __init__(self, detector: Detector | None = None) -> None:
        self._detector = detector or CenterFace()
        self._example: Seen | None = None

    def look(self, file: Path) -> Seen:
        """Reads a photo and finds its faces.

        Raises:
            OSError, ValueError: in one line with the file's name, where it cannot be read as one picture, or is too
                large.
        """
        try:
            _check_size(file)
            pixels = read_pixels(file)
        except OSError as error:
            raise OSError(str(error).replace(str(file), file.name)) from error  # visitors know no folder of ours
        return self._seen(pixels)

    def example(self) -> Seen:
        """A degraded photo of an astronaut, the same for everyone."""
        if self._example is None:
            self._example = self._seen(degraded_astronaut())
        return self._example

    def _seen(self, pixels: np.ndarray) -> Seen:
        found = self._detector(pixels)
        largest = np.argsort(-(found.boxes[:, 2:] - found.boxes[:, :2]).prod(1), kind="stable")[:FACES]
        return Seen(pixels, found.take(np.sort(largest)), len(found.boxes) - len(largest))


def _check_size(file: Path) -> None:
    width, height = size_of(file)
    if width * height > MEGAPIXELS * 10**6:
        raise ValueError(
            f"{file.name}: {width * height / 1e6:.0f} megapixels, at most {MEGAPIXELS} here; scale it down, or take "
            f"the command iqp restore"
        )


def restored(seen: Seen, loaded: Loaded, asked: Asked) -> Restored:
    """The photo with its faces restored; nobody looks for them again.

    Raises:
        ValueError: for a quality or fidelity that there is not.
    """
    network = loaded.network
    [found] = restore_photos(
        [seen.pixels],
        network,
        detector=lambda _: seen.faces,
        scorers=loaded.scorers,
        embedder=loaded.embedder,
        quality=asked.quality if network.takes_quality else None,
        fidelity=None if network.own_fidelity is None else asked.fidelity,
        force=asked.force,
    )
    return found
