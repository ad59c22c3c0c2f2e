"""Is the condition used? With the scores of other pictures the code loss of stage 2 should rise.

python -m benchmarks.native.conditioning --run RUN --faces FACES/val
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.common.inputs import FacesOption, Pictures, SeedsOption, load_model, load_pictures
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json
from iqp_adapter.bench.claims import claim, claims_list
from iqp_adapter.bench.intervals import Interval, People
from iqp_adapter.core.codes import Codes
from iqp_adapter.core.quality import ANY
from iqp_adapter.degradations.ladder import Ladder
from iqp_adapter.native import IQPFR, Tokenizer
from iqp_adapter.scoring.scorer import Scorer
from iqp_adapter.training.losses import code_cross_entropy
from iqp_adapter.training.stages import PredictionStage

SMOOTHING = PredictionStage.defaults["smoothing"]
SHUFFLES = 3


def shuffled(values: Tensor, seed: int) -> Tensor:
    """Values (N,), each one that of another picture: they move on by one along a random cycle."""
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))
    result = torch.empty_like(values)
    result[order] = values[order.roll(1)]
    return result


@torch.no_grad()
def wanted_codes(tokenizer: Tokenizer, hq: Tensor, quality: Tensor, batch: int = 10) -> Codes:
    """Codes (N, L) of the targets in both codebooks."""
    parts = [tokenizer.quantise(*part).codes for part in zip(hq.split(batch), quality.split(batch), strict=True)]
    common, plus = zip(*parts, strict=True)
    return torch.cat(common), torch.cat(plus)


@torch.no_grad()
def code_losses(model: IQPFR, lq: Tensor, quality: Tensor, codes: Codes, batch: int = 10) -> np.ndarray:
    """The cross-entropy of stage 2 for each picture, both codebooks: (2, N)."""
    inputs = (lq, quality[:, None], *codes)
    losses = []
    for images, part, *wanted in zip(*(x.split(batch) for x in inputs), strict=True):
        logits = model.predict(images.to(model.device), part.to(model.device)).code_logits
        losses.append([_each(x.cpu(), y) for x, y in zip(logits, wanted, strict=True)])
    return np.concatenate(losses, axis=1)


def _each(logits: Tensor, codes: Tensor) -> list[float]:
    """The loss of every picture: logits (B, L, K), codes (B, L) -> B numbers."""
    return [float(code_cross_entropy(x[None], y[None], SMOOTHING)) for x, y in zip(logits, codes, strict=True)]


@torch.no_grad()
def qualities(model: IQPFR, images: Tensor) -> Tensor:
    """Pictures (N, 3, R, R) -> their quality (N,) on the model's own scale."""
    if model.score_scale is None:
        raise ValueError("the model has no score scale; take one that was trained with a condition")
    scorer = Scorer(model.score_scale.metric, device="cpu")
    return model.score_scale.quality(torch.cat([scorer(part) for part in images.split(10)]))


def measure(model: IQPFR, tokenizer: Tokenizer, pictures: Pictures) -> dict[str, np.ndarray]:
    """Losses (2, N) under the targets' own scores, under those of others and without a preference."""
    quality = qualities(model, pictures.original)
    codes = wanted_codes(tokenizer, pictures.original, quality)
    conditions = {"own": quality, "any": torch.full_like(quality, ANY)}
    conditions |= {f"shuffled {seed}": shuffled(quality, seed) for seed in range(SHUFFLES)}
    losses = {name: code_losses(model, pictures.degraded, q, codes) for name, q in conditions.items()}
    return {
        "own": losses["own"],
        "any": losses["any"],
        "shuffled": np.mean([losses[f"shuffled {seed}"] for seed in range(SHUFFLES)], axis=0),
    }


def table(losses: dict[str, np.ndarray], people: People) -> dict[str, dict[str, Interval]]:
    """Mean losses of both codebooks under each condition."""
    return {
        name: {"common": people.interval(common), "plus": people.interval(plus)}
        for name, (common, plus) in losses.items()
    }


def main(
    run: Annotated[Path, typer.Option(help="folder of a training run, with stage1/model and stage2/model")],
    faces: FacesOption,
    stage: Annotated[int, typer.Option(min=2, max=3, help="of the model that is measured")] = 2,
    seeds: SeedsOption = 5,
    out: OutOption = RESULTS / "native",
) -> None:
    """The loss of stage 2 on unseen people's faces at varied quality, paired over pictures."""
    started = time.perf_counter()
    folder = run / f"stage{stage}" / "model"
    model, tokenizer = load_model(folder), Tokenizer.from_pretrained(run / "stage1" / "model").eval()
    pictures = load_pictures(faces, model.config.coded, seeds, Ladder())
    losses, people = measure(model, tokenizer, pictures), People(pictures.people)
    total = {name: values.sum(0) for name, values in losses.items()}
    rise = {name: people.interval(total[name] - total["own"]) for name in ("shuffled", "any")}
    claims = [
        claim("shuffled scores raise the code loss over the targets' own", rise["shuffled"]),
        claim("no preference raises the code loss over the targets' own", rise["any"]),
    ]
    content = {"claims": claims, "losses": table(losses, people), "seconds": time.perf_counter() - started}
    facts = provenance(0, faces, model=folder, tokenizer=run / "stage1" / "model")
    write_json(out / "conditioning.json", content | facts)
    typer.echo(claims_list(claims))


if __name__ == "__main__":
    typer.run(main)
