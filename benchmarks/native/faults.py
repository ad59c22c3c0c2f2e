"""Does a model have the faults that were seen on real faces? Five of them, each measured, beside input and original.

python -m benchmarks.native.faults --model tiny --model NAME=FOLDER --faces FACES/dev --faces PORTRAITS/dev

Specks: colours that are invented on grey faces. Halos: leaving the original's range where hair meets background.
Bleaching: skin whose broad colours moved, also by how light the skin is. Erased glasses: drawn frames that are gone,
and edges around the eyes. Darkened contours: lines, and crescents below eyes and nostrils.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from benchmarks.common.inputs import Pictures, SeedsOption, load_model, restore
from benchmarks.common.results import RESULTS, OutOption, page, provenance, write_json, write_text
from benchmarks.common.sets import (
    MILDEST,
    QUALITY,
    CropsOption,
    MildestOption,
    ModelsOption,
    PhotosOption,
    SetsOption,
    SideOption,
    check_sets,
    described,
    load_crops,
    load_photos,
    load_set,
    named,
    quality_of,
    set_name,
)
from benchmarks.native.checks.bleaching import TO_ORIGINAL, skin_lightness
from benchmarks.native.checks.glasses import FRAMES
from benchmarks.native.checks.regions import lab_of
from benchmarks.native.checks.scenes import INPUT, Scene, real_scenes, scenes
from iqp_adapter.bench.intervals import Interval, People
from iqp_adapter.bench.panel import Scores, summary
from iqp_adapter.native import IQPFR

ALLOWED = {
    "coloured, %": 0.1,
    "halo, % of the outline": 0.5,
    TO_ORIGINAL: 0.5,
    "skin to the input, CIEDE2000": 1.5,
    "skin visibly off, %": 5.0,
    **{f"{frame} lost, %": 5.0 for frame in FRAMES},
    "darkened, % of contours": 1.0,
    "crescents, %": 0.5,
}
"""Measure -> by how much it may exceed the input's without being seen. More is worse by each of them.

