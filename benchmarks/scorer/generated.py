"""What generators make of degraded faces, and what fools a score: negatives for training a scorer.

Outputs come from the shipped model and from hosts at several stages of their training. They are raised in a score by
their codes, latents or pixels, which rarely makes them better: full reference says by how much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import iqp_adapter as iqp
from benchmarks.hosts import small
from benchmarks.hosts.small import load_host
from benchmarks.scorer import raising
from benchmarks.scorer.distortions import Rng, as_tensor, load_face
from benchmarks.scorer.groups import Source, full_reference, person_number, slightly, sources, statistics
from benchmarks.scorer.measuring import Samples, kept
from benchmarks.scorer.raising import Reward
from iqp_adapter.degradations.face import Degradation
from iqp_adapter.restorer import Restorer

STEPS = (0, 4, 12)
"""Of raising: what the generator made, and two later pictures."""


@dataclass(frozen=True)
class Made:
    """Pictures (S, 3, H, W), one for each of `STEPS`, the original (1, 3, H, W), and the place of its source."""

    pictures: Tensor
    original: Tensor
    place: int


def generators(runs: Sequence[str]) -> list[tuple[Restorer, int]]:
    """The shipped model and small hosts, with their sides; a run is "name:side:folder"."""
    return [(iqp.IQPFR.from_pretrained("tiny"), 256), *map(small_host, runs)]


def small_host(run: str) -> tuple[Restorer, int]:
    """A bare host and its side, of "name:side:folder"."""
    name, side, folder = run.split(":", 2)
    return iqp.wrap(load_host(name, Path(folder), side=int(side))), int(side)


def degraded(source: Source, side: int, rng: Rng) -> tuple[Tensor, Tensor]:
    """A face under the degradation of training, and the face itself: (1, 3, side, side) each."""
    clean = slightly(load_face(source.path, side), rng)
    changes = {} if side > small.FORMER else small.DEGRADATION
    return as_tensor(Degradation.for_resolution(256, **changes)(clean, int(rng.integers(2**31)))), as_tensor(clean)


def raised(
    models: list[tuple[Restorer, int]], rewards: Sequence[Reward], faces: list[Source], count: int, seed: int
) -> Iterator[Made]:
    """Outputs that rise in a reward; ways and rewards take turns, models and faces are drawn."""
    able = [model for model in models if model[0].decides_codes]
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        place, reward = int(rng.integers(len(faces))), rewards[index % len(rewards)]
        way = raising.WAYS[index // len(rewards) % len(raising.WAYS)]
        takes_part = models if way == "pixels" else able
        model, side = takes_part[rng.integers(len(takes_part))]
        lq, original = degraded(faces[place], side, rng)
        tries = raising.tries(way, model, lq, reward, STEPS)
        yield Made(torch.cat([tried.restored for tried in tries]), original, place)


def measured(made: Iterator[Made], faces: list[Source], backbones: tuple[str, ...], total: int, name: str) -> Samples:
    """Statistics (N, S, C) of every backbone, `vif` and `nlpd` (N, S), and `person` (N,), measured once for a name."""
    from rich.progress import track

    def make() -> Samples:
        rows = [_row(one, faces, backbones) for one in track(made, f"measuring {name}", total)]
        return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}

    return kept(f"{name}-{total}", make)


def _row(made: Made, faces: list[Source], backbones: tuple[str, ...]) -> Samples:
    truth = [full_reference(picture[None], made.original) for picture in made.pictures]
    return {
        **{f"statistics-{backbone}": statistics(backbone, made.pictures) for backbone in backbones},
        **{key: torch.stack([one[key] for one in truth]) for key in truth[0]},
        "person": torch.tensor(person_number(faces[made.place].path)),
    }


def sets_of(folders: Sequence[Path]) -> list[Source]:
    return [source for folder in folders for source in sources(folder)]
