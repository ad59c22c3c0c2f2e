"""Which of the authors' parts is better in our model? Every trained design against ours, with intervals over people.

python -m benchmarks.ablations.compare_designs --run RUN --faces FACES/val --faces PORTRAITS/val

Uses every seed of every design that `benchmarks.ablations.train_design` finished in RUN. Designs are compared at the
seeds that both have.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from benchmarks.ablations.designs import DESIGNS, OURS, STAGES
from benchmarks.common.inputs import Pictures, SeedsOption, load_model, load_sets, restore
from benchmarks.common.judges import panel_of
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json, write_text
from iqp_adapter.bench.curves import dial_result
from iqp_adapter.bench.intervals import Interval, People
from iqp_adapter.bench.panel import Panel, Scores, mean_scores
from iqp_adapter.bench.text import table
from iqp_adapter.core.quality import BEST
from iqp_adapter.native import IQPFR
from iqp_adapter.pictures.plots import save_plot

DRIVING, SECOND = "iqp-lite", "piqe"
"""By these the dial is followed over all levels: the metric of the condition, and a judge that takes little time."""

JUDGES = (DRIVING, "niqe@512", SECOND, "perceptual-lite2", "identity")
LEVELS = np.linspace(1 - BEST, BEST, 5).round(4)
BEFORE, LAST = list(STAGES)[-2:]
UNOPTIMISED = {f"{design} before {LAST}": design for design in (OURS, "map", "ensemble")}
BASES = {name: design.base for name, design in DESIGNS.items()} | UNOPTIMISED
BASES["ensemble before stage3"] = f"{OURS} before {LAST}"
"""What each line is compared with besides ours."""

Seeds = dict[int, "Seen"]


class Seen(NamedTuple):
    """What the judges see of one trained model.

    Attributes:
        best: values (N,) of every judge at the best quality.
        dial: values (L, N) of the driving and of the second judge, one row for each level.
    """

    best: Scores
    dial: Scores


def main(
    run: Annotated[Path, typer.Option(help="folder of the runs")],
    faces: Annotated[list[Path], typer.Option(help="folder of aligned faces, named <person>_<take>; or several")],
    seeds: SeedsOption = 1,
    out: OutOption = RESULTS / "ablations",
    name: Annotated[str, typer.Option(help="of the results' files")] = "designs",
) -> None:
    """Every design against ours by every judge, what its dial does, and how far two seeds of ours are apart."""
    started, panel = time.perf_counter(), panel_of(JUDGES)
    models = {design: trained(run, design, LAST) for design in DESIGNS}
    models |= {line: trained(run, design, BEFORE) for line, design in UNOPTIMISED.items()}
    models = {line: of for line, of in models.items() if of}
    if OURS not in models:
        raise typer.BadParameter(f"there is no trained {OURS} in {run}; use benchmarks.ablations.train_design")
    pictures = load_sets(faces, models[OURS][0].resolution, seeds)
    people = People(pictures.people)
    seen = {line: {seed: look(model, pictures, panel) for seed, model in of.items()} for line, of in models.items()}
    rows = {line: row(line, seen, panel, people) for line in seen}
    noise = differences(seen[OURS][1].best, seen[OURS][0].best, panel, people) if len(seen[OURS]) > 1 else None
    content = {
        "designs": rows,
        "ours, seed 1 against seed 0": noise,
        "input": intervals(panel(pictures.degraded, pictures.original), people),
        "steps": {stage: steps_of(run / f"{OURS}-{min(models[OURS])}" / stage) for stage in STAGES},
        "judges": panel.describe(),
        "seconds": time.perf_counter() - started,
    }
    write_json(out / f"{name}.json", content | provenance(0, faces))
    write_text(out / f"{name}.md", markdown(rows, noise, panel))
    draw(out / f"{name}.png", rows, noise, panel)


def trained(run: Path, design: str, stage: str) -> dict[int, IQPFR]:
    """The models that a stage of a design has left, by seed."""
    folders = {int(folder.name.rpartition("-")[2]): folder / stage / "model" for folder in run.glob(f"{design}-[0-9]*")}
    return {seed: load_model(folder) for seed, folder in sorted(folders.items()) if (folder / "config.json").exists()}


def steps_of(folder: Path) -> int:
    """How long a stage was trained."""
    steps: int = json.loads((folder / "settings.json").read_text(encoding="utf-8"))["steps"]
    return steps


def look(model: IQPFR, pictures: Pictures, panel: Panel) -> Seen:
    """The best quality by every judge, and every level by two."""
    *lower, best = (restore(model, pictures.degraded, quality=float(level)) for level in LEVELS)
    scores = panel(best, pictures.original)
    levels = [panel(restored, pictures.original, only=(DRIVING, SECOND)) for restored in lower] + [scores]
    return Seen(scores, {judge: np.stack([level[judge] for level in levels]) for judge in (DRIVING, SECOND)})


def row(line: str, seen: Mapping[str, Seeds], panel: Panel, people: People) -> dict[str, Any]:
    """A design: its values, its gains over its base and over ours, and its dial, as means over its seeds."""
    of = seen[line]
    dials = {judge: np.mean([one.dial[judge] for one in of.values()], 0) for judge in (DRIVING, SECOND)}
    found: dict[str, Any] = {
        "seeds": list(of),
        "best": intervals(mean_scores([one.best for one in of.values()]), people),
    }
    found["dial"] = {
        judge: dial_result(panel.gain(judge, values, 0 * values), people) for judge, values in dials.items()
    }
    for rival in dict.fromkeys([OURS, BASES[line]]):
        if shared := [seed for seed in of if seed in seen.get(rival, {}) and rival != line]:
            mine, theirs = (mean_scores([each[seed].best for seed in shared]) for each in (of, seen[rival]))
            found[f"against {rival}"] = {"seeds": shared} | differences(mine, theirs, panel, people)
    return found


def differences(mine: Scores, theirs: Scores, panel: Panel, people: People) -> dict[str, Interval]:
    """By how much the first ones are better, paired by picture."""
    return {judge: people.interval(panel.gain(judge, mine[judge], theirs[judge])) for judge in mine}


def intervals(scores: Scores, people: People) -> dict[str, Interval]:
    return {judge: people.interval(values) for judge, values in scores.items()}


def compared(rows: Mapping[str, Any], noise: Mapping[str, Interval] | None) -> Iterator[tuple[str, Any]]:
    """The lines of table and plot: gains over ours, and over another base where there is one."""
    if noise is not None:
        yield f"{OURS}, another seed", {"seeds": [1]} | dict(noise)
    for line, of in rows.items():
        for rival in dict.fromkeys([OURS, BASES[line]]):
            if f"against {rival}" in of:
                yield f"{line} against {rival}", of[f"against {rival}"]


def markdown(rows: Mapping[str, Any], noise: Mapping[str, Interval] | None, panel: Panel) -> str:
    """Gains, dials and values as one table each."""
    judges = list(panel.judges)
    gains = [["", "seeds", *map(panel.label, judges)]]
    gains += [[line, _seeds(of), *(str(of[judge]) for judge in judges)] for line, of in compared(rows, noise)]
    dials = [["", *(f"{what}, {judge}" for judge in (DRIVING, SECOND) for what in ("Spearman", "top - bottom"))]]
    dials += [
        [
            design,
            *(str(of["dial"][judge][what]) for judge in (DRIVING, SECOND) for what in ("spearman", "top - bottom")),
        ]
        for design, of in rows.items()
    ]
    values = [["at the best quality", "seeds", *map(panel.label, judges)]]
    values += [[design, _seeds(of), *(str(of["best"][judge]) for judge in judges)] for design, of in rows.items()]
    notes = (
        "Improvement at the best quality; positive is better by every judge. Mean [95 % interval over people], paired "
        "by picture, mean over the seeds. The intervals say nothing of other seeds: the first line shows what another "
        "seed alone does. † trained on."
    )
    return f"# Designs\n\n{notes}\n\n{table(gains)}\n\n{table(dials)}\n\n{table(values)}\n"


def _seeds(of: Mapping[str, Any]) -> str:
    return ", ".join(map(str, of["seeds"]))


def draw(path: Path, rows: Mapping[str, Any], noise: Mapping[str, Interval] | None, panel: Panel) -> None:
    """A PNG with one plot for every judge: the gains with their intervals."""
    from matplotlib.figure import Figure

    lines = list(compared(rows, noise))[::-1]
    figure = Figure(figsize=(13, 1 + 0.33 * len(lines)), layout="constrained")
    for place, judge in enumerate(panel.judges, start=1):
        axes = figure.add_subplot(1, len(panel.judges), place)
        mean, low, high = np.array([of[judge] for _, of in lines]).T
        axes.errorbar(mean, range(len(lines)), xerr=(mean - low, high - mean), fmt="o", markersize=4)
        axes.axvline(0, color="grey", linewidth=0.8)
        axes.set_title(panel.label(judge), fontsize=10)
        axes.set_yticks(range(len(lines)), [line for line, _ in lines] if place == 1 else [], fontsize=9)
        axes.set_ylim(-0.5, len(lines) - 0.5)
        axes.grid(axis="x", alpha=0.25)
    figure.supxlabel("improvement (positive is better)", fontsize=9)
    save_plot(figure, path)


if __name__ == "__main__":
    typer.run(main)
