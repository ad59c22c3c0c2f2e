"""Which backbone, levels, width, and terms of the loss? Single heads of iqp-lite side by side on dev.

    python -m benchmarks.scorer.choose_head --faces FACES --faces PORTRAITS --run codeformer:128:RUN

Uses the pictures that `train_lite` measured.
"""

from __future__ import annotations

from typing import Any

import torch
import typer

from benchmarks.common.results import provenance, write_json, write_text
from benchmarks.scorer.heads import Weights, grades
from benchmarks.scorer.measuring import OUT
from benchmarks.scorer.train_lite import FacesOption, Material, RunOption, Shape
from iqp_adapter.bench.text import table as markdown

SHAPES = {
    "levels 0-3": Shape(),
    "levels 0-4": Shape(levels=(0, 1, 2, 3, 4)),
    "levels 0-2": Shape(levels=(0, 1, 2)),
    "levels 1-3": Shape(levels=(1, 2, 3)),
    "whole picture": Shape(where="whole"),
    "width 32": Shape(width=32),
    "width 256": Shape(width=256),
    "lite1": Shape("lite1"),
}
WEIGHTS = {
    "without order": Weights(order=0),
    "order 1": Weights(order=1),
    "without looks": Weights(looks=0),
    "looks 0.2": Weights(looks=0.2),
    "without slope": Weights(slope=0),
    "slope 0.3": Weights(slope=0.3),
    "without raised": Weights(extras=0),
}


def main(faces: FacesOption, run: RunOption, seed: int = 0) -> None:
    torch.set_num_threads(1)
    material = Material(faces, run)
    material.recall()
    groups = material.on_dev()
    results: dict[str, Any] = {}
    for name, (shape, weights) in {
        **{name: (shape, Weights()) for name, shape in SHAPES.items()},
        **{name: (Shape(), weights) for name, weights in WEIGHTS.items()},
    }.items():
        head = material.fit(shape, seed, weights=weights)
        results[name] = grades(head, shape.of(groups), material.target(groups))
        typer.echo(f"{name}: {results[name]}")
    write_json(OUT / "choose_head.json", provenance(seed, material.dev) | {"heads": results})
    lines = [["head", *(key.replace("_", " ") for key in next(iter(results.values())))]]
    lines += [[name, *(f"{value:.3g}" for value in row.values())] for name, row in results.items()]
    write_text(OUT / "choose_head.md", f"# Heads of iqp-lite on dev\n\n{markdown(lines)}\n")


if __name__ == "__main__":
    typer.run(main)
