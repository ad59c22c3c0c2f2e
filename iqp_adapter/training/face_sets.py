"""Several folders of faces as one data set, whose samples tell which of them they are from."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from .dataset import FaceFolder


class FaceSets(Dataset[dict[str, Any]]):
    """Sets of faces by name; `dataset[(epoch, index)]` is one sample, as of `FaceFolder`, and the number of its set.

    An epoch has as many samples as there are pictures, and a fixed number of them is of each set. The samples of a set
    run through its pictures and start again, whatever the epoch. A single set is therefore the same as its folder.

    Args:
        folders: by the names of the sets.
        shares: of the samples, by the same names; only their proportions count. By default the numbers of pictures.

    Attributes:
        draws: the number of samples of each set in an epoch.

    Raises:
        ValueError: for shares of other sets, and for one that is too small to give its set a sample.
    """

    def __init__(self, folders: Mapping[str, FaceFolder], shares: Mapping[str, float] | None = None) -> None:
        self.folders = dict(folders)
        sizes = {name: len(folder) for name, folder in self.folders.items()}
        self.draws = _draws(sizes, shares or sizes)
        self._ends = list(accumulate(self.draws.values()))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, item: int | tuple[int, int]) -> dict[str, Any]:
        """
        Args:
            item: (epoch, index); an index alone is of epoch 0.

        Returns:
            a sample of a `FaceFolder`; set: the place of its set among `folders`.
        """
        epoch, index = item if isinstance(item, tuple) else (0, item)
        place = bisect_right(self._ends, index)
        name, folder = list(self.folders.items())[place]
        draw = (epoch + 1) * self.draws[name] + index - self._ends[place]
        return folder[divmod(draw, len(folder))] | {"set": place}


def set_names(roots: Sequence[Path]) -> list[str]:
    """The name of each folder's set: the folder's own, with as many parents as tell it from the others.

    Raises:
        ValueError: for a folder that is given twice.
    """
    paths = [Path(os.path.abspath(root)).parts for root in roots]
    if twice := [str(root) for root, path in zip(roots, paths, strict=True) if paths.count(path) > 1]:
        raise ValueError(f"{twice[0]} is given twice; to draw its pictures more often, set shares in the configuration")
    return [_shortest_ending(path, paths) for path in paths]


def _shortest_ending(path: tuple[str, ...], paths: Sequence[tuple[str, ...]]) -> str:
    endings = (path[-count:] for count in range(1, len(path) + 1))
    alone = (ending for ending in endings if sum(other[-len(ending) :] == ending for other in paths) == 1)
    return Path(*next(alone, path)).as_posix()


def _draws(sizes: Mapping[str, int], shares: Mapping[str, float]) -> dict[str, int]:
    """Samples of each set in an epoch: whole numbers next to the shares, as many as there are pictures."""
    if sizes.keys() != shares.keys():
        raise ValueError(f"shares are of {', '.join(shares)}, and the sets are {', '.join(sizes)}; give one for each")
    values = np.array([shares[name] for name in sizes])
    exact = values / values.sum() * sum(sizes.values())
    whole = np.floor(exact).astype(int)
    missing = sum(sizes.values()) - whole.sum()
    whole[np.argsort(whole - exact, kind="stable")[:missing]] += 1
    draws = dict(zip(sizes, whole.tolist(), strict=True))
    if never := [name for name, count in draws.items() if count < 1]:
        raise ValueError(f"the share of {never[0]} is less than one of {sum(whole)} samples; raise it in shares")
    return draws
