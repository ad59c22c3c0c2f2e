"""Does the model restore? Compared with its input, with itself without a preference, and with a model without a dial.

python -m benchmarks.native.restoration --model tiny --faces FACES/val --unconditioned FOLDER
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.common.inputs import FacesOption, ModelOption, SeedsOption, load_model, load_pictures, restore
from benchmarks.common.judges import JUDGES, panel_of
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json, write_text
from benchmarks.native.second_metric import chosen
from iqp_adapter.bench.claims import Comparison, claims_list
from iqp_adapter.bench.intervals import People
from iqp_adapter.bench.panel import Scores, summary

AGAINST_INPUT = ("iqp-lite@1", "niqe", "piqe", "perceptual-lite2")
NEARNESS = ("perceptual-lite2", "identity")
"""Judges by which `best` and a rival are equally near the originals before their quality is compared."""


def judges(second: str) -> list[str]:
    """All judges, but of those for enlarged pictures only the second metric."""
    return [name for name in JUDGES if "@" not in name or name == second]


def main(
    model: ModelOption,
    faces: FacesOption,
    unconditioned: Annotated[Path | None, typer.Option(help="a model without a dial, trained for equal steps")] = None,
    seeds: SeedsOption = 5,
    out: OutOption = RESULTS / "native",
) -> None:
    """Every method by every judge, and the claims that hold."""
    started, second = time.perf_counter(), chosen(out)
    panel, network = panel_of(judges(second)), load_model(model)
    pictures = load_pictures(faces, network.resolution, seeds)
    degraded, original = pictures.degraded, pictures.original
    comparison = Comparison(panel, People(pictures.people))

    bicubic = load_pictures(faces, network.resolution, seeds, enlarge="cubic").degraded
    images = {"bicubic": bicubic} | {q: restore(network, degraded, quality=q) for q in ("best", "any")}
    if unconditioned is not None:
        images["unconditioned"] = restore(load_model(unconditioned), degraded)
    scores = {method: panel(image, original) for method, image in images.items()}

    few = [second, *(name for name in NEARNESS if name in panel.judges)]

    @cache
    def best_at(fidelity: float) -> Scores:
        return panel(restore(network, degraded, quality="best", fidelity=fidelity), original, only=few)

    claims = [
        comparison.better("best beats bicubic", judge, scores["best"], scores["bicubic"]) for judge in AGAINST_INPUT
    ]
    for rival in list(images)[2:]:
        for nearness in few[1:]:
            ours = ((w, best_at(w)) for w in np.linspace(network.fidelity, 1, 5).tolist())
            claims.append(comparison.better_at_equal(nearness, f"best beats {rival}", second, ours, scores[rival]))

    rows = summary(scores, comparison.people)
    facts = provenance(0, faces, model=model, unconditioned=unconditioned)
    content = {"methods": rows, "claims": claims, "fidelity": network.fidelity, "judges": panel.describe()}
    content |= {"seconds": time.perf_counter() - started}
    write_json(out / "restoration.json", content | facts)
    write_text(out / "restoration.md", panel.table("Restoration", rows) + "\n" + claims_list(claims))


if __name__ == "__main__":
    typer.run(main)
