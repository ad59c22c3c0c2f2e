"""Does the dial work? Nine qualities, every face under several degradations, judged by metrics fixed beforehand.

python -m benchmarks.native.dial --model tiny --faces FACES/val --faces PORTRAITS/val
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import typer

from benchmarks.common.inputs import ModelOption, Pictures, SeedsOption, load_model, restore
from benchmarks.common.judges import panel_of
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json, write_text
from benchmarks.common.sets import SetsOption, SideOption, check_sets, load_set, set_name, side_of
from benchmarks.native.second_metric import chosen
from iqp_adapter.bench.curves import dial_curves
from iqp_adapter.bench.intervals import People
from iqp_adapter.bench.panel import Panel
from iqp_adapter.core.quality import BEST
from iqp_adapter.native import IQPFR

LEVELS = np.linspace(1 - BEST, BEST, 9).round(4)
DRIVING = "iqp-lite"
CONTEXT = ("niqe", "piqe", "psnr", "perceptual-lite2", "identity")


def measure(model: IQPFR, pictures: Pictures, panel: Panel) -> dict[str, np.ndarray]:
    """Values (L, N) of every judge: one row for each level, one column for each picture."""
    rows = [panel(restore(model, pictures.degraded, quality=float(q)), pictures.original) for q in LEVELS]
    return {name: np.stack([row[name] for row in rows]) for name in panel.judges}


def main(
    model: ModelOption,
    faces: SetsOption,
    side: SideOption = None,
    seeds: SeedsOption = 2,
    out: OutOption = RESULTS / "native",
) -> None:
    """The claim about the dial: on every set it works by the driving metric and by a second one, chosen on dev."""
    started, second = time.perf_counter(), chosen(out)
    check_sets(faces)
    panel, network = panel_of(list(dict.fromkeys([DRIVING, second, *CONTEXT]))), load_model(model)
    sets: dict[str, Any] = {}
    texts = []
    for folder in faces:
        name, pictures = set_name(folder), load_set(folder, side, seeds)
        dial = dial_curves(LEVELS, measure(network, pictures, panel), People(pictures.people), panel)
        holds = dial.results[DRIVING]["holds"] and dial.results[second]["holds"]
        sets[name] = {"side": side_of(folder, side), "holds": holds, "dial": dial.results, "curves": dial.means}
        texts.append(dial.markdown(f"The dial on {name}"))
        dial.draw(out / f"dial-{name.replace('/', '-')}.png")
    content = {
        "claim": f"the dial works on {DRIVING} and on {second}",
        "sets": sets,
        "levels": LEVELS,
        "fidelity": network.fidelity,
        "judges": panel.describe(),
        "seconds": time.perf_counter() - started,
    }
    write_json(out / "dial.json", content | provenance(0, faces, model=model))
    write_text(out / "dial.md", "\n".join(texts))


if __name__ == "__main__":
    typer.run(main)
