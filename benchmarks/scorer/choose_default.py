"""Which metric should be the default? How well each that needs no download follows the severity of distortions.

python -m benchmarks.scorer.choose_default --faces FACES/dev
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.judges import person_of
from benchmarks.native.report import markdown, provenance, write_json, write_text
from benchmarks.scorer.ladder import GROUPS, SEVERITIES, by_distortion, follows, scores_on_ladders
from iqp_adapter.files import list_images
from iqp_adapter.scorer import Scorer

CANDIDATES = ("iqp-lite", "niqe", "piqe", "entropy")
RESULTS = Path(__file__).resolve().parents[1] / "results" / "scorer"
NOTES = """
Rank correlation (Spearman) of the score with the severity of {types} distortions, {levels} levels and the original, of
{files} faces of {people} people; 95 % intervals over people. Per image: within one face and distortion. Pooled: over
all faces and distortions at once. Raised: share of distorted faces that score better than their own original. iqp-lite
was trained on other people, and on {seen} of the distortions (seen).
"""


def main(
    faces: Annotated[Path, typer.Option(help="folder of aligned faces on which choices are made")],
    size: Annotated[list[int], typer.Option(help="side of the faces, may be repeated")] = [256, 512],  # noqa: B006
    every: Annotated[int, typer.Option(help="use every n-th face")] = 2,
    name: Annotated[str, typer.Option(help="of the result files")] = "choose_default",
) -> None:
    torch.set_num_threads(1)
    files = list_images([faces])[::every]
    people = [person_of(file) for file in files]
    scorers = [Scorer(metric, device="cpu") for metric in CANDIDATES]
    results: dict[str, Any] = {}
    for side in size:
        results[str(side)] = {
            metric: {group: follows(scores[:, positions], people) for group, positions in GROUPS.items()}
            | {"distortions": by_distortion(scores)}
            for metric, scores in scores_on_ladders(files, side, scorers).items()
        }
    facts = provenance(0, faces) | {"protocols": {scorer.metric: scorer.protocol for scorer in scorers}}
    write_json(RESULTS / f"{name}.json", facts | {"severities": SEVERITIES, "faces": len(files), "sizes": results})
    notes = NOTES.format(
        types=len(GROUPS["all"]),
        levels=len(SEVERITIES),
        files=len(files),
        people=len(set(people)),
        seen=len(GROUPS["seen"]),
    )
    write_text(RESULTS / f"{name}.md", f"# Scores against severity, faces/{faces.name}\n\n{table(results)}\n{notes}")


def table(results: dict[str, Any]) -> str:
    lines = [["px", "metric", "per image", "pooled", "raised", "per image, seen", "per image, unseen"]]
    for side, metrics in results.items():
        for metric, groups in metrics.items():
            cells = [groups["all"][key] for key in ("per_image", "pooled", "raised")]
            cells += [groups[group]["per_image"] for group in ("seen", "unseen")]
            lines.append([side, metric, *(f"{cell.mean:.3f} [{cell.low:.3f}, {cell.high:.3f}]" for cell in cells)])
    return markdown(lines)


if __name__ == "__main__":
    typer.run(main)
