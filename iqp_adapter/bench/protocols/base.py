"""What all families of protocols share: the entry, the measure that it loads, and the files that it needs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...core.metrics import share_a_family
from ...store.fetch import FOLDER, WeightFile, fetch, folders

Kind = Literal["no-reference", "reference", "input", "set"]
"""What a picture is compared with: nothing, its original, the degraded input, or all pictures with a population."""


class Measure(NamedTuple):
    """A loaded protocol: pictures (B, 3, H, W) in [0, 1], what they are compared with, and their names -> (B,).

    `protocol` names library, version and weights. A NaN stands where the protocol gives a picture no value.
    """

    protocol: str
    values: Callable[[Tensor, Tensor, Sequence[str]], Tensor]


Moments = tuple[np.ndarray, np.ndarray]
"""Mean (D,) and covariance (D, D) of features."""


class SetMeasure(NamedTuple):
    """A loaded protocol over a whole set: the Fréchet distance of features to those of a population.

    Attributes:
        features: of pictures (B, 3, H, W) -> (B, D).
        reference: of the population; None takes the originals of the test pictures.
        first: number of pictures that are used; None for all.
    """

    protocol: str
    features: Callable[[Tensor], Tensor]
    reference: Moments | None = None
    first: int | None = None


@dataclass(frozen=True)
class Download:
    """A file that a protocol needs and no package holds.

    Attributes:
        name: of the file.
        page: where a person finds it.
        file: how it is fetched without a person; None where that is not possible.
    """

    name: str
    page: str
    file: WeightFile | None = None

    def path(self) -> Path:
        """Where it is, fetched once.

        Raises:
            OSError: where it is missing and cannot be fetched; says what to do.
        """
        found = next((folder / self.name for folder in folders() if (folder / self.name).is_file()), None)
        if found:
            return found
        if self.file:
            return fetch(self.file)
        raise OSError(f"needs {self.name} from {self.page}; put it into a folder and set {FOLDER} to that")


def released(repository: str, path: str, licence: str) -> Download:
    """A file of a GitHub release."""
    file = WeightFile(f"https://github.com/{repository}/releases/download/{path}", licence)
    return Download(file.filename, file.url, file)


VQFR_DRIVE = "https://drive.google.com/drive/folders/1k3RCSliF6PsujCMIdCD1hNM63EozlDIZ"
"""Where the authors of VQFR keep the files of their evaluation code."""


@dataclass(frozen=True)
class Protocol:
    """One way of judging.

    Attributes:
        id: `metric/variant@preprocessing`.
        lower_better: True where a lower value is a better picture.
        kind: what pictures are compared with: "no-reference", "reference", "input" or "set".
        load: (device, files) -> the measure; the files are those of `download`, or the user's own.
        needs: modules of optional extras without which it is skipped.
        download: files that it needs. pyiqa fetches the files of its metrics itself; they are not listed.
        trained_on: why it is not independent evidence: it shares a backbone or a target with a loss or the scorer.
        note: preprocessing, reference, units, and where it differs from its source.
        pinned: what a value depends on beyond the id, such as the version that an id without one means.
    """

    id: str
    lower_better: bool
    kind: Kind
    load: Callable[[torch.device, Sequence[Path]], Measure | SetMeasure]
    needs: tuple[str, ...] = ()
    download: tuple[Download, ...] = ()
    trained_on: str = ""
    note: str = ""
    pinned: str = ""

    @property
    def metric(self) -> str:
        """The metric without variant and preprocessing: NIQE is NIQE, on whatever pictures."""
        return self.id.split("/")[0].rsplit("@", 1)[0]

    def is_raised_by(self, metrics: Collection[str]) -> bool:
        """Whether any version of the metric, or of a member of it, is among those that something raises."""
        return any(share_a_family(self.metric, metric) for metric in metrics)

    @property
    def label(self) -> str:
        return self.id.removesuffix("@native")

    @property
    def missing(self) -> list[str]:
        return [module for module in self.needs if find_spec(module) is None]

    def files(self, given: Sequence[Path] = ()) -> list[Path]:
        """What `load` is to read: the user's files, else the published ones.

        Raises:
            ModuleNotFoundError: where an extra is not installed.
            OSError: where a file is missing and cannot be fetched.
        """
        if self.missing:
            raise ModuleNotFoundError(f"{', '.join(self.missing)} not installed")
        return list(given) or [download.path() for download in self.download]


class Remembered:
    """Embeds a picture once: originals come back for every degradation and every method.

    Args:
        embed: pictures (B, 3, H, W) -> vectors (B, D).
    """

    def __init__(self, embed: Callable[[Tensor], Tensor]) -> None:
        self._embed = embed
        self._known: dict[bytes, np.ndarray] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) -> vectors (B, D)."""
        keys = [hashlib.sha256(image.contiguous().numpy().tobytes()).digest() for image in images]
        new = {key: image for key, image in zip(keys, images, strict=True) if key not in self._known}
        if new:
            self._known.update(zip(new, kept(self._embed(torch.stack(list(new.values())))), strict=True))
        return torch.from_numpy(np.stack([self._known[key] for key in keys]))


def kept(vectors: Tensor) -> np.ndarray:
    """Small vectors (B, D) of a picture, to keep while the next pictures are read.

    A tensor is not for that: PyTorch aligns its memory, and glibc then does not use the place of the picture that lay
    beside it again, which adds up to a picture for every vector.
    """
    return vectors.numpy().copy()


def resized(images: Tensor, side: int | None) -> Tensor:
    """Pictures (B, 3, H, W) at another side (bicubic); None leaves them as they are."""
    if side is None:
        return images
    return interpolate(images, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
