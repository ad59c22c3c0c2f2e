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
from benchmarks.hosts.adapt import Variant, load_host
from benchmarks.judges import Panel, Scores
from benchmarks.native import report
from benchmarks.native.dial import LEVELS, judge
from benchmarks.native.pictures import FacesOption, SeedsOption, load_pictures, restore
from benchmarks.native.restoration import Claim, Court
from iqp_adapter.bench.intervals import People

JUDGES = ("iqp-lite", "niqe@512", "piqe@512", "psnr", "ssim", "perceptual-lite2", "identity")
"""The first one is the metric of the condition."""


def main(
    run: Annotated[Path, typer.Option(help="folder of the host's run")],
    faces: FacesOption,
    host: str = "codeformer",
    seeds: SeedsOption = 2,
    out: report.OutOption = report.ROOT / "benchmarks/results/hosts",
) -> None:
    """Every judge on every method, what of it may be claimed, and the dial."""
    started, panel = time.perf_counter(), Panel(JUDGES)
    pictures = load_pictures(faces, small.RESOLUTION, seeds, **small.DEGRADATION)
    court = Court(panel, People(pictures.people))
    adapted = [iqp.wrap(load_host(host, run), adapter=folder) for folder in finished(run, Variant.ADAPTER)]

    def judged(models: list[iqp.WrappedHost], quality: float | str | None = None) -> Scores:
        return mean([panel(restore(model, pictures.degraded, quality=quality), pictures.original) for model in models])

    methods = {"input": panel(pictures.degraded, pictures.original), "bare": judged([iqp.wrap(load_host(host, run))])}
    methods |= {f"adapter, {quality}": judged(adapted, quality) for quality in ("best", "any")}
    for variant in (Variant.FINETUNED, Variant.FILTERED):
        hosts = [load_host(host, run, folder.parent.name) for folder in finished(run, variant)]
        methods |= {str(variant): judged([iqp.wrap(one) for one in hosts])} if hosts else {}
    levels = [judged(adapted, float(level)) for level in LEVELS]

    rows, claims = report.summary(methods, court.people), verdicts(court, methods)
    content = {"host": host, "seeds of training": len(adapted), "methods": rows, "claims": claims}
    content |= {"dial": dial(court, levels), "judges": panel.describe(), "seconds": time.perf_counter() - started}
    report.write_json(out / f"{host}.json", content | report.provenance(0, faces))
    report.write_text(out / f"{host}.md", report.table(host, rows, panel) + "\n" + report.claims_list(claims))


def finished(run: Path, variant: Variant) -> list[Path]:
    """The models of every seed of a variant, in the order of the seeds."""
    inside = "adapter/model" if variant is Variant.ADAPTER else "model"
    return sorted(run.glob(f"{variant}-*/{inside}"))


def mean(scores: list[Scores]) -> Scores:
    """Per picture, over seeds of training."""
    return {name: np.mean([one[name] for one in scores], 0) for name in scores[0]}


def verdicts(court: Court, methods: dict[str, Scores]) -> list[Claim]:
    best = methods["adapter, best"]
    claims = [court.beats("the bare host beats its input", "perceptual-lite2", methods["bare"], methods["input"])]
    for rival in [name for name in methods if name not in ("input", "adapter, best")]:
        claims += [court.beats(f"best beats {rival}", name, best, methods[rival]) for name in court.panel.judges]
    return claims


def dial(court: Court, levels: list[Scores]) -> dict[str, Any]:
    """What every judge says of the levels, higher turned to better, and its mean at each."""
    said: dict[str, Any] = {"levels": LEVELS}
    for name in court.panel.judges:
        values = np.stack([scores[name] for scores in levels])  # (L, N)
        said[name] = judge(court.panel.gain(name, values, 0 * values), court.people) | {"means": values.mean(1)}
    return said


if __name__ == "__main__":
    typer.run(main)
