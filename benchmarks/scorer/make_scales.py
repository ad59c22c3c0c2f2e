"""Makes the score scales of metrics on which ensembles are built: good faces under the ladder, and degraded ones.

Every second picture is an input of a restorer, so that members do not saturate on what restorers make of it.

python -m benchmarks.scorer.make_scales --faces FACES -m niqe -m piqe -m iqp-lite
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from iqp_adapter.core.metrics import members
from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.degradations.face import Degradation
from iqp_adapter.degradations.ladder import Ladder
from iqp_adapter.provenance import dataset_hash
from iqp_adapter.scoring.scorer import Scorer
from iqp_adapter.store.files import atomic_path
from iqp_adapter.store.hub import BUILTIN
from iqp_adapter.store.reading import json_file
from iqp_adapter.training.dataset import Augmentation, FaceFolder

BATCH = 8


def main(
    faces: Annotated[Path, typer.Option(help="folder of good, aligned faces")],
    metric: Annotated[list[str], typer.Option("-m", "--metric", help="may be repeated")],
    size: Annotated[int, typer.Option(min=96, help="side of the pictures in pixels")] = 256,
    draws: Annotated[int, typer.Option(min=2, help="pictures that are drawn")] = 512,
    seed: int = 0,
    device: str = "cpu",
    weights: Annotated[Path | None, typer.Option(help="of the metric, if there is only one")] = None,
    output: Annotated[Path, typer.Option(help="entries of other metrics in it are kept")] = BUILTIN
    / "score_scales.json",
) -> None:
    if wrong := [name for name in metric if members(name)]:
        raise typer.BadParameter(f"{wrong[0]} is an ensemble; name its members")
    data = targets_of(faces, size, seed)
    what = f"{draws} draws of {len(data)} faces at {size} px, half under the ladder and half degraded, seed {seed}"
    source = f"{what}, data {dataset_hash(faces)[:12]}"
    known: dict[str, Any] = json_file(output) if output.exists() else {}
    for scorer in [Scorer(name, device=device, weights=weights) for name in metric]:
        scale = ScoreScale.fit(scorer.metric, scorer.lower_better, scores_of(data, scorer, draws))
        known[scorer.metric] = {"source": f"{source}, {scorer.protocol}", **scale.to_dict()}
    with atomic_path(output) as partial:
        partial.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


def targets_of(faces: Path, size: int, seed: int = 0) -> FaceFolder:
    """Faces as training draws them."""
    degradation = Degradation.for_resolution(size)
    return FaceFolder(faces, size, degradation=degradation, ladder=Ladder(), augmentation=Augmentation(), seed=seed)


@torch.no_grad()
def scores_of(
    data: FaceFolder, scorer: Callable[[Tensor], Tensor], draws: int, kinds: Sequence[str] = ("hq", "lq")
) -> Tensor:
    """Scores (draws,) of pictures as training draws them, targets ("hq") and inputs ("lq") in turn."""
    parts = [range(first, min(first + BATCH, draws)) for first in range(0, draws, BATCH)]
    return torch.cat([scorer(torch.stack([_picture(data, draw, kinds) for draw in part])) for part in parts])


def _picture(data: FaceFolder, draw: int, kinds: Sequence[str]) -> Tensor:
    return data[divmod(draw, len(data))][kinds[draw % len(kinds)]]


if __name__ == "__main__":
    typer.run(main)
