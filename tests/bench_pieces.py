"""Small test sets and candidates for the benchmark's tests, cut out of a photo that scikit-image ships."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from iqp_adapter.bench.candidates import Candidate
from iqp_adapter.bench.test_sets import Sample
from iqp_adapter.pictures import read_pixels

PEOPLE = ("ann_1", "ann_2", "bob_1", "cid_1")


def photo(place: int, side: int = 128) -> np.ndarray:
    """(side, side, 3) uint8; another place, another picture."""
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut()[20 * place : 20 * place + side, 150 : 150 + side])


def folder_of(path: Path, names: Sequence[str] = PEOPLE, side: int = 128, suffix: str = ".png") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        Image.fromarray(photo(place, side)).save(path / f"{name}{suffix}")
    return path


def samples_in(path: Path, side: int = 128) -> list[Sample]:
    """Dark inputs with their originals."""
    originals = folder_of(path / "gt", side=side)
    (path / "lq").mkdir()
    for file in originals.iterdir():
        Image.fromarray(read_pixels(file) // 2).save(path / "lq" / file.name)
    names = sorted(file.stem for file in originals.iterdir())
    return [Sample(n, n.split("_")[0], "set", path / f"lq/{n}.png", originals / f"{n}.png") for n in names]


class Brighter:
    """Restores by a factor, and keeps the names of what it was given; breaks off after `last` pictures."""

    def __init__(self, factor: float, last: int | None = None) -> None:
        self.factor, self.last, self.seen = factor, last, []

    def __call__(self, samples: Sequence[Sample]) -> Iterator[np.ndarray]:
        for sample in samples:
            if len(self.seen) == self.last:
                raise KeyboardInterrupt
            self.seen.append(sample.name)
            yield (read_pixels(sample.input) * self.factor).clip(0, 255).astype(np.uint8)


def brighter(factor: float, name: str = "", **more) -> Candidate:
    name = name or f"x{factor:g}"
    work = more.pop("work", Brighter(factor))
    return Candidate(name, more.pop("model", name), more.pop("quality", None), f"brighter {factor}", work, **more)
