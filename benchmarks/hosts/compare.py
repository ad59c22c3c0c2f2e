"""Does an adapter improve an existing host? Compared with the bare host, and with the host trained further without one.

python -m benchmarks.hosts.compare --run RUN --host codeformer --faces FACES/val -o benchmarks/results/hosts

Uses every seed of every variant that `benchmarks.hosts.adapt` trained in the host's run.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import iqp_adapter as iqp
from benchmarks.common.inputs import FacesOption, Pictures, SeedsOption, load_pictures, restore
from benchmarks.common.judges import panel_of
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json, write_text
from benchmarks.hosts import small
from benchmarks.hosts.adapt import ADAPTED, Variant, load_host, side_of
from benchmarks.native.dial import LEVELS
from iqp_adapter.bench.claims import Claim, Comparison, claims_list
from iqp_adapter.bench.curves import DialCurves, dial_curves
from iqp_adapter.bench.intervals import People
from iqp_adapter.bench.panel import Panel, Scores, mean_scores, summary

JUDGES = ("iqp-lite", "niqe", "niqe@512", "piqe", "psnr", "ssim", "perceptual-lite2", "identity")
"""The first one is the metric of the condition."""

SECOND = "niqe@512"
"""The dial's second metric. PIQE of enlarged pictures orders the ladder a little better on dev (`second_metric.json`),
but gives every restoration of 128 px its worst score, 100."""


def main(
    run: Annotated[Path, typer.Option(help="folder of the host's run")],
    faces: FacesOption,
    host: str = "codeformer",
    seeds: SeedsOption = 2,
    dial_seeds: Annotated[int, typer.Option(min=1, help="degradations of each face for the dial")] = 5,
    out: OutOption = RESULTS / "hosts",
) -> None:
    """Every method by every judge, the claims that hold, and the dial."""
    started, panel = time.perf_counter(), panel_of(JUDGES)
    side = side_of(host, load_host(host, run))
    pictures = degraded(faces, side, seeds)
    comparison, adapted = Comparison(panel, People(pictures.people)), adapters(host, run)

    def judged(models: list[iqp.WrappedHost], quality: float | str | None = None) -> Scores:
        return mean_scores(
            [panel(restore(model, pictures.degraded, quality=quality), pictures.original) for model in models]
        )

    methods = {"input": panel(pictures.degraded, pictures.original), "bare": judged([iqp.wrap(load_host(host, run))])}
    methods |= {f"adapter, {quality}": judged(adapted, quality) for quality in ("best", "any")}
    for variant in (Variant.FINETUNED, Variant.FILTERED):
        hosts = [load_host(host, run, folder.parent.name) for folder in finished(run, variant)]
        methods |= {str(variant): judged([iqp.wrap(one) for one in hosts])} if hosts else {}

    rows, claims = summary(methods, comparison.people), claims_of(comparison, methods)
    dial = dial_of(adapted, degraded(faces, side, dial_seeds), panel, SECOND)
    content = {"host": host, "seeds of training": len(adapted), "methods": rows, "claims": claims, "dial": dial.results}
    content |= {"levels": dial.levels, "curves": dial.means, "judges": panel.describe()}
    content |= {"seconds": time.perf_counter() - started}
    write_json(out / f"{host}.json", content | provenance(0, faces))
    tables = [panel.table(host, rows), claims_list(claims), dial.markdown()]
    write_text(out / f"{host}.md", "\n".join(tables))
    dial.draw(out / f"{host}-dial.png")


def degraded(faces: Path, side: int, seeds: int) -> Pictures:
    return load_pictures(faces, side, seeds, **small.DEGRADATION)


def adapters(host: str, run: Path) -> list[iqp.WrappedHost]:
    """The host with the adapter of every seed, rounded to half precision."""
    models = [iqp.wrap(load_host(host, run), adapter=folder) for folder in finished(run, Variant.ADAPTER)]
    for model in models:
        model.adapters.half().float()
    return models


def finished(run: Path, variant: Variant) -> list[Path]:
    """The models of every seed of a variant, in the order of the seeds."""
    inside = f"{next(iter(ADAPTED[variant]))}/model" if variant in ADAPTED else "model"
    return sorted(run.glob(f"{variant}-*/{inside}"))


def claims_of(comparison: Comparison, methods: dict[str, Scores]) -> list[Claim]:
    best, bare = methods["adapter, best"], methods["bare"]
    claims = [comparison.better("the bare host beats its input", "perceptual-lite2", bare, methods["input"])]
    for rival in [name for name in methods if name not in ("input", "adapter, best")]:
        claims += comparison.better_by_all(f"best beats {rival}", best, methods[rival])
    return claims


def dial_of(models: list[iqp.WrappedHost], pictures: Pictures, panel: Panel, second: str) -> DialCurves:
    """By the driving and the second metric, the means over seeds of training."""
    people, names = People(pictures.people), (JUDGES[0], second)

    def at(level: float) -> Scores:
        restored = (restore(model, pictures.degraded, quality=level) for model in models)
        return mean_scores([panel(images, pictures.original, only=names) for images in restored])

    levels = [at(float(level)) for level in LEVELS]
    values = {name: np.stack([scores[name] for scores in levels]) for name in names}  # (L, N) each
    return dial_curves(LEVELS, values, people, panel)


if __name__ == "__main__":
    typer.run(main)
