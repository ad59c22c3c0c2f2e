"""Which metric should be the default? How well each that needs no download follows the severity of distortions.

python -m benchmarks.scorer.choose_default --faces FACES/dev
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.common.results import provenance, write_json, write_text
from benchmarks.scorer.measuring import OUT
from benchmarks.scorer.severities import GROUPS, SEVERITIES, by_distortion, follows, scores_on_ladders
from iqp_adapter.bench.intervals import Interval, person_of
from iqp_adapter.bench.text import table as markdown
from iqp_adapter.scoring.scorer import Scorer
from iqp_adapter.store.files import list_images

CANDIDATES = ("iqp-lite@1", "niqe", "piqe", "entropy")
SIZES = (256, 512)

FacesOption = Annotated[Path, typer.Option(help="folder of aligned faces, named <person>_<take>")]
EveryOption = Annotated[int, typer.Option(min=1, help="use every n-th face")]


def main(faces: FacesOption, every: EveryOption = 2) -> None:
    torch.set_num_threads(1)
    files = list_images([faces])[::every]
    scorers = [Scorer(metric, device="cpu") for metric in CANDIDATES]
    results = compare(files, scorers)
    facts = provenance(0, faces) | {"protocols": [scorer.protocol for scorer in scorers], "severities": SEVERITIES}
    write_json(OUT / "choose_default.json", facts | {"faces": len(files), "sizes": results})
    write_text(OUT / "choose_default.md", f"# Scores against severity on {faces.name}\n\n{explained(results, files)}")


def compare(files: Sequence[Path], scorers: Sequence[Scorer], sizes: Sequence[int] = SIZES) -> dict[int, Any]:
    """By side in pixels and metric: how its scores follow severity, over groups of distortions and for each."""
    people = [person_of(file) for file in files]
    return {
        size: {
            metric: {group: follows(scores[:, positions], people) for group, positions in GROUPS.items()}
            | {"distortions": by_distortion(scores)}
            for metric, scores in scores_on_ladders(files, size, scorers).items()
        }
        for size in sizes
    }


def explained(results: dict[int, Any], files: Sequence[Path]) -> str:
    """The comparison as a Markdown table, with what its columns mean."""
    lines = [["px", "metric", "per image", "pooled", "raised", "per image, seen", "per image, unseen"]]
    for size, metrics in results.items():
        for metric, groups in metrics.items():
            cells = [groups["all"][key] for key in ("per_image", "pooled", "raised")]
            cells += [groups[group]["per_image"] for group in ("seen", "unseen")]
            lines.append([str(size), metric, *map(short, cells)])
    return (
        f"{markdown(lines)}\n\nRank correlation (Spearman) of the score with the severity of {len(GROUPS['all'])} "
        f"distortions, {len(SEVERITIES)} severities and the original, of {len(files)} faces; 95 % intervals over "
        "people. Per image: within one face and distortion, mean of all. Pooled: over all faces and distortions at "
        "once. Raised: share of distorted faces that score better than their own original. Seen: iqp-lite was trained "
        f"on this kind of distortion, of other people ({len(GROUPS['seen'])} kinds); unseen: it was not "
        f"({len(GROUPS['unseen'])}).\n"
    )


def short(cell: Interval) -> str:
    return f"{cell.mean:.3f} [{cell.low:.3f}, {cell.high:.3f}]"


if __name__ == "__main__":
    typer.run(main)
