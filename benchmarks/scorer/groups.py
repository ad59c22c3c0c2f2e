"""Groups of pictures that say what a score must do: follow severity, and ignore who, where and in which light.

A group is one picture under one recipe of distortions at three rising severities, in two looks: 2 x 3 pictures.
The target of a recipe is its full-reference quality (VIF and NLPD) on the face of another person, who has a plain
background and was photographed well; so it cannot depend on who is in the picture, nor on light and background.
A set whose own pictures are no pristine ones names the recipe that they went through, which is part of the target.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from benchmarks.scorer.distortions import Distortion, Rng, as_tensor, distort, load_face, recode
from benchmarks.scorer.looks import (
    BUSY,
    PATTERNS,
    backdrop,
    before,
    busyness,
    cheek_luminance,
    exposed,
    relit,
    scenery,
    side_lit,
)
from benchmarks.scorer.measuring import Samples, measured
from iqp_adapter.bench.intervals import person_of
from iqp_adapter.scoring.lite import FACE, IqpLite
from iqp_adapter.store.files import list_images

Photo = Callable[[np.ndarray], np.ndarray]

LOOKS, STEPS = 2, 3
ALL_LEVELS = (0, 1, 2, 3, 4)
_SIZES = {True: ((128, 256, 384, 512), (0.15, 0.65, 0.1, 0.1)), False: ((128, 256), (0.2, 0.8))}
"""Sides in pixels and how often they are drawn, for pristine pictures and for the others."""

FAINT = ("bilateral", "sharpen")
"""Distortions whose faint steps are the hardest to order."""

_JPEG_QUALITY = {"cse151a": 91, "member_photos": 78}


@dataclass(frozen=True)
class Step:
    """One distortion with its severity and the seed of its draws."""

    distortion: Distortion
    severity: float
    seed: int

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return distort(image, self.distortion, self.severity, np.random.default_rng(self.seed))


@dataclass(frozen=True)
class Source:
    """A picture of a training set.

    Attributes:
        photo: what a pristine face went through to be such a picture; None for a pristine one.
    """

    path: Path
    photo: Photo | None = None


def sources(faces: Path) -> list[Source]:
    """The pictures of a folder, with what is known of each."""
    known = facts_of(faces)
    return [Source(file, _web_photo(known[file.name]) if file.name in known else None) for file in list_images([faces])]


def facts_of(faces: Path) -> dict[str, dict[str, str]]:
    """The rows of `facts.csv` in the folder above, by the names of the files; none where there is no such table."""
    facts = faces.parent / "facts.csv"
    if not facts.is_file():
        return {}
    with facts.open(newline="") as table:
        return {row["file"]: row for row in csv.DictReader(table)}


def _web_photo(facts: Mapping[str, str]) -> Photo:
    """A photo of the web whose face has `native` pixels: reduced to them, compressed, and brought to another size."""
    native, quality = int(facts["native"]), _JPEG_QUALITY[facts["source"]]

    def photo(image: np.ndarray) -> np.ndarray:
        side = image.shape[0]
        small = cv2.resize(image, (native, native), interpolation=_either(side, native))
        large = cv2.resize(recode(small, "JPEG", quality), (512, 512), interpolation=cv2.INTER_CUBIC)
        return cv2.resize(large, (side, side), interpolation=_either(512, side)).clip(0, 1)

    return photo


def _either(side: int, wanted: int) -> int:
    return cv2.INTER_AREA if wanted < side else cv2.INTER_CUBIC


class Groups(Dataset[Samples]):
    """Groups keyed by (seed, index).

    Args:
        sets: folders of aligned faces, drawn from as often one as the other.
        pristine: folder of faces without any degradation, on which targets are measured.
        distortions: that are drawn from, by name.
        backbones: whose statistics are computed.
        count, seed: of groups, and of every draw.
    """

    def __init__(
        self,
        sets: list[Path],
        pristine: Path,
        distortions: Mapping[str, Distortion],
        backbones: tuple[str, ...],
        count: int,
        seed: int,
    ) -> None:
        self.sets = [sources(folder) for folder in sets]
        self.pristine = list_images([pristine])
        self.distortions, self.backbones = dict(distortions), backbones
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Samples:
        """
        Returns:
            `statistics-B` (2, 3, C) of every backbone B, `vif` and `nlpd` (3,), `luminance` and `busyness` of the
            picture as it is (), `set` and `person` (): numbers that stand for them.
        """
        rng = np.random.default_rng((self.seed, index))
        which = int(rng.integers(len(self.sets)))
        place = int(rng.integers(len(self.sets[which])))
        source = self.sets[which][place]
        sides, shares = _SIZES[source.photo is None]
        clean = load_face(source.path, int(rng.choice(sides, p=shares)))
        other = self._other(source, rng)
        recipes = self._recipes(rng)
        truth = [_measured(other, source.photo, recipe, clean.shape[0]) for recipe in recipes]
        looks = [slightly(clean, rng), self._other_look(clean, rng)]
        pictures = torch.cat([as_tensor(_through(look, recipe)) for look in looks for recipe in recipes])
        return {
            **{f"statistics-{name}": statistics(name, pictures).reshape(LOOKS, STEPS, -1) for name in self.backbones},
            **{key: torch.stack([row[key] for row in truth]) for key in ("vif", "nlpd")},
            "luminance": torch.tensor(cheek_luminance(clean)),
            "busyness": torch.tensor(busyness(clean)),
            "set": torch.tensor(which),
            "person": torch.tensor(person_number(source.path)),
        }

    def _other(self, source: Source, rng: Rng) -> Path:
        """A pristine face of somebody else."""
        others = [file for file in self.pristine if person_of(file) != person_of(source.path)]
        return others[rng.integers(len(others))]

    def _recipes(self, rng: Rng) -> list[list[Step]]:
        """The same distortions, of which one has three severities; a third of the groups begins without it."""
        names = rng.choice(list(self.distortions), rng.choice((1, 2, 3), p=(0.6, 0.25, 0.15)), replace=False)
        ladder, *others = (self.distortions[name] for name in names)
        common = [Step(other, float(rng.random() ** 1.3), int(rng.integers(2**31))) for other in others]
        first, second, third = np.sort(rng.random(STEPS) ** 1.3)
        seed, begins_clean = int(rng.integers(2**31)), rng.random() < 1 / 3
        steps = [Step(ladder, float(severity), seed) for severity in (first, second, third)]
        return [common if begins_clean and not place else [*common, step] for place, step in enumerate(steps)]

    def _other_look(self, clean: np.ndarray, rng: Rng) -> np.ndarray:
        return greatly(clean, rng)

    def measured(self, name: str) -> Samples:
        """All groups, measured once for a name, count and seed."""
        return measured(self, f"{name}-{self.count}-{self.seed}")


class HardGroups(Groups):
    """Groups of what a score fails at first: faint steps, strong light, and busy backgrounds."""

    def _recipes(self, rng: Rng) -> list[list[Step]]:
        """One distortion: none of it, a faint one, and one that is seen; half of the groups take one of `FAINT`."""
        names = FAINT if rng.random() < 0.5 else list(self.distortions)
        distortion, seed = self.distortions[str(rng.choice(names))], int(rng.integers(2**31))
        faint = rng.uniform(0, 0.25)
        return [[], *([Step(distortion, severity, seed)] for severity in (faint, faint + rng.uniform(0.1, 0.5)))]

    def _other_look(self, clean: np.ndarray, rng: Rng) -> np.ndarray:
        return starkly(clean, rng)


def slightly(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Mirrored or not, and a little brighter or darker."""
    image = image[:, :: rng.choice((-1, 1))]
    return relit(image, rng.uniform(0.85, 1.18), rng.uniform(0.92, 1.06))


