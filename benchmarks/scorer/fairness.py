"""Does a score depend on who is in the picture, on the light, or on the background? Everybody under equal distortions.

python -m benchmarks.scorer.fairness --set faces=FACES/dev --set portraits=PORTRAITS/dev

Regression: the mean score of a picture over equal distortions, on the luminance of the cheeks and the busyness of the
background, with the set, the source, and the pixels that the face had in its photo as further terms. Relit: the same
pictures with known exposures. Before other scenery: the same people cut out and put before known backgrounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.common.results import provenance, write_json, write_text
from benchmarks.scorer.distortions import SEEN, UNSEEN, as_tensor, distort, load_face
from benchmarks.scorer.groups import facts_of, person_number
from benchmarks.scorer.looks import backdrop, before, busyness, cheek_luminance, exposed, scenery
from benchmarks.scorer.measuring import OUT
from iqp_adapter.bench.intervals import Interval, People, person_of
from iqp_adapter.bench.text import table as markdown
from iqp_adapter.scoring.scorer import Scorer
from iqp_adapter.store.files import list_images

METRICS = ("iqp-lite@1", "iqp-lite", "niqe", "piqe")
SIDE = 256
EXPOSURES = {"half": 0.5, "0.7": 0.7, "1.4": 1.4}
"""Factors of linear light."""

SCENES = ("immunohistochemistry", "retina", "texture", "stripes")
"""The first two are in no training picture."""

RECIPES: dict[str, tuple[str, float] | None] = {
    "none": None,
    "blur": ("blur", 0.45),
    "noise": ("noise", 0.45),
    "jpeg": ("jpeg", 0.55),
    "resample": ("resample", 0.45),
    "motion blur": ("motion_blur", 0.4),
    "impulse noise": ("impulse_noise", 0.3),
}
"""What every picture goes through; the last two are in no training picture."""

Describe = Callable[[Tensor], Tensor]
"""Pictures (B, 3, H, W) -> scores (B,), or statistics (B, C)."""


@dataclass(frozen=True)
class Person:
    """A picture (H, W, 3) and what is known of it."""

    name: str
    number: int
    image: np.ndarray
    group: str
    native: float


def people_of(sets: Sequence[str]) -> list[Person]:
    """The pictures of folders, given as NAME=FOLDER."""
    found = []
    for entry in sets:
        name, folder = entry.split("=", 1)
        known = facts_of(Path(folder))
        for file in list_images([folder]):
            fact = known.get(file.name, {"source": name, "native": "0"})
            face, group = load_face(file, SIDE), f"{name} {fact['source']}"
            found.append(Person(person_of(file), person_number(file), face, group, float(fact["native"])))
    return found


def distorted(image: np.ndarray) -> Tensor:
    """A picture under every recipe: (R, 3, H, W)."""
    rows = []
    for recipe in RECIPES.values():
        rng = np.random.default_rng(7)
        rows.append(as_tensor(distort(image, (SEEN | UNSEEN)[recipe[0]], recipe[1], rng) if recipe else image))
    return torch.cat(rows)


@torch.no_grad()
def described(pictures: Sequence[np.ndarray], describe: Describe, title: str) -> Tensor:
    """Every picture under every recipe: (N, R) or (N, R, C)."""
    from rich.progress import track

    return torch.stack([describe(distorted(picture)) for picture in track(pictures, title)])


class Regression:
    """Regression of a value per picture on luminance and busyness, with intervals over people."""

    def __init__(self, people: Sequence[Person]) -> None:
        self.names = np.array([one.name for one in people])
        self.places = {
            "luminance": np.array([cheek_luminance(one.image) for one in people]),
            "busyness": np.log(np.array([busyness(one.image) for one in people]) + 0.1),
        }
        groups = sorted({one.group for one in people})
        natives = np.array([one.native for one in people])
        own = [np.array([one.group == group for one in people], float) for group in groups]
        native = [np.where(is_own > 0, natives - natives[is_own > 0].mean(), 0) / 100 for is_own in own]
        self.others = np.stack([*own, *(column for column in native if column.any())], axis=1)

    def spans(self, values: np.ndarray) -> dict[str, Interval]:
        """By attribute: the value of its brightest (busiest) tenth less that of its darkest (plainest), by the line.

        Values (N,), one for each picture.
        """
        columns = np.stack(list(self.places.values()), axis=1)
        distance = [tenth_means(column) for column in columns.T]

        def fitted(files: np.ndarray) -> np.ndarray:
            design = np.concatenate([columns, self.others], axis=1)[files]
            return np.linalg.lstsq(design, values[files], rcond=None)[0][: len(distance)] * distance

        whole = fitted(np.arange(len(values)))
        drawn = np.stack([fitted(files) for files in self.draws(1000)])
        low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
        return {name: Interval(float(whole[i]), float(low[i]), float(high[i])) for i, name in enumerate(self.places)}

    def draws(self, count: int) -> list[np.ndarray]:
        owned = [np.flatnonzero(self.names == person) for person in sorted(set(self.names))]
        rng = np.random.default_rng(0)
        return [np.concatenate([owned[i] for i in rng.integers(len(owned), size=len(owned))]) for _ in range(count)]


def tenth_means(values: np.ndarray) -> float:
    """Mean of the highest tenth less that of the lowest."""
    ordered, count = np.sort(values), max(1, len(values) // 10)
    return float(ordered[-count:].mean() - ordered[:count].mean())


def staged(people: Sequence[Person]) -> dict[str, list[tuple[int, np.ndarray]]]:
    """Change of background -> places of the people that could be cut out, and the new pictures."""
    cut = [(place, one.image, part) for place, one in enumerate(people) if (part := backdrop(one.image)) is not None]
    changed: dict[str, list[tuple[int, np.ndarray]]] = {}
    for name in SCENES:
        rng = np.random.default_rng(3)
        changed[name] = [(place, before(image, scenery(name, SIDE, rng), part)) for place, image, part in cut]
    return changed


def shifts(
    people: Sequence[Person], plain: Tensor, describe: Describe, metrics: Sequence[str]
) -> dict[str, dict[str, dict[str, Interval]]]:
    """Kind -> change -> metric: mean change of the score (N, R, S) under all recipes, with its interval over people."""
    light = {
        name: [(place, exposed(one.image, factor)) for place, one in enumerate(people)]
        for name, factor in EXPOSURES.items()
    }
    changes = {"light": light, "background": staged(people)}
    found: dict[str, dict[str, dict[str, Interval]]] = {}
    for kind, of in changes.items():
        found[kind] = {}
        for name, rows in of.items():
            places = [place for place, _ in rows]
            scores = described([picture for _, picture in rows], describe, f"{kind}: {name}")
            moved = (scores - plain[places]).mean(1).numpy()  # (N, S)
            drawn = People([people[place].name for place in places])
            found[kind][name] = {metric: drawn.interval(moved[:, i]) for i, metric in enumerate(metrics)}
    return found


def main(
    sets: Annotated[list[str], typer.Option("--set", help="NAME=FOLDER of aligned faces; may be repeated")],
    metric: Annotated[list[str], typer.Option(help="metric; may be repeated")] = list(METRICS),  # noqa: B006
    name: Annotated[str, typer.Option(help="of the result")] = "dev",
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the result")] = OUT,
) -> None:
    torch.set_num_threads(1)
    people, scorers = people_of(sets), [Scorer(one, device="cpu") for one in metric]

    def describe(pictures: Tensor) -> Tensor:
        return torch.stack([scorer(pictures) for scorer in scorers], dim=-1)  # (R, S)

    plain = described([one.image for one in people], describe, "as they are")  # (N, R, S)
    regression = Regression(people)
    means = plain.mean(1).numpy().astype(float)
    spans = {one: regression.spans(means[:, i]) for i, one in enumerate(metric)}
    content: dict[str, Any] = {"pictures": len(people), "recipes": list(RECIPES), "spans": spans}
    content["shifts"] = shifts(people, plain, describe, metric)
    write_json(out / f"fairness_{name}.json", content | provenance(0, [Path(one.split("=", 1)[1]) for one in sets]))
    write_text(out / f"fairness_{name}.md", report(content, metric, name))


def report(content: dict[str, Any], metrics: Sequence[str], name: str) -> str:
    lines = [["over", *metrics]]
    lines += [[of, *(str(content["spans"][metric][of]) for metric in metrics)] for of in ("luminance", "busyness")]
    moved = [["change", *metrics]]
    for kind, changes in content["shifts"].items():
        moved += [[f"{kind}: {change}", *(str(row[one]) for one in metrics)] for change, row in changes.items()]
    return (
        f"# Fairness of scores on {name}\n\n{markdown(lines)}\n\n"
        "Score of the brightest tenth of cheeks (the busiest tenth of backgrounds) less that of the darkest (the "
        f"plainest), by regression at equal distortions ({', '.join(RECIPES)}) of {content['pictures']} pictures; set, "
        f"source and the face's pixels in its photo are further terms. 95 % intervals over people.\n\n"
        f"{markdown(moved)}\n\n"
        "Change of the score when the same pictures get another exposure (factor of linear light) or another "
        "background, before the same distortions.\n"
    )


if __name__ == "__main__":
    typer.run(main)
