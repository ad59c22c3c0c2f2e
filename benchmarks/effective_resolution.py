"""Does the effective resolution of a face follow what it is known to be, whatever else was done to the picture?

    python -m benchmarks.effective_resolution --set FACES/dev --set PORTRAITS/dev --name dev

Each face is reduced to a known resolution, enlarged again, and damaged. The second question is how far above a model's
resolution a face may measure before it is left alone: a face of at most the model's resolution should be restored, one
of twice as much should not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import cv2
import numpy as np
import typer
from scipy.stats import spearmanr

from benchmarks.common.results import RESULTS, OutOption, page, provenance, write_json, write_text
from benchmarks.common.timing import seconds
from benchmarks.scorer.looks import cheek_luminance
from iqp_adapter.bench.intervals import Interval, People, person_of
from iqp_adapter.degradations.jpeg import jpeg
from iqp_adapter.photo.detail import effective_resolution
from iqp_adapter.photo.faces import FINEST
from iqp_adapter.pictures import eight_bit, read_pixels
from iqp_adapter.store.files import list_images

RESOLUTIONS = (64, 96, 128, 192, 256, 384, 512)
KERNELS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "Lanczos": cv2.INTER_LANCZOS4}
WAYS = ((512, "linear"), (512, "cubic"), (512, "Lanczos"), (900, "cubic"))
"""Sides that faces are enlarged to, and how."""

FACTORS = (1.2, 1.3, 1.4, 1.5, 1.6, 1.8)
"""How far above a model's resolution a face may measure."""

MODELS = (128, 256)
"""Resolutions of models."""

Damage = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def noise(picture: np.ndarray, rng: np.random.Generator, levels: float) -> np.ndarray:
    return picture + rng.standard_normal(picture.shape, np.float32) * np.float32(levels / 255)


DAMAGES: dict[str, Damage] = {
    "none": lambda picture, rng: picture,
    "a quarter of the light": lambda picture, rng: picture / 4,
    "a third of the contrast": lambda picture, rng: (1 + picture) / 3,
    "noise 4": partial(noise, levels=4),
    "noise 10": partial(noise, levels=10),
    "JPEG 60": lambda picture, rng: jpeg(picture, 60),
    "JPEG 20": lambda picture, rng: jpeg(picture, 20),
    "noise 10, JPEG 60": lambda picture, rng: jpeg(noise(picture, rng, 10), 60),
}
"""What is done to the enlarged face; noise in levels of 255."""


class Face(NamedTuple):
    """A picture (H, W, 3) of a person, float32 in [0, 1], and how bright its cheeks are."""

    person: str
    pixels: np.ndarray
    light: float


class Case(NamedTuple):
    """A face of known resolution, and what was measured."""

    person: str
    light: float
    true: int
    side: int
    kernel: str
    damage: str
    measured: float

    @property
    def octaves(self) -> float:
        """By how many factors of 2 the measure is above the truth."""
        return float(np.log2(max(self.measured, 1) / self.true))


def load(folders: Sequence[Path]) -> list[Face]:
    pictures = [(file, read_pixels(file) / np.float32(255)) for file in list_images(folders)]
    return [Face(person_of(file), pixels, cheek_luminance(pixels)) for file, pixels in pictures]


def cases(faces: Iterable[Face], seed: int) -> Iterator[Case]:
    """Every face at every resolution that it has, in every way and under every damage."""
    rng = np.random.default_rng(seed)
    for face in faces:
        for true in (resolution for resolution in RESOLUTIONS if resolution <= len(face.pixels)):
            small = cv2.resize(face.pixels, (true, true), interpolation=cv2.INTER_AREA)
            for side, kernel in WAYS:
                enlarged = cv2.resize(small, (side, side), interpolation=KERNELS[kernel])
                for name, damage in DAMAGES.items():
                    measured = effective_resolution(eight_bit(damage(enlarged, rng).clip(0, 1)))
                    yield Case(face.person, face.light, true, side, kernel, name, measured)


def agreement(found: Sequence[Case]) -> dict[str, Any]:
    """How the measure follows the truth: rank correlation, bias, and share of the cases that are within a quarter."""
    octaves = np.array([case.octaves for case in found])
    people = People([case.person for case in found])
    return {
        "cases": len(found),
        "rank_correlation": float(spearmanr([case.true for case in found], [case.measured for case in found])[0]),
        "bias": Interval(*(2.0**bound for bound in people.interval(octaves))),
        "spread_in_octaves": float(octaves.std()),
        "within_a_quarter": people.interval((np.abs(octaves) < np.log2(1.25)).astype(float)),
    }


