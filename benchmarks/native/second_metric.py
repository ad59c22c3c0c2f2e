"""Fixes the dial's second metric beforehand: the one without training here that orders known severities best.

python -m benchmarks.native.second_metric --faces FACES/dev
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import typer

from benchmarks.common.inputs import FacesOption, SeedsOption
from benchmarks.common.judges import panel_of
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json
from iqp_adapter.bench.intervals import People, person_of, spearman
from iqp_adapter.bench.panel import Panel, Scores
from iqp_adapter.degradations.ladder import Ladder
from iqp_adapter.training.dataset import FaceFolder

CANDIDATES = ("niqe", "niqe@512", "piqe", "piqe@512")
SEVERITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
FILE = "second_metric.json"


def chosen(folder: Path) -> str:
    """The second metric.

    Raises:
        FileNotFoundError: when none was chosen yet.
    """
    if not (folder / FILE).exists():
        raise FileNotFoundError(f"no {FILE} in {folder}; run python -m benchmarks.native.second_metric first")
    return json.loads((folder / FILE).read_text())["chosen"]


def measure(folder: FaceFolder, seeds: int, panel: Panel) -> list[Scores]:
    """The faces of a folder at each severity of the training targets, `seeds` kinds each: scores (N,) per severity."""
    samples = [folder[seed, index] for seed in range(seeds) for index in range(len(folder))]
    ladder = Ladder()

    def at(severity: float) -> torch.Tensor:
        pictures = [ladder.degrade(s["hq"].permute(1, 2, 0).numpy(), severity, s["key"]) for s in samples]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()  # (N, H, W, 3) -> (N, 3, H, W)

    original = at(0.0)
    return [panel(at(severity), original) for severity in SEVERITIES]


def main(
    faces: FacesOption, seeds: SeedsOption = 2, resolution: int = 256, out: OutOption = RESULTS / "native"
) -> None:
    """Rank correlation of each candidate with the severity of the training targets' ladder, picture by picture."""
    folder, panel = FaceFolder(faces, resolution), panel_of(CANDIDATES)
    levels = measure(folder, seeds, panel)
    people = People([person_of(path) for path in folder.paths] * seeds)
    values = {name: np.stack([scores[name] for scores in levels]) for name in CANDIDATES}  # (S, N)
    order = {name: people.interval(spearman(value)) for name, value in values.items()}
    best = max(CANDIDATES, key=lambda name: order[name].mean)
    for name in CANDIDATES:
        typer.echo(f"{name}: {order[name]}{' <- chosen' if name == best else ''}")
    content = {
        "chosen": best,
        "severities": SEVERITIES,
        "spearman per picture": order,
        "mean score per severity": {name: value.mean(1) for name, value in values.items()},
        "judges": panel.describe(),
    }
    write_json(out / FILE, content | provenance(0, faces))


if __name__ == "__main__":
    typer.run(main)
