"""Does a model have the faults that were seen on real faces? Five of them, each measured, beside input and original.

python -m benchmarks.native.faults --model tiny --model NAME=FOLDER --faces FACES/dev --faces PORTRAITS/dev

Specks: colours that are invented on grey faces. Halos: leaving the original's range where hair meets background.
Bleaching: skin whose broad colours moved, also by how light the skin is. Erased glasses: drawn frames that are gone,
and edges around the eyes. Darkened contours: lines, and crescents below eyes and nostrils.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from torch import Tensor

from benchmarks.common.inputs import Pictures, SeedsOption, load_model, restore
from benchmarks.common.results import RESULTS, OutOption, page, provenance, write_json, write_text
from benchmarks.common.sets import (
    QUALITY,
    ModelsOption,
    SetsOption,
    SideOption,
    check_sets,
    described,
    load_set,
    named,
    quality_of,
    set_name,
    side_of,
)
from benchmarks.native.checks.bleaching import bleaching, skin_lightness
from benchmarks.native.checks.contours import contours
from benchmarks.native.checks.glasses import FRAMES, Frame, edges_lost, frame_lost, worn
from benchmarks.native.checks.halos import halos
from benchmarks.native.checks.regions import lab_of
from benchmarks.native.checks.specks import specks
from iqp_adapter.bench.intervals import Interval, People
from iqp_adapter.bench.panel import Scores, summary
from iqp_adapter.degradations.discolour import grey
from iqp_adapter.native import IQPFR

ALLOWED = {
    "coloured, %": 0.1,
    "halo, % of the outline": 0.5,
    "skin to the original, CIEDE2000": 0.5,
    "skin to the input, CIEDE2000": 1.5,
    **{f"{frame} lost, %": 5.0 for frame in FRAMES},
    "darkened, % of contours": 1.0,
    "crescents, %": 0.5,
}
"""Measure -> by how much it may exceed the input's: about half of what is seen. More is worse by each of them.

