"""Does a model restore, on every set of faces? Models beside their input and bicubic, each set by itself.

    python -m benchmarks.native.restoration --model tiny --model NAME=FOLDER --quality best --quality any \\
        --faces FACES/val --faces PORTRAITS/val

With several fidelity weights it shows which ones do: `--fidelity 0 --fidelity 0.25 ... --judge psnr --judge fsim`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from benchmarks.common.inputs import Pictures, SeedsOption, load_model, restore
from benchmarks.common.judges import JUDGES, panel_of
from benchmarks.common.results import RESULTS, OutOption, page, provenance, write_json, write_text
from benchmarks.common.sets import (
    MILDEST,
    QUALITY,
    MildestOption,
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
from iqp_adapter.bench.claims import claims_list
from iqp_adapter.bench.intervals import People
from iqp_adapter.bench.panel import NOTE, Panel, Rows, Scores, summary
from iqp_adapter.native import IQPFR
from iqp_adapter.pictures.plots import save_plot

KEPT = ("psnr", "fsim")
"""Judges by which a restoration must not fall below its input."""

FEW = (*KEPT, "iqp-lite", "niqe", "piqe", "perceptual-lite2", "identity")
ALL = (*(name for name in JUDGES if "@" not in name), "iqp-lite@1", "niqe@512")
"""All judges; of those for enlarged pictures NIQE, which sees four blocks only at 256 px."""

INPUT, BICUBIC = "input", "bicubic"


class Method(NamedTuple):
    """A model at one setting; a fidelity of None is its own."""

    model: str
    quality: str
    fidelity: float | None

    def __str__(self) -> str:
        return f"{self.model} {self.quality}" + ("" if self.fidelity is None else f", fidelity {self.fidelity:g}")


def look(
    load: Callable[..., Pictures], models: Mapping[str, IQPFR], methods: Sequence[Method], panel: Panel
) -> tuple[People, dict[str, Scores]]:
    """The people of a set, and values (N,) of input, bicubic and every method by every judge.

    Args:
        load: loads the set, changed as `load_set` is told.
    """
    pictures = load()
    scores = {
        INPUT: panel(pictures.degraded, pictures.original),
        BICUBIC: panel(load(enlarge="cubic").degraded, pictures.original),
    }
    for method in methods:
        quality = quality_of(method.quality)
        restored = restore(models[method.model], pictures.degraded, quality=quality, fidelity=method.fidelity)
        scores[str(method)] = panel(restored, pictures.original)
    return People(pictures.people), scores


def gains(scores: Mapping[str, Scores], rival: str, panel: Panel, people: People) -> Rows:
    """By how much every other method is better than a rival, paired by picture; positive is better by every judge."""
    return {
        method: {judge: people.interval(panel.gain(judge, of[judge], scores[rival][judge])) for judge in of}
        for method, of in scores.items()
        if method not in (rival, INPUT)
    }


def claims(over_input: Rows, methods: Sequence[Method]) -> list[dict[str, Any]]:
    """Whether each method keeps what its input has; the mean decides, the interval says how surely."""
    found = []
    for method, judge in product(map(str, methods), KEPT):
        if judge in over_input[method]:
            gain = over_input[method][judge]
            text = f"{method} does not fall below the input on {judge}"
            found.append({"claim": text, "method": method, "holds": gain.mean >= 0, "gain": gain})
    return found


def main(
    models: ModelsOption,
    faces: SetsOption,
    quality: Annotated[list[str], typer.Option(help=f"{QUALITY}; may be repeated")] = ["best"],  # noqa: B006
    fidelity: Annotated[list[float], typer.Option(min=0, max=1, help="each model's own; may be repeated")] = [],  # noqa: B006
    judge: Annotated[list[str], typer.Option(help='"all", or a judge; may be repeated')] = list(FEW),  # noqa: B006
    side: SideOption = None,
    seeds: SeedsOption = 1,
    mildest: MildestOption = MILDEST,
    out: OutOption = RESULTS / "native",
    name: Annotated[str, typer.Option(help="of the results' files")] = "restoration",
) -> None:
    """Every method on every set: its values, its gains over the input and over the first method, and what it keeps."""
    started, places, panel = time.perf_counter(), named(models), judges_of(judge)
    check_sets(faces)
    weights: list[float | None] = [*fidelity] or [None]
    methods = [Method(*each) for each in product(places, quality, weights)]
    networks = {label: load_model(place) for label, place in places.items()}
    sets: dict[str, Any] = {}
    for folder in faces:
        load = partial(load_set, folder, side, seeds, strength=(mildest, 1.0))
        people, scores = look(load, networks, methods, panel)
        over_input = gains(scores, INPUT, panel, people)
        sets[set_name(folder)] = {
            "side": side_of(folder, side),
            "methods": summary(scores, people),
            "gain over the input": over_input,
            f"gain over {methods[0]}": gains(scores, str(methods[0]), panel, people),
            "claims": claims(over_input, methods),
        }
    content = {
        "sets": sets,
        "keep on every set": keepers(sets, methods),
        "models": described(networks),
        "mildest": mildest,
        "judges": panel.describe(),
        "seconds": time.perf_counter() - started,
    }
    write_json(out / f"{name}.json", content | provenance(0, faces, **places))
    write_text(out / f"{name}.md", markdown(content, panel))
    if len(fidelity) > 1:
        draw(out / f"{name}.png", sets, methods, panel)


def judges_of(names: Sequence[str]) -> Panel:
    """The panel of these judges, or of all.

    Raises:
        typer.BadParameter: for a name that is none of ours.
    """
    if unknown := [name for name in names if name not in ("all", *JUDGES)]:
        raise typer.BadParameter(f"unknown judge {unknown[0]!r}; choose from all, {', '.join(JUDGES)}")
    return panel_of(ALL if "all" in names else list(dict.fromkeys(names)))


def keepers(sets: Mapping[str, Any], methods: Sequence[Method]) -> list[str]:
    """The methods that keep on every set what their input has."""
    lost = {one["method"] for of in sets.values() for one in of["claims"] if not one["holds"]}
    return [str(method) for method in methods if str(method) not in lost]


def markdown(content: Mapping[str, Any], panel: Panel) -> str:
    """The values and gains of every set as tables, and the claims."""
    tables = {}
    for name, of in content["sets"].items():
        for title, rows in of.items():
            if title not in ("side", "claims"):
                heading = f"{name}, {of['side']} px" if title == "methods" else f"{name}: {title}"
                tables[heading] = panel.lines(rows)
    notes = [
        NOTE,
        "Gains are paired by picture; positive is better. A claim holds where the mean gain is not negative.",
    ]
    notes += [f"Skipped: {name}, {reason}." for name, reason in panel.skipped.items()]
    notes.append(f"On every set these keep {' and '.join(KEPT)}: {'; '.join(content['keep on every set']) or 'none'}.")
    listed = [f"{name}\n\n{claims_list(of['claims'])}" for name, of in content["sets"].items()]
    return "\n".join([page("Restoration", " ".join(notes), tables), *listed])


def draw(path: Path, sets: Mapping[str, Any], methods: Sequence[Method], panel: Panel) -> None:
    """A PNG with one plot for every judge: gain over the input by fidelity, one line for each model on each set."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(panel.judges), 3.4), layout="constrained")
    weights = sorted({method.fidelity or 0.0 for method in methods})
    for place, judge in enumerate(panel.judges, start=1):
        axes = figure.add_subplot(1, len(panel.judges), place)
        for (name, of), line in product(sets.items(), dict.fromkeys(method[:2] for method in methods)):
            gained = of["gain over the input"]
            mean, low, high = np.array([gained[str(Method(line[0], line[1], weight))][judge] for weight in weights]).T
            axes.plot(weights, mean, marker=".", label=f"{' '.join(line)}, {name}")
            axes.fill_between(weights, low, high, alpha=0.2)
        axes.axhline(0, color="grey", linewidth=0.8)
        axes.set_title(panel.label(judge), fontsize=10, loc="left")
        axes.set_xlabel("fidelity", fontsize=9)
        axes.grid(alpha=0.25)
    figure.axes[0].legend(fontsize=7)
    save_plot(figure, path)


if __name__ == "__main__":
    typer.run(main)