def quantiles(found: Iterable[Case]) -> dict[int, list[float]]:
    """By true resolution: the 5th percentile, the median and the 95th of the measure."""
    by_truth: dict[int, list[float]] = {}
    for case in found:
        by_truth.setdefault(case.true, []).append(case.measured)
    return {true: np.quantile(by_truth[true], (0.05, 0.5, 0.95)).tolist() for true in sorted(by_truth)}


def mistakes(found: Sequence[Case], model: int, factor: float) -> dict[str, Interval]:
    """Shares of the faces that need the model and are left alone, and of those that lose detail and are restored."""
    needing = [case for case in found if case.true <= model]
    losing = [case for case in found if case.true >= 2 * model]
    return {
        "left_alone": _share(needing, [case.measured > factor * model for case in needing]),
        "restored": _share(losing, [case.measured <= factor * model for case in losing]),
    }


def _share(found: Sequence[Case], is_so: Sequence[bool]) -> Interval:
    return People([case.person for case in found]).interval(np.array(is_so, float))


def milliseconds(side: int, rounds: int = 200) -> float:
    """Time for a blurred face, which takes longest, of that many pixels a side before a model of 256 px.

    The fastest call counts: whatever else runs meanwhile only adds.
    """
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 256, (64, 64, 3), np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    return min(seconds(partial(effective_resolution, picture, enough=512)) for _ in range(rounds)) * 1e3


def results(found: Sequence[Case]) -> dict[str, Any]:
    dark = np.quantile([case.light for case in found], 0.1)
    groups = {"all": found, "darkest tenth of the cheeks": [case for case in found if case.light <= dark]}
    groups |= {damage: [case for case in found if case.damage == damage] for damage in DAMAGES}
    for side, kernel in WAYS:
        groups[f"{kernel} to {side} px"] = [case for case in found if (case.side, case.kernel) == (side, kernel)]
    return {
        "agreement": {name: agreement(group) for name, group in groups.items()},
        "measured": {damage: quantiles(groups[damage]) for damage in DAMAGES},
        "mistakes": {str(f): {str(model): mistakes(found, model, f) for model in MODELS} for f in FACTORS},
        "chosen_factor": FINEST,
    }


def report(content: dict[str, Any], name: str) -> str:
    agreeing = [["faces", "rank correlation", "bias", "spread, octaves", "within a quarter"]]
    for group, row in content["agreement"].items():
        cells = [f"{row['rank_correlation']:.3f}", str(row["bias"]), f"{row['spread_in_octaves']:.2f}"]
        agreeing.append([group, *cells, str(row["within_a_quarter"])])
    measured = [["damage", *(f"{true} px" for true in RESOLUTIONS)]]
    for damage, by_truth in content["measured"].items():
        cells = [f"{middle:.0f} ({low:.0f} to {high:.0f})" for low, middle, high in by_truth.values()]
        measured.append([damage, *cells])
    wrong = [["factor", *(f"{model} px: {kind}" for model in MODELS for kind in ("left alone", "restored"))]]
    for factor, by_model in content["mistakes"].items():
        wrong.append([factor, *(str(share) for row in by_model.values() for share in row.values())])
    times = ", ".join(f"{ms:.1f} ms for {side} px" for side, ms in content["milliseconds"].items())
    notes = (
        f"{content['faces']} faces, {content['agreement']['all']['cases']} pictures. Bias: measured over true "
        "resolution, the geometric mean with its 95 % interval over people. Measured: median, 5th and 95th percentile. "
        "Wrong decisions: shares of the faces of at most the model's resolution that are left alone, and of those of "
        f"at least twice its resolution that are restored; the chosen factor is {FINEST}. Time: {times}."
    )
    tables = {"Agreement": agreeing, "Measured, by true resolution": measured, "Wrong decisions": wrong}
    return page(f"Effective resolution on {name}", notes, tables)


def main(
    sets: Annotated[list[Path], typer.Option("--set", help="folder of aligned faces; may be repeated")],
    name: Annotated[str, typer.Option(help="of the result")] = "dev",
    seed: Annotated[int, typer.Option(help="of the noise")] = 0,
    out: OutOption = RESULTS,
) -> None:
    """Measures faces of known resolution and writes the result."""
    from rich.progress import track

    cv2.setNumThreads(1)
    faces = load(sets)
    content = {"faces": len(faces), **results(list(cases(track(faces, "measuring"), seed)))}
    content["milliseconds"] = {side: milliseconds(side) for side in (512, 900, 2500)}
    write_json(out / f"effective_resolution_{name}.json", provenance(seed, sets) | content)
    write_text(out / f"effective_resolution_{name}.md", report(content, name))


if __name__ == "__main__":
    typer.run(main)
