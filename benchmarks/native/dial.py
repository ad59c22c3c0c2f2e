"""Does the dial work? Nine qualities, every face under several degradations, judged by metrics fixed beforehand.

python -m benchmarks.native.dial --model tiny --faces FACES/val
"""

from __future__ import annotations

import time

import numpy as np
import typer

from benchmarks.common.inputs import (
    FacesOption,
    ModelOption,
    Pictures,
    SeedsOption,
    load_model,
    load_pictures,
    restore,
)
from benchmarks.common.judges import panel_of
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json, write_text
from benchmarks.native.second_metric import chosen
from iqp_adapter.bench.curves import dial_curves
from iqp_adapter.bench.intervals import People
from iqp_adapter.bench.panel import Panel
from iqp_adapter.core.quality import BEST
from iqp_adapter.native import IQPFR

LEVELS = np.linspace(1 - BEST, BEST, 9).round(4)
DRIVING = "iqp-lite@1"
CONTEXT = ("niqe", "piqe", "psnr", "perceptual-lite2")


def measure(model: IQPFR, pictures: Pictures, panel: Panel) -> dict[str, np.ndarray]:
    """Values (L, N) of every judge: one row for each level, one column for each picture."""
    rows = [panel(restore(model, pictures.degraded, quality=float(q)), pictures.original) for q in LEVELS]
    return {name: np.stack([row[name] for row in rows]) for name in panel.judges}


def main(model: ModelOption, faces: FacesOption, seeds: SeedsOption = 5, out: OutOption = RESULTS / "native") -> None:
    """The claim about the dial: it works by the driving metric and by a second one that was chosen on dev."""
    started, second = time.perf_counter(), chosen(out)
    panel = panel_of(list(dict.fromkeys([DRIVING, second, *CONTEXT])))
    network = load_model(model)
    pictures = load_pictures(faces, network.resolution, seeds)
    dial = dial_curves(LEVELS, measure(network, pictures, panel), People(pictures.people), panel)
    content = {
        "claim": f"the dial works on {DRIVING} and on {second}",
        "holds": dial.results[DRIVING]["holds"] and dial.results[second]["holds"],
        "dial": dial.results,
        "fidelity": network.fidelity,
        "levels": dial.levels,
        "curves": dial.means,
        "judges": panel.describe(),
        "seconds": time.perf_counter() - started,
    }
    write_json(out / "dial.json", content | provenance(0, faces, model=model))
    write_text(out / "dial.md", dial.markdown())
    dial.draw(out / "dial.png")


if __name__ == "__main__":
    typer.run(main)
