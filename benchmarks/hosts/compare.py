"""Does an adapter improve a host that exists? Against the bare host, and against the host that learned on without one.

python -m benchmarks.hosts.compare --run RUN --host codeformer --faces FACES/val -o benchmarks/results/hosts

Takes what `benchmarks.hosts.adapt` has left in the host's run: every seed of every variant.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import iqp_adapter as iqp
from benchmarks.hosts import small
from benchmarks.hosts.adapt import ADAPTED, Variant, load_host, side_of
from benchmarks.judges import Panel, Scores, mean_scores
from benchmarks.native import report
from benchmarks.native.dial import LEVELS, curves_of, draw, verdicts_of
from benchmarks.native.dial import report as dial_report
from benchmarks.native.pictures import FacesOption, Pictures, SeedsOption, load_pictures, restore
from benchmarks.native.restoration import Claim, Court
from iqp_adapter.bench.intervals import Interval, People

JUDGES = ("iqp-lite", "niqe", "niqe@512", "piqe", "psnr", "ssim", "perceptual-lite2", "identity")
"""The first one is the metric of the condition."""

SECOND = "niqe@512"
"""The dial's second metric. PIQE of enlarged pictures orders the ladder a little better on dev (`second_metric.json`),
but says 100, its end, to every restoration of 128 px."""


def main(
    run: Annotated[Path, typer.Option(help="folder of the host's run")],
    faces: FacesOption,
    host: str = "codeformer",
    seeds: SeedsOption = 2,
    dial_seeds: Annotated[int, typer.Option(min=1, help="degradations of each face for the dial")] = 5,
    out: report.OutOption = small.RESULTS,
) -> None:
    """Every judge on every method, what of it may be claimed, and the dial."""
    started, panel = time.perf_counter(), Panel(JUDGES)
    side = side_of(host, load_host(host, run))
    pictures = degraded(faces, side, seeds)
    court, adapted = Court(panel, People(pictures.people)), adapters(host, run)

    def judged(models: list[iqp.WrappedHost], quality: float | str | None = None) -> Scores:
        return mean_scores(
            [panel(restore(model, pictures.degraded, quality=quality), pictures.original) for model in models]
        )

    methods = {"input": panel(pictures.degraded, pictures.original), "bare": judged([iqp.wrap(load_host(host, run))])}
    methods |= {f"adapter, {quality}": judged(adapted, quality) for quality in ("best", "any")}
    for variant in (Variant.FINETUNED, Variant.FILTERED):
        hosts = [load_host(host, run, folder.parent.name) for folder in finished(run, variant)]
        methods |= {str(variant): judged([iqp.wrap(one) for one in hosts])} if hosts else {}

    rows, claims = report.summary(methods, court.people), verdicts(court, methods)
    curves, dial_says = dial(adapted, degraded(faces, side, dial_seeds), panel, SECOND)
    content = {"host": host, "seeds of training": len(adapted), "methods": rows, "claims": claims, "dial": dial_says}
    content |= {"levels": LEVELS, "curves": curves, "judges": panel.describe()}
    content |= {"seconds": time.perf_counter() - started}
    report.write_json(out / f"{host}.json", content | report.provenance(0, faces))
    tables = [report.table(host, rows, panel), report.claims_list(claims), dial_report(curves, dial_says, panel)]
    report.write_text(out / f"{host}.md", "\n".join(tables))
    draw(out / f"{host}-dial.png", curves, panel)


def degraded(faces: Path, side: int, seeds: int) -> Pictures:
    return load_pictures(faces, side, seeds, **small.DEGRADATION)


def adapters(host: str, run: Path) -> list[iqp.WrappedHost]:
    """The host with every seed's adapter, as precise as they are shipped."""
    models = [iqp.wrap(load_host(host, run), adapter=folder) for folder in finished(run, Variant.ADAPTER)]
    for model in models:
        model.adapters.half().float()
    return models


def finished(run: Path, variant: Variant) -> list[Path]:
    """The models of every seed of a variant, in the order of the seeds."""
    inside = f"{next(iter(ADAPTED[variant]))}/model" if variant in ADAPTED else "model"
    return sorted(run.glob(f"{variant}-*/{inside}"))


def verdicts(court: Court, methods: dict[str, Scores]) -> list[Claim]:
    best = methods["adapter, best"]
    claims = [court.beats("the bare host beats its input", "perceptual-lite2", methods["bare"], methods["input"])]
    for rival in [name for name in methods if name not in ("input", "adapter, best")]:
        claims += [court.beats(f"best beats {rival}", name, best, methods[rival]) for name in court.panel.judges]
    return claims


def dial(
    models: list[iqp.WrappedHost], pictures: Pictures, panel: Panel, second: str
) -> tuple[dict[str, list[Interval]], dict[str, Any]]:
    """Level means of the driving and the second metric over seeds of training, and what each says of the dial."""
    people, names = People(pictures.people), (JUDGES[0], second)

    def at(level: float) -> Scores:
        restored = (restore(model, pictures.degraded, quality=level) for model in models)
        return mean_scores([panel(images, pictures.original, only=names) for images in restored])

    levels = [at(float(level)) for level in LEVELS]
    values = {name: np.stack([scores[name] for scores in levels]) for name in names}  # (L, N) each
    return curves_of(values, people), verdicts_of(values, people, panel)


if __name__ == "__main__":
    typer.run(main)
