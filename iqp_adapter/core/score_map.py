"""The score map: a learned vector for every quality, added to the features of a site as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .block import Block, Kept
from .sites import Site


class ScoreMap(Block):
    """Adds what a table says of the quality, and changes nothing until trained.

        quality (B, S) ── between two rows of S tables ── sum ── × scale ──► + features (B, L, C)
                   NaN ── row of "no preference" ─────────┘

    Source: the score embedding of IQPIR (arXiv 2603.29773, https://github.com/fengyang1399-pixel/IQPIR), the code of
    IQPFR's authors: one of ten maps, chosen by floor(10 * score), is added to the encoder's output. Differs: linear
    between the rows, so that the dial is smooth (`ScoreBins` has theirs); one vector for all positions, unless a full
    map is asked for; zero at the start instead of drawn, so that an untrained adapter is exact; a row for "no
    preference".

    Args:
        dim: width C of the features.
        columns: number of quality columns S.
        rows: of each table, from quality 0 to 1.
        positions: L for a map of the full grid; 1 for one vector that all positions share.
    """

    sizes = {"rows": 10, "full": {}}

    def __init__(self, dim: int, columns: int = 1, rows: int = 10, positions: int = 1):
        super().__init__()
        if rows < 2:
            raise ValueError(f"rows is {rows}, use 2 or more: one row is the same at every quality")
        self.table = nn.Parameter(torch.zeros(columns, rows, positions, dim))
        self.no_preference = nn.Parameter(torch.zeros(columns, positions, dim))

    @classmethod
    def build(cls, site: Site, columns: int, sizes: Mapping[str, Any]) -> ScoreMap:
        return cls(site.dim, columns, sizes["rows"], sizes["full"].get(site.path, 1))

    @classmethod
    def settled(cls, sizes: Mapping[str, Any], positions: Callable[[str], int]) -> dict[str, Any]:
        """`full`, the path of a site that gets a map of its full grid -> that path with the size of the grid."""
        full = sizes.get("full", {})
        return {**sizes, "full": {full: positions(full)} if isinstance(full, str) else dict(full)}

    def condition(self, embedded: Tensor) -> Kept:
        """quality (B, S) -> the map (B, 1, C), or (B, L, C) of the full grid."""
        found = self.look_up(embedded.nan_to_num())  # (B, S, L, C)
        return (torch.where(embedded.isnan()[..., None, None], self.no_preference, found).sum(1),)

    def look_up(self, quality: Tensor) -> Tensor:
        """What the tables say of a quality (B, S), which has no NaN: (B, S, L, C)."""
        rows = self.table.shape[1]
        place = quality * (rows - 1)  # (B, S)
        lower = place.floor().long().clamp_max(rows - 2)
        column = torch.arange(len(self.table), device=place.device)
        share = (place - lower)[..., None, None]  # (B, S, 1, 1)
        return self.table[column, lower].lerp(self.table[column, lower + 1], share)

    def delta(self, features: Tensor, kept: Kept, scale: float | Tensor = 1.0) -> Tensor:
        [added] = kept
        if added.shape[1] not in (1, features.shape[1]):
            raise ValueError(
                f"the score map has {added.shape[1]} positions, the features have {features.shape[1]}; restore "
                f"pictures of the size that it was made for, or make one without full="
            )
        return (added * scale).expand_as(features)

    @property
    def learned(self) -> bool:
        return bool(self.table.any() or self.no_preference.any())

    def summary(self) -> dict[str, str]:
        _, rows, positions, _ = self.table.shape
        largest = max(float(x.detach().abs().max()) for x in (self.table, self.no_preference))
        return {"rows": str(rows), "positions": str(positions), "largest": f"{largest:.4f}"}


class ScoreBins(ScoreMap):
    """A score map whose rows are equal bins of the quality: with ten rows, row floor(10 * quality); the last has 1 too.

    Source: IQPIR, as in `ScoreMap`. Differs: the start at zero and the row for "no preference".
    """

    def look_up(self, quality: Tensor) -> Tensor:
        row = bin_of(quality, self.table.shape[1])  # (B, S)
        return self.table[torch.arange(len(self.table), device=row.device), row]


def bin_of(values: Tensor, bins: int) -> Tensor:
    """Which of equal bins each value from 0 to 1 falls into, counted from 0; the last one has 1 too."""
    return (values * bins).floor().long().clamp(0, bins - 1)
