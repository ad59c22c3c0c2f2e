"""Which backbone, levels, width, and terms of the loss? Single heads of iqp-lite side by side on dev.

    python -m benchmarks.scorer.choose_head --faces FACES --faces PORTRAITS --run codeformer:128:RUN

Uses the pictures that `train_lite` measured.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import typer

from benchmarks.common.results import provenance, write_json, write_text
from benchmarks.scorer.heads import grades
from benchmarks.scorer.measuring import OUT
from benchmarks.scorer.train_lite import LITE, SHIPPED, FacesOption, Material, RunOption
from iqp_adapter.bench.text import table as markdown

SINGLE = replace(LITE, heads=1)
SHAPES = {
    "shipped": SINGLE,
    "levels 0-4": replace(SINGLE, levels=(0, 1, 2, 3, 4)),
    "levels 0-2": replace(SINGLE, levels=(0, 1, 2)),
    "levels 1-3": replace(SINGLE, levels=(1, 2, 3)),
    "whole picture": replace(SINGLE, where="whole"),
    "width 128": replace(SINGLE, width=128),
    "lite1": replace(SINGLE, backbone="lite1"),
}
CHOSEN = SHIPPED["weights"]
WEIGHTS = {
    "without order": replace(CHOSEN, order=0),
    "order 3": replace(CHOSEN, order=3),
    "without looks": replace(CHOSEN, looks=0),
    "looks 0.3": replace(CHOSEN, looks=0.3),
    "slope 3": replace(CHOSEN, slope=3),
    "without raised": replace(CHOSEN, extras=0),
}


def main(faces: FacesOption, run: RunOption, seed: int = 0) -> None:
    torch.set_num_threads(1)
    material = Material(faces, run)
    material.recall()
    groups = material.on_dev()
    results: dict[str, Any] = {}
    for name, (shape, weights) in {
        **{name: (shape, CHOSEN) for name, shape in SHAPES.items()},
        **{name: (SINGLE, weights) for name, weights in WEIGHTS.items()},
    }.items():
        head = material.fit(shape, seed, **SHIPPED | {"weights": weights})
        results[name] = grades(head, shape.of(groups), material.target(groups))
        typer.echo(f"{name}: {results[name]}")
    write_json(OUT / "choose_head.json", provenance(seed, material.dev) | {"heads": results})
    lines = [["head", *(key.replace("_", " ") for key in next(iter(results.values())))]]
    lines += [[name, *(f"{value:.3g}" for value in row.values())] for name, row in results.items()]
    write_text(OUT / "choose_head.md", f"# Heads of iqp-lite on dev\n\n{markdown(lines)}\n")


if __name__ == "__main__":
    typer.run(main)
