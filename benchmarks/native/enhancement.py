"""What a model does that enhances more than sharpness: its inputs, its answers and its dial, by judges of your choice.

    python -m benchmarks.native.enhancement --name colour --config examples/native_colour.yaml \\
        --model RUN/stage2/model --pictures FACES/val --judge ciede2000 --judge colourfulness --judge psnr

The inputs are degraded as the configuration says with which the model was trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.judges import Panel
from benchmarks.native import report
from benchmarks.native.astronaut import QUALITIES, as_batch, astronaut_face
from benchmarks.native.dial import curves_of, draw, measure, verdicts_of
from benchmarks.native.dial import report as dial_report
from benchmarks.native.pictures import ModelOption, SeedsOption, degraded_by, load_model, restore
from benchmarks.native.restoration import Claim, Court
from benchmarks.native.sheet import write_sheet
from iqp_adapter.bench.intervals import People
from iqp_adapter.degradations.kinds import degradation_of
from iqp_adapter.native import IQPFR
from iqp_adapter.training.config import TrainConfig

RESULTS = report.ROOT / "benchmarks" / "results" / "enhancement"


def main(
    name: Annotated[str, typer.Option(help="of the report")],
    config: Annotated[Path, typer.Option(help="with which the model was trained")],
    model: ModelOption,
    pictures: Annotated[Path, typer.Option(help="folder of pictures, named <person or photo>_<take>")],
    judge: Annotated[list[str], typer.Option(help="may be repeated; the condition's metric is always among them")],
    seeds: SeedsOption = 2,
    out: report.OutOption = RESULTS,
) -> None:
    started, settings, network = time.perf_counter(), TrainConfig.load(config), load_model(model)
    degradation = degradation_of(network.resolution, **settings.degradation)
    given = degraded_by(degradation, pictures, network.resolution, seeds)
    panel = Panel(list(dict.fromkeys([settings.metric, *judge])))
    court = Court(panel, People(given.people))
    methods = {"input": panel(given.degraded, given.original), "original": panel(given.original, given.original)}
    values = measure(network, given, panel)  # its last level is the best quality
    methods |= {"best": {judge: levels[-1] for judge, levels in values.items()}}
    methods |= {"any": panel(restore(network, given.degraded, quality="any"), given.original)}
    claims: list[Claim] = [
        court.beats(f"best beats {rival}", judge, methods["best"], methods[rival])
        for rival in ("input", "any")
        for judge in panel.judges
    ]
    curves, verdicts = curves_of(values, court.people), verdicts_of(values, court.people, panel)

    rows = report.summary(methods, court.people)
    content = {"methods": rows, "claims": claims, "dial": verdicts, "curves": curves, "judges": panel.describe()}
    content |= {"fidelity": network.fidelity, "seconds": time.perf_counter() - started}
    report.write_json(out / f"{name}.json", content | report.provenance(0, pictures, model=model))
    tables = [report.table(name, rows, panel), report.claims_list(claims), dial_report(curves, verdicts, panel)]
    tables.append(f"Intervals are over {len(set(given.people))} people, or photos where they show none.\n")
    report.write_text(out / f"{name}.md", "\n".join(tables))
    draw(out / f"{name}-dial.png", curves, panel)
    write_sheet(out / f"{name}-astronaut.png", astronaut(network, degradation))


def astronaut(network: IQPFR, degradation: Callable[[np.ndarray, int], np.ndarray]) -> dict[str, Tensor]:
    """Degraded four times, restored at three qualities, and as it was; the first draws, unselected."""
    original = astronaut_face(network.resolution)
    degraded = torch.cat([as_batch(degradation(original, seed)) for seed in range(4)])
    restored = {caption: restore(network, degraded, quality=quality) for caption, quality in QUALITIES.items()}
    return {"degraded": degraded} | restored | {"original": as_batch(original).expand_as(degraded)}


if __name__ == "__main__":
    typer.run(main)