def greatly(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Mirrored or not, before another background where the old one is plain, and in a very different light."""
    image = image[:, :: rng.choice((-1, 1))]
    part = backdrop(np.ascontiguousarray(image)) if rng.random() < 0.7 else None
    if part is not None:
        image = before(image, scenery(PATTERNS[rng.integers(len(PATTERNS))], image.shape[0], rng), part)
    if rng.random() < 0.3:
        image = side_lit(image, rng.uniform(-np.pi, np.pi), rng.uniform(0, 0.5))
    return relit(image, float(np.exp(rng.uniform(-0.6, 0.6))), rng.uniform(0.6, 1.05) * rng.uniform(0.92, 1.05, 3))


def starkly(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Mirrored or not, before a busy background where the old one is plain, and under- or overexposed."""
    image = image[:, :: rng.choice((-1, 1))]
    part = backdrop(np.ascontiguousarray(image)) if rng.random() < 0.9 else None
    if part is not None:
        image = before(image, scenery(BUSY[rng.integers(len(BUSY))], image.shape[0], rng), part)
    return exposed(image, float(np.exp(rng.uniform(-0.8, 0.8))))


def person_number(path: Path) -> int:
    """A number that stands for who is in a picture."""
    return crc32(person_of(path).encode())


def _through(image: np.ndarray, recipe: list[Step]) -> np.ndarray:
    for step in recipe:
        image = step(image)
    return image


def _measured(file: Path, photo: Photo | None, recipe: list[Step], side: int) -> Samples:
    """The full-reference quality of a recipe on a pristine face, which first becomes such a photo."""
    clean = load_face(file, side)
    photographed = photo(load_face(file, 512)) if photo else clean
    photographed = cv2.resize(photographed, (side, side), interpolation=cv2.INTER_AREA)
    return full_reference(as_tensor(_through(photographed, recipe)), as_tensor(clean))


@cache
def instruments(name: str) -> Any:
    """What measures an image; each process of the data loader builds its own."""
    import pyiqa

    if name.startswith("lite"):
        return IqpLite(ALL_LEVELS, backbone=name).eval()
    return pyiqa.create_metric(name, device="cpu")


@torch.no_grad()
def full_reference(image: Tensor, clean: Tensor) -> Samples:
    """VIF on luma, and NLPD on R, G and B as three grey images: on luma alone nothing would see coloured noise."""
    planes = [x.transpose(0, 1).expand(-1, 3, -1, -1) for x in (image, clean)]  # (1, 3, H, W) -> (3, 3, H, W)
    return {
        "vif": instruments("vif")(image, clean).reshape(()),
        "nlpd": instruments("nlpd")(*planes).mean(),
    }


@torch.no_grad()
def statistics(backbone: str, pictures: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) -> statistics of all levels of a backbone, of the whole picture and of the face (B, 2C)."""
    return torch.cat(instruments(backbone).statistics_under((None, FACE), pictures), dim=1)
