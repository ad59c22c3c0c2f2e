"""Codes with a higher score that a search finds for training inputs: found once, and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.codes import Optimisation, search
from ..core.flags import fixed
from ..degradations.rng import numpy_rng, sample_seed
from ..hosts.wrapped import WrappedHost
from ..scoring.scorer import Scorer, reward_of
from .face_sets import FaceSets
from .kept_arrays import read_arrays, write_arrays
from .loop import Progress

SHARD = 32
"""Inputs whose codes one file holds; an interrupted search loses no more."""

KEPT = (0.0, 0.2, 0.5, 1.0)
"""The shares of the search's updates after which codes are kept."""


class FoundCodes(NamedTuple):
    """What was found for N inputs after each of some numbers of updates.

    Attributes:
        codes: indices (N, updates, books, L), unsigned and as small as they fit.
        scores: of the pictures that they decode to, raw, (N, updates) float32.
    """

    codes: np.ndarray
    scores: np.ndarray


class CodeSearch:
    """Searches codes with a higher score, from the bare host's own codes on.

    Args:
        model: the wrapped host, which stays as it is.
        scorer: whose score is raised.
        settings: of the search.

    Raises:
        ValueError: for a metric without a gradient.
    """

    def __init__(self, model: WrappedHost, scorer: Scorer, settings: Optimisation):
        self.model, self.scorer, self.settings = model, scorer, settings
        self.reward = reward_of(scorer, model.device, differentiable=True)
        self.kept = sorted({round(share * settings.steps) for share in KEPT})

    @torch.no_grad()
    def __call__(self, lq: Tensor) -> FoundCodes:
        """Inputs (B, 3, R, R) in [0, 1] -> what was found for them."""
        with self.model.as_given(), fixed(self.model.bare, self.model.adapters):
            decision = self.model.decision(lq)
            path = search(*decision, self.reward, self.settings)
            found = [each for step, each in enumerate(path) if step in self.kept]
        codes = torch.stack([torch.stack(each.codes, 1) for each in found], 1)  # (B, books, L) each
        rewards = torch.stack([each.rewards for each in found], 1)
        scores = -rewards if self.scorer.lower_better else rewards
        return FoundCodes(
            codes.cpu().numpy().astype(np.min_scalar_type(int(codes.max()))), scores.cpu().float().numpy()
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What the codes of an input depend on: the host's weights, the metric's, and the settings."""
        with self.model.as_given():
            host = self.model.fingerprint(None)
        return {"host": host, "metric": self.scorer.protocol, "search": asdict(self.settings), "kept": self.kept}


class CodeStore:
    """Files with what was found for inputs 0 to `count`, in a folder that is named after all that it depends on.

    So they are never those of other pictures, of another host or of another search. A damaged file is left out with a
    warning, and its codes are searched again.

    Args:
        root: of the folders; runs that search alike may share it.
        made_of: what the codes depend on, as JSON can hold it.
        count: of the inputs.
    """

    def __init__(self, root: Path, made_of: dict[str, Any], count: int):
        self.folder = root / hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
        self.count = count

    @property
    def shards(self) -> list[range]:
        """The inputs of every file."""
        return [range(first, min(first + SHARD, self.count)) for first in range(0, self.count, SHARD)]

    def missing(self) -> list[range]:
        """The inputs of every file that is not there."""
        return [shard for shard in self.shards if self._read(shard) is None]

    def write(self, shard: range, found: FoundCodes) -> None:
        write_arrays(self._path(shard), **found._asdict())

    def load(self) -> FoundCodes:
        """What was found for all inputs.

        Raises:
            ValueError: where some of it is missing.
        """
        found = [each for each in map(self._read, self.shards) if each is not None]
        if len(found) < len(self.shards):
            raise ValueError(f"{self.folder} lacks codes of some inputs; run the same command again")
        return FoundCodes(*map(np.concatenate, zip(*found, strict=True)))

    def _path(self, shard: range) -> Path:
        return self.folder / f"{shard.start:08d}.npz"

    def _read(self, shard: range) -> FoundCodes | None:
        """What a file holds; None where it is missing, damaged, or of fewer inputs."""
        path = self._path(shard)
        if not path.exists() or (arrays := read_arrays(path, *FoundCodes._fields)) is None:
            return None
        found = FoundCodes(*arrays)
        return found if len(found.codes) == len(found.scores) == len(shard) else None


def find(
    store: CodeStore,
    sets: FaceSets,
    searching: CodeSearch,
    batch: int,
    part: slice,
    progress: Progress,
) -> None:
    """Searches what is missing in a store.

    Args:
        sets: whose first samples have the inputs.
        batch: inputs that are searched at once.
        part: of the missing files, those that this process makes.
        progress: called with the number of inputs that are done, and by how much their scores rose.
    """
    missing = store.missing()[part]
    done = store.count - sum(map(len, missing))
    progress(done, {})
    for shard in missing:
        found = [searching(_stacked(sets, some).to(searching.model.device)) for some in _parts(shard, batch)]
        whole = FoundCodes(*map(np.concatenate, zip(*found, strict=True)))
        store.write(shard, whole)
        done += len(shard)
        rise = (whole.scores[:, -1] - whole.scores[:, 0]).mean()
        progress(done, {"rise": float(-rise if searching.scorer.lower_better else rise)})


def _parts(shard: range, size: int) -> list[range]:
    return [shard[first : first + size] for first in range(0, len(shard), size)]


def _stacked(sets: FaceSets, places: Sequence[int]) -> Tensor:
    return torch.stack([sample_of(sets, place)["lq"] for place in places])


def sample_of(sets: FaceSets, place: int) -> dict[str, Any]:
    """The sample whose input has this place: those of one epoch follow those of the other."""
    return sets[divmod(place, len(sets))]


class FoundSets(FaceSets):
    """Sets of faces whose first inputs come with codes that were found for them; every sample is one of these codes.

    Args:
        sets: of the run.
        found: for the samples of its first epochs, one after the other.
        seed: of the run.
    """

    def __init__(self, sets: FaceSets, found: FoundCodes, seed: int):
        super().__init__(sets.folders, sets.draws)
        self.sets, self.found, self.seed = sets, found, seed

    def __len__(self) -> int:
        return len(self.found.codes)

    def __getitem__(self, item: int | tuple[int, int]) -> dict[str, Any]:
        """
        Returns:
            a sample of `FaceSets`; codes: (books, L) int64 that were found for its input; score: their raw score.
        """
        epoch, place = item if isinstance(item, tuple) else (0, item)
        key = sample_seed(self.seed, epoch, place, "found")
        step = int(numpy_rng(key).integers(self.found.codes.shape[1]))
        codes = torch.from_numpy(self.found.codes[place, step].astype(np.int64))
        return sample_of(self.sets, place) | {"key": key, "codes": codes, "score": self.found.scores[place, step]}