Skin may be as far from the input's as restoring takes: the originals of inputs are 0.8 away.
"""

SKIN = (TO_ORIGINAL, "skin to the input, CIEDE2000", "skin visibly off, %", "skin lightness", "skin chroma")
THIRDS = ("dark", "middle", "bright")

NOTES = (
    "Mean [95 % interval over people] on equal inputs; differences are paired by picture. More is worse, but for "
    "lightness, chroma and the change along contours, which have a sign and are best at 0. A check passes where the "
    "whole interval of the excess over the input is allowed, and fails where none of it is. Photos without an original "
    "are compared with themselves. Allowed are: "
    f"{', '.join(f'{name} {most:g}' for name, most in ALLOWED.items())}."
)

Values = dict[str, Scores]
"""Method -> measure -> one value per picture (N,)."""


def measured(scene: Scene, models: Mapping[str, IQPFR], **dial: Any) -> Values:
    """Every method by the measures of a scene."""
    restored = {name: restore(model, scene.degraded, **dial) for name, model in models.items()}
    found: Values = {}
    for method, pictures in {**scene.fixed, **restored}.items():
        rows = [scene.measure(place, lab_of(picture)) for place, picture in enumerate(pictures)]
        found[method] = {measure: np.array([row[measure] for row in rows]) for measure in rows[0]}
    return found


class Seen(NamedTuple):
    """A set by every measure.

    Attributes:
        people: who is on each picture (N,).
        skin: how light the skin on each original is, L* (N,).
        values: of the measures.
    """

    people: list[str]
    skin: np.ndarray
    values: Values


def look(plain: Pictures, made: Iterable[Scene], models: Mapping[str, IQPFR], **dial: Any) -> Seen:
    """Pictures in all scenes that were made of them."""
    values: Values = {}
    for scene in made:
        found = measured(scene, models, **dial)
        values = {method: values.get(method, {}) | of for method, of in found.items()}
    return Seen(plain.people, np.array([skin_lightness(lab_of(face)) for face in plain.original]), values)


def result(seen: Seen, models: Sequence[str]) -> dict[str, Any]:
    """Means of a set, differences of each model to the input and to the first model, and what passes."""
    people, values = People(seen.people), seen.values

    def less(model: str, other: str) -> dict[str, Interval]:
        return {measure: people.interval(of - values[other][measure]) for measure, of in values[model].items()}

    excess = {model: less(model, INPUT) for model in models}
    verdicts = {
        model: {one: verdict(of[one], most) for one, most in ALLOWED.items() if one in of}
        for model, of in excess.items()
    }
    return {
        "pictures": len(seen.people),
        "people": len(people.names),
        "methods": summary(values, people),
        "less input": excess,
        f"less {models[0]}": {model: less(model, models[0]) for model in models[1:]},
        "verdicts": verdicts,
        "skin": by_skin(seen),
    }


def verdict(excess: Interval, most: float) -> str:
    """Whether an excess is allowed: by its whole interval, by none of it, or one cannot tell."""
    if excess.high <= most:
        return "passes"
    return "fails" if excess.low > most else "uncertain"


def by_skin(seen: Seen) -> dict[str, dict[str, dict[str, Interval]]]:
    """Bleaching by thirds of a set, the darkest skin first: third -> method -> measure.

    Thirds are taken within a set: across sets they would tell apart the light of two studios. Without two people for
    each there are none.
    """
    if len(set(seen.people)) < 2 * len(THIRDS):
        return {}
    found = {}
    for third, of in zip(THIRDS, np.array_split(np.argsort(seen.skin, kind="stable"), len(THIRDS)), strict=True):
        people = People([seen.people[place] for place in of])
        values = {
            method: {one: measures[one][of] for one in SKIN if one in measures}
            for method, measures in seen.values.items()
        }
        found[f"{third}, L* {seen.skin[of].min():.0f} to {seen.skin[of].max():.0f}"] = summary(values, people)
    return found


def main(
    models: ModelsOption,
    faces: SetsOption = [],  # noqa: B006
    photos: PhotosOption = [],  # noqa: B006
    crops: CropsOption = [],  # noqa: B006
    quality: Annotated[str, typer.Option(help=QUALITY)] = "best",
    fidelity: Annotated[float | None, typer.Option(min=0, max=1, help="each model's own by default")] = None,
    side: SideOption = None,
    seeds: SeedsOption = 1,
    mildest: MildestOption = MILDEST,
    out: OutOption = RESULTS / "native",
    name: Annotated[str, typer.Option(help="of the results' files")] = "faults",
) -> None:
    """Every measure of every model on every set, beside input, bicubic and original."""
    started, places = time.perf_counter(), named(models)
    check_sets(folders := [*faces, *photos, *crops])
    networks = {label: load_model(place) for label, place in places.items()}
    dial = {"quality": quality_of(quality), "fidelity": fidelity}

    def found(plain: Pictures, made: Iterable[Scene]) -> dict[str, Any]:
        return {"side": plain.original.shape[-1]} | result(look(plain, made, networks, **dial), list(places))

    sets = {}
    for folder in faces:
        degraded = partial(load_set, folder, side, seeds, strength=(mildest, 1.0))
        plain = degraded()
        sets[set_name(folder)] = found(plain, scenes(plain, degraded))
    for folder, load in [*((of, load_photos) for of in photos), *((of, load_crops) for of in crops)]:
        plain = load(folder)
        sets[set_name(folder)] = found(plain, real_scenes(plain))
    content = {
        "sets": sets,
        "allowed": ALLOWED,
        "models": described(networks, fidelity),
        "quality": quality,
        "mildest": mildest,
        "seconds": time.perf_counter() - started,
    }
    write_json(out / f"{name}.json", content | provenance(0, folders, **places))
    write_text(out / f"{name}.md", page("Faults", NOTES, tables(content, list(places))))


def tables(content: Mapping[str, Any], models: Sequence[str]) -> dict[str, list[list[str]]]:
    """Two tables for every set, by heading: all measures, and bleaching by skin."""
    found: dict[str, list[list[str]]] = {}
    for name, of in content["sets"].items():
        found[f"{name}, {of['side']} px"] = set_table(of, models)
        if of["skin"]:
            found[f"{name}: bleaching by how light the skin is"] = skin_table(of)
    return found


def set_table(of: Mapping[str, Any], models: Sequence[str]) -> list[list[str]]:
    first = f"less {models[0]}"
    lines = [
        ["", *of["methods"], *(f"{model} less input" for model in models), *(f"{one} {first}" for one in of[first])]
    ]
    for measure in of["methods"][INPUT]:
        values = [str(row[measure]) for row in of["methods"].values()]
        excess = [f"{of['less input'][model][measure]} {of['verdicts'][model].get(measure, '')}" for model in models]
        lines.append([measure, *values, *excess, *(str(row[measure]) for row in of[first].values())])
    return lines


def skin_table(of: Mapping[str, Any]) -> list[list[str]]:
    lines = [["skin", "measure", *of["methods"]]]
    for third, rows in of["skin"].items():
        lines += [[third, measure, *(str(row[measure]) for row in rows.values())] for measure in rows[INPUT]]
    return lines


if __name__ == "__main__":
    typer.run(main)
