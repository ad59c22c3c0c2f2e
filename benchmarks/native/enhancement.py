"""How a model enhances more than sharpness: its inputs, outputs and dial, by the judges that you name.

    python -m benchmarks.native.enhancement --name colour --config examples/native_colour.yaml \\
        --model RUN/stage2/model --pictures FACES/val --judge ciede2000 --judge colourfulness --judge psnr

The inputs are degraded by the configuration with which the model was trained.
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

from benchmarks.common.inputs import (
    ModelOption,
    SeedsOption,
    as_batch,
    astronaut_face,
    degraded_by,
    load_model,
    restore,
)
from benchmarks.common.judges import panel_of
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json, write_text
from benchmarks.common.sheets import write_sheet
from benchmarks.native.astronaut import QUALITIES
from benchmarks.native.dial import LEVELS, measure
from iqp_adapter.bench.claims import Comparison, claims_list
from iqp_adapter.bench.curves import dial_curves
from iqp_adapter.bench.intervals import People
from iqp_adapter.bench.panel import summary
from iqp_adapter.degradations.kinds import degradation_of
from iqp_adapter.native import IQPFR
from iqp_adapter.training.config import TrainConfig


def main(
    name: Annotated[str, typer.Option(help="of the report")],
    config: Annotated[Path, typer.Option(help="with which the model was trained")],
    model: ModelOption,
    pictures: Annotated[Path, typer.Option(help="folder of pictures, named <person or photo>_<take>")],
    judge: Annotated[list[str], typer.Option(help="may be repeated; the condition's metric is always among them")],
    seeds: SeedsOption = 2,
    out: OutOption = RESULTS / "enhancement",
) -> None:
    started, settings, network = time.perf_counter(), TrainConfig.load(config), load_model(model)
    degradation = degradation_of(network.resolution, **settings.degradation)
    given = degraded_by(degradation, pictures, network.resolution, seeds)
    panel = panel_of(list(dict.fromkeys([settings.metric, *judge])))
    comparison = Comparison(panel, People(given.people))
    methods = {"input": panel(given.degraded, given.original), "original": panel(given.original, given.original)}
    values = measure(network, given, panel)  # its last level is the best quality
    methods |= {"best": {judge: levels[-1] for judge, levels in values.items()}}
    methods |= {"any": panel(restore(network, given.degraded, quality="any"), given.original)}
    claims = [
        one
        for rival in ("input", "any")
        for one in comparison.better_by_all(f"best beats {rival}", methods["best"], methods[rival])
    ]
    dial = dial_curves(LEVELS, values, comparison.people, panel)

    rows = summary(methods, comparison.people)
    content = {"methods": rows, "claims": claims, "dial": dial.results, "curves": dial.means}
    content |= {"judges": panel.describe(), "fidelity": network.fidelity, "seconds": time.perf_counter() - started}
    write_json(out / f"{name}.json", content | provenance(0, pictures, model=model))
    tables = [panel.table(name, rows), claims_list(claims), dial.markdown()]
    tables.append(f"Intervals are over {len(set(given.people))} people, or photos where they show none.\n")
    write_text(out / f"{name}.md", "\n".join(tables))
    dial.draw(out / f"{name}-dial.png")
    write_sheet(out / f"{name}-astronaut.png", astronaut(network, degradation))


def astronaut(network: IQPFR, degradation: Callable[[np.ndarray, int], np.ndarray]) -> dict[str, Tensor]:
    """Degraded twice, restored at three qualities, and as it was; the first draws, unselected."""
    original = astronaut_face(network.resolution)
    degraded = torch.cat([as_batch(degradation(original, seed)) for seed in range(2)])
    restored = {caption: restore(network, degraded, quality=quality) for caption, quality in QUALITIES.items()}
    return {"degraded": degraded} | restored | {"original": as_batch(original).expand_as(degraded)}


if __name__ == "__main__":
    typer.run(main)
