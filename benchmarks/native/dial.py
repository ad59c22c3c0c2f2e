"""Does the dial work? Nine qualities, every face under several degradations, judged by metrics fixed beforehand.

python -m benchmarks.native.dial --model tiny --faces FACES/val
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import typer

from benchmarks.judges import Panel
from benchmarks.native.pictures import (
    FacesOption,
    ModelOption,
    Pictures,
    SeedsOption,
    load_model,
    load_pictures,
    restore,
)
from benchmarks.native.report import RESULTS, OutOption, provenance, write_json, write_text
from benchmarks.native.second_metric import chosen
from iqp_adapter.bench.intervals import Interval, People, interval, spearman
from iqp_adapter.bench.writers import table as markdown
from iqp_adapter.core.quality import BEST
from iqp_adapter.native import IQPFR
from iqp_adapter.store.files import atomic_path

LEVELS = np.linspace(1 - BEST, BEST, 9).round(4)
DRIVING = "iqp-lite"
CONTEXT = ("niqe", "piqe", "psnr", "perceptual-lite2")


def measure(model: IQPFR, pictures: Pictures, panel: Panel) -> dict[str, np.ndarray]:
    """Values (L, N) of every judge: one row a level, one column a picture."""
    rows = [panel(restore(model, pictures.degraded, quality=float(q)), pictures.original) for q in LEVELS]
    return {name: np.stack([row[name] for row in rows]) for name in panel.judges}


def judge(values: np.ndarray, people: People) -> dict[str, Any]:
    """What a metric says of the dial: values (L, N), turned so that higher is better."""
    means = people.means(values)  # (L, D)
    order = interval(float(spearman(values.mean(1))), spearman(means))
    span = people.interval(values[-1] - values[0])
    return {"spearman": order, "top - bottom": span, "holds": order.mean >= 0.9 and span.low > 0}


def curves_of(values: dict[str, np.ndarray], people: People) -> dict[str, list[Interval]]:
    """Values (L, N) by judge -> the means of the levels."""
    return {name: [people.interval(level) for level in value] for name, value in values.items()}


def verdicts_of(values: dict[str, np.ndarray], people: People, panel: Panel) -> dict[str, dict[str, Any]]:
    """Values (L, N) by judge -> what each says of the dial."""
    return {name: judge(panel.gain(name, value, 0 * value), people) for name, value in values.items()}


def draw(path: Path, curves: dict[str, list[Interval]], panel: Panel) -> None:
    """One panel a metric: level means with their intervals over people."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = math.ceil(len(curves) / 3)
    figure = Figure(figsize=(10.8, 3 * rows), layout="constrained")
    for place, (name, curve) in enumerate(curves.items(), start=1):
        axes = figure.add_subplot(rows, 3, place)
        mean, low, high = np.array(curve).T
        axes.plot(LEVELS, mean, marker=".")
        axes.fill_between(LEVELS, low, high, alpha=0.2)
        axes.set_title(panel.label(name), fontsize=10, loc="left")
        axes.set_xlabel("quality asked for", fontsize=9)
        axes.grid(alpha=0.25)
    with atomic_path(path) as partial:
        FigureCanvasAgg(figure).print_figure(partial, dpi=110, format="png")


def report(curves: dict[str, list[Interval]], verdicts: dict[str, dict[str, Any]], panel: Panel) -> str:
    """The verdicts and the level means as Markdown."""
    lines = [["metric", "Spearman", "top - bottom, in its good direction", "dial works"]]
    lines += [
        [panel.label(name), str(v["spearman"]), str(v["top - bottom"]), "yes" if v["holds"] else "no"]
        for name, v in verdicts.items()
    ]
    levels = [["quality", *map(panel.label, curves)]]
    levels += [[f"{q:g}", *(str(curve[i]) for curve in curves.values())] for i, q in enumerate(LEVELS)]
    notes = (
        "Mean [95 % interval over people]. † trained on. A dial works by a metric when Spearman is 0.9 or more and the "
        "interval of top - bottom lies above 0."
    )
    return f"# The dial\n\n{markdown(lines)}\n\n{markdown(levels)}\n\n{notes}\n"


def main(model: ModelOption, faces: FacesOption, seeds: SeedsOption = 5, out: OutOption = RESULTS) -> None:
    """The dial's claim: it holds on the driving metric and on a second one that was chosen on dev."""
    started, second = time.perf_counter(), chosen(out)
    panel = Panel(list(dict.fromkeys([DRIVING, second, *CONTEXT])))
    network = load_model(model)
    pictures = load_pictures(faces, network.resolution, seeds)
    values, people = measure(network, pictures, panel), People(pictures.people)
    curves, verdicts = curves_of(values, people), verdicts_of(values, people, panel)
    content = {
        "claim": f"the dial works on {DRIVING} and on {second}",
        "holds": verdicts[DRIVING]["holds"] and verdicts[second]["holds"],
        "verdicts": verdicts,
        "fidelity": network.fidelity,
        "levels": LEVELS,
        "curves": curves,
        "judges": panel.describe(),
        "seconds": time.perf_counter() - started,
    }
    write_json(out / "dial.json", content | provenance(0, faces, model=model))
    write_text(out / "dial.md", report(curves, verdicts, panel))
    draw(out / "dial.png", curves, panel)


if __name__ == "__main__":
    typer.run(main)
