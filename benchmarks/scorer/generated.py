"""What generators make of degraded faces, and what fools a score: negatives for training a scorer.

Outputs come from models at every quality, from hosts at several stages of their training, and with a share of wrong
codes, as at the beginning of a training. Fooling pictures are raised in a score by their codes, latents or pixels.
The target of each is its full-reference quality against the original.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

import iqp_adapter as iqp
from benchmarks.hosts import small
from benchmarks.hosts.adapt import load_host
from benchmarks.scorer import raising
from benchmarks.scorer.distortions import Rng, as_tensor, load_face
from benchmarks.scorer.groups import Source, full_reference, person_number, slightly, sources, statistics
from benchmarks.scorer.looks import busyness, cheek_luminance
from benchmarks.scorer.measuring import Samples, kept
from benchmarks.scorer.raising import Reward
from iqp_adapter.degradations.face import Degradation
from iqp_adapter.restorer import Restorer

WRONG_CODES = (0.0, 0.0, 0.01, 0.05, 0.2)


@dataclass(frozen=True)
class Made:
    """A picture (1, 3, H, W) that was made of a degraded one, the original, and the place of its source."""

    picture: Tensor
    original: Tensor
    place: int


def generators(runs: Sequence[str]) -> list[tuple[Restorer, int]]:
    """The shipped model and small hosts, with their sides; a run is "name:side:folder"."""
    found: list[tuple[Restorer, int]] = [(iqp.IQPFR.from_pretrained("tiny"), 256)]
    for run in runs:
        name, side, folder = run.split(":", 2)
        found.append((iqp.wrap(load_host(name, Path(folder), side=int(side))), int(side)))
    return found


def outputs(models: list[tuple[Restorer, int]], faces: list[Source], count: int, seed: int) -> Iterator[Made]:
    """Restorations of faces that are drawn, by models that are drawn."""
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        place = int(rng.integers(len(faces)))
        model, side = models[rng.integers(len(models))]
        lq, original = degraded(faces[place], side, rng)
        yield Made(_output(model, lq, rng), original, place)


def degraded(source: Source, side: int, rng: Rng) -> tuple[Tensor, Tensor]:
    """A face under the degradation of training, and the face itself: (1, 3, side, side) each."""
    clean = slightly(load_face(source.path, side), rng)
    changes = {} if side > small.RESOLUTION else small.DEGRADATION
    return as_tensor(Degradation.for_resolution(256, **changes)(clean, int(rng.integers(2**31)))), as_tensor(clean)


def _output(model: Restorer, lq: Tensor, rng: Rng) -> Tensor:
    native = isinstance(model, iqp.IQPFR)
    quality: Any = float(rng.random()) if native else None
    if not model.decides_codes:
        return model.restore(lq, quality=quality)
    arguments = {"fidelity": float(rng.choice((0.0, 0.5)))} if native else {}
    with torch.no_grad(), model.deciding(lq, quality, float(rng.choice((1, 3))) if native else None, arguments) as d:
        share = float(rng.choice(WRONG_CODES))
        return d.decode(tuple(_weights(logits, share, rng) for logits in d.logits))


def _weights(logits: Tensor, wrong: float, rng: Rng) -> Tensor:
    """The most likely codes of logits (1, L, K), a share of them drawn anew, as one-hot weights."""
    codes = logits.argmax(-1)
    drawn = torch.from_numpy(rng.integers(logits.shape[-1], size=codes.shape))
    replaced = torch.from_numpy(rng.random(codes.shape)) < wrong
    return one_hot(torch.where(replaced, drawn, codes), logits.shape[-1]).to(logits)


def fooling(
    models: list[tuple[Restorer, int]], rewards: Sequence[Reward], faces: list[Source], count: int, seed: int
) -> Iterator[Made]:
    """Pictures that rise in a reward, early and late on their way; ways, models and rewards take turns."""
    able = [model for model in models if model[0].decides_codes]
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        place, reward = int(rng.integers(len(faces))), rewards[index % len(rewards)]
        way = raising.WAYS[index // len(rewards) % len(raising.WAYS)]
        model, side = able[rng.integers(len(able))]
        lq, original = degraded(faces[place], side, rng)
        for tried in raising.tries(way, model, lq, reward, steps=(4, 12)):
            yield Made(tried.restored, original, place)


def measured(made: Iterator[Made], faces: list[Source], backbones: tuple[str, ...], total: int, name: str) -> Samples:
    """Samples as those of `Groups`, one picture each, from the store where they are there already."""
    from rich.progress import track

    def make() -> Samples:
        rows = [_row(one, faces, backbones) for one in track(made, f"measuring {name}", total)]
        return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}

    return kept(f"{name}-{total}", make)


def _row(made: Made, faces: list[Source], backbones: tuple[str, ...]) -> Samples:
    clean = made.original[0].permute(1, 2, 0).numpy()
    clean = cv2.resize(clean, (256, 256), interpolation=cv2.INTER_AREA)
    return {
        **{f"statistics-{backbone}": statistics(backbone, made.picture)[0] for backbone in backbones},
        **full_reference(made.picture, made.original),
        "luminance": torch.tensor(cheek_luminance(clean)),
        "busyness": torch.tensor(busyness(clean)),
        "person": torch.tensor(person_number(faces[made.place].path)),
    }


def sets_of(folders: Sequence[Path]) -> list[Source]:
    return [source for folder in folders for source in sources(folder)]
