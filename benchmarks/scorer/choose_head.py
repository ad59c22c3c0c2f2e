"""Which feature levels, and how wide a head? Heads of iqp-lite side by side on dev, trained as the shipped one.

    python -m benchmarks.scorer.choose_head --faces FACES

Uses the images that `train_lite` measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.common.results import provenance, write_json, write_text
from benchmarks.scorer.train_lite import OUT, STORE, DistortedFaces, Target, agreement, fit, of_levels
from iqp_adapter.bench.text import table as markdown

HEADS = {
    "levels 0-4": ((0, 1, 2, 3, 4), 128),
    "levels 0-3": ((0, 1, 2, 3), 128),
    "levels 0-2": ((0, 1, 2), 128),
    "levels 1-3": ((1, 2, 3), 128),
    "level 4": ((4,), 128),
    "levels 0-3, width 32": ((0, 1, 2, 3), 32),
    "levels 0-3, width 512": ((0, 1, 2, 3), 512),
}


def main(
    faces: Annotated[Path, typer.Option(help="folder with train/ and dev/")],
    store: Annotated[Path, typer.Option(help="folder that keeps measured images")] = STORE,
    count: Annotated[int, typer.Option(help="distorted images to learn from")] = 4200,
    seed: int = 0,
) -> None:
    torch.set_num_threads(1)
    train = DistortedFaces(faces / "train", count, seed).measured(store)
    dev = DistortedFaces(faces / "dev", 500, seed + 1).measured(store)
    target = Target(train)
    results = {}
    for name, (levels, width) in HEADS.items():
        head = fit(of_levels(train["statistics"], levels), target(train), width, seed=seed)
        size = sum(value.numel() for value in head.state_dict().values())
        results[name] = {"numbers": size} | agreement(head, of_levels(dev["statistics"], levels), target(dev))
    write_json(OUT / "choose_head.json", provenance(seed, faces / "dev") | {"images": count, "heads": results})
    lines = [["head", *(key.replace("_", " ") for key in next(iter(results.values())))]]
    lines += [[name, *(f"{value:.4g}" for value in row.values())] for name, row in results.items()]
    write_text(OUT / "choose_head.md", f"# Heads of iqp-lite on 500 distorted faces of dev\n\n{markdown(lines)}\n")


if __name__ == "__main__":
    typer.run(main)