Skin may be as far from the input's as restoring takes: the originals of inputs are 0.8 away.
"""

SKIN = ("skin to the original, CIEDE2000", "skin to the input, CIEDE2000", "skin lightness", "skin chroma")
THIRDS = ("dark", "middle", "bright")

NOTES = (
    "Mean [95 % interval over people] on equal inputs; differences are paired by picture. More is worse, but for "
    "lightness, chroma and the change along contours, which have a sign and are best at 0. A check passes where the "
    "whole interval of the excess over the input is allowed, and fails where none of it is. Allowed are: "
    f"{', '.join(f'{name} {most:g}' for name, most in ALLOWED.items())}."
)

Values = dict[str, Scores]
"""Method -> measure -> one value per picture (N,)."""


class Scene(NamedTuple):
    """The pictures of a set, made for one kind of check.

    Attributes:
        pictures: originals and inputs.
        bicubic: the inputs, enlarged better (N, 3, R, R).
        measure: place of a picture, its restoration in CIELAB (R, R, 3) -> measures.
    """

    pictures: Pictures
    bicubic: Tensor
    measure: Callable[[int, np.ndarray], Mapping[str, float]]


def scenes(folder: Path, side: int | None, seeds: int) -> Iterator[Scene]:
    """The faces as they are, in grey, and with each frame on; equal draws degrade all of them."""
    load = partial(load_set, folder, side, seeds)
    plain = load()
    bare, given = labs(plain.original), labs(plain.degraded)
    yield Scene(plain, load(enlarge="cubic").degraded, partial(of_a_face, bare, given))
    colourless = partial(load, change=grey, grey_probability=1.0)
    yield Scene(colourless(), colourless(enlarge="cubic").degraded, lambda _, restored: specks(restored))
    for name, frame in FRAMES.items():
        framed = partial(load, change=partial(worn, frame=frame))
        pictures = framed()
        measure = partial(of_a_frame, name, frame, bare, labs(pictures.original))
        yield Scene(pictures, framed(enlarge="cubic").degraded, measure)


def labs(pictures: Tensor) -> list[np.ndarray]:
    return [lab_of(picture) for picture in pictures]


def of_a_face(
    originals: list[np.ndarray], inputs: list[np.ndarray], place: int, restored: np.ndarray
) -> dict[str, float]:
    """All checks that need no change of the face."""
    original = originals[place]
    found = halos(restored, original) | bleaching(restored, original, inputs[place]) | contours(restored, original)
    return found | {"edges at the eyes lost, %": edges_lost(restored[..., 0], original[..., 0])}


def of_a_frame(
    name: str, frame: Frame, bare: list[np.ndarray], framed: list[np.ndarray], place: int, restored: np.ndarray
) -> dict[str, float]:
    lightness = (restored[..., 0], framed[place][..., 0], bare[place][..., 0])
    return {f"{name} lost, %": frame_lost(*lightness, frame)}


def measured(scene: Scene, models: Mapping[str, IQPFR], **dial: Any) -> Values:
    """Every method by the measures of a scene."""
    given = scene.pictures
    fixed = {"original": given.original, "input": given.degraded, "bicubic": scene.bicubic}
    methods = fixed | {name: restore(model, given.degraded, **dial) for name, model in models.items()}
    found: Values = {}
    for method, pictures in methods.items():
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


def look(folder: Path, side: int | None, seeds: int, models: Mapping[str, IQPFR], **dial: Any) -> Seen:
    """A folder in all scenes."""
    values: Values = {}
    for scene in scenes(folder, side, seeds):
        found = measured(scene, models, **dial)
        values = {method: values.get(method, {}) | of for method, of in found.items()}
    plain = load_set(folder, side, seeds)
    return Seen(plain.people, np.array([skin_lightness(face) for face in labs(plain.original)]), values)


def result(seen: Seen, models: Sequence[str]) -> dict[str, Any]:
    """Means of a set, differences of each model to the input and to the first model, and what passes."""
    people, values = People(seen.people), seen.values

    def less(model: str, other: str) -> dict[str, Interval]:
        return {measure: people.interval(of - values[other][measure]) for measure, of in values[model].items()}

    excess = {model: less(model, "input") for model in models}
    return {
        "pictures": len(seen.people),
        "people": len(people.names),
        "methods": summary(values, people),
        "less input": excess,
        f"less {models[0]}": {model: less(model, models[0]) for model in models[1:]},
        "verdicts": {
            model: {one: verdict(excess[model][one], most) for one, most in ALLOWED.items()} for model in models
        },
        "skin": by_skin(seen),
    }


def verdict(excess: Interval, most: float) -> str:
    """Whether an excess is allowed: by its whole interval, by none of it, or one cannot tell."""
    if excess.high <= most:
        return "passes"
    return "fails" if excess.low > most else "uncertain"


def by_skin(seen: Seen) -> dict[str, dict[str, dict[str, Interval]]]:
    """Bleaching by thirds of a set, the darkest skin first: third -> method -> measure.

    Thirds are taken within a set: across sets they would tell apart the light of two studios.
    """
    found = {}
    for third, of in zip(THIRDS, np.array_split(np.argsort(seen.skin, kind="stable"), len(THIRDS)), strict=True):
        people = People([seen.people[place] for place in of])
        values = {method: {one: measures[one][of] for one in SKIN} for method, measures in seen.values.items()}
        found[f"{third}, L* {seen.skin[of].min():.0f} to {seen.skin[of].max():.0f}"] = summary(values, people)
    return found


def main(
    models: ModelsOption,
    faces: SetsOption,
    quality: Annotated[str, typer.Option(help=QUALITY)] = "best",
    fidelity: Annotated[float | None, typer.Option(min=0, max=1, help="each model's own by default")] = None,
    side: SideOption = None,
    seeds: SeedsOption = 1,
    out: OutOption = RESULTS / "native",
    name: Annotated[str, typer.Option(help="of the results' files")] = "faults",
) -> None:
    """Every measure of every model on every set, beside input, bicubic and original."""
    started, places = time.perf_counter(), named(models)
    check_sets(faces)
    networks = {label: load_model(place) for label, place in places.items()}
    dial = {"quality": quality_of(quality), "fidelity": fidelity}
    sets = {}
    for folder in faces:
        seen = look(folder, side, seeds, networks, **dial)
        sets[set_name(folder)] = {"side": side_of(folder, side)} | result(seen, list(places))
    content = {
        "sets": sets,
        "allowed": ALLOWED,
        "models": described(networks, fidelity),
        "quality": quality,
        "seconds": time.perf_counter() - started,
    }
    write_json(out / f"{name}.json", content | provenance(0, faces, **places))
    write_text(out / f"{name}.md", page("Faults", NOTES, tables(content, list(places))))


def tables(content: Mapping[str, Any], models: Sequence[str]) -> dict[str, list[list[str]]]:
    """Two tables for every set, by heading: all measures, and bleaching by skin."""
    found: dict[str, list[list[str]]] = {}
    for name, of in content["sets"].items():
        found[f"{name}, {of['side']} px"] = set_table(of, models)
        found[f"{name}: bleaching by how light the skin is"] = skin_table(of)
    return found


def set_table(of: Mapping[str, Any], models: Sequence[str]) -> list[list[str]]:
    first = f"less {models[0]}"
    lines = [
        ["", *of["methods"], *(f"{model} less input" for model in models), *(f"{one} {first}" for one in of[first])]
    ]
    for measure in of["methods"]["input"]:
        values = [str(row[measure]) for row in of["methods"].values()]
        excess = [f"{of['less input'][model][measure]} {of['verdicts'][model].get(measure, '')}" for model in models]
        lines.append([measure, *values, *excess, *(str(row[measure]) for row in of[first].values())])
    return lines


def skin_table(of: Mapping[str, Any]) -> list[list[str]]:
    lines = [["skin", "measure", *of["methods"]]]
    for third, rows in of["skin"].items():
        lines += [[third, measure, *(str(row[measure]) for row in rows.values())] for measure in SKIN]
    return lines


if __name__ == "__main__":
    typer.run(main)
