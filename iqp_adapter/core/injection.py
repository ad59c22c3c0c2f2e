"""What adapters add to a host's features in one call, and how strongly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .block import Block, Kept
from .numbers import check_numbers
from .sites import Site

Scale = float | Tensor | Mapping[str, float]
"""A number for all sites, a tensor (B,) with one per image, or numbers by the start of the sites' paths (else 1)."""


@dataclass(frozen=True)
class Injection:
    """What one adapter adds at one site in one call.

    Args:
        block: the adapter's, at the site.
        kept: what the block made of the quality that is asked for, for one or B images.
        strength: (1, 1, 1) or (B, 1, 1).
        asked: 1, or (1, 1, 1) or (B, 1, 1) with 0 where there is no preference and nothing is added for it.
    """

    block: Block
    kept: Kept
    strength: Tensor
    asked: float | Tensor = 1.0

    def __call__(self, features: Tensor) -> Tensor:
        """features (B, L, C) -> what is added to them.

        Raises:
            ValueError: where qualities or strengths were given for another number of images.
        """
        batch = features.shape[0]
        for rows in (self.kept[0].shape[0], self.strength.shape[0]):
            if rows != batch and rows != 1:  # noqa: PLR1714 - in this order, a traced batch of any size is not asked
                raise ValueError(f"quality or scale has {rows} rows, the batch has {batch} pictures; give one for each")
        kept = tuple(x.expand(batch, *x.shape[1:]) for x in self.kept)
        return self.block.delta(features.to(self.block.dtype), kept, self.strength * self.asked)


def strengths(scale: Scale, sites: Mapping[str, Site], like: Tensor) -> dict[str, Tensor]:
    """The user's strength by site: (1, 1, 1), or (B, 1, 1) where every image has its own; on the device of `like`.

    Raises:
        ValueError: for what is no finite number, and for numbers by path, one of which starts no site's.
    """
    if not isinstance(scale, Mapping):
        return dict.fromkeys(sites, _strength(scale, like))
    paths = [site.path for site in sites.values()]
    unknown = [start for start in scale if not any(_under(path, start) for path in paths)]
    if unknown:
        raise ValueError(f"scale names {unknown[0]!r}, which is no site; the sites are {', '.join(paths)}")
    return {key: _strength(_nearest(scale, site.path), like) for key, site in sites.items()}


def _strength(scale: float | Tensor, like: Tensor) -> Tensor:
    check_numbers("scale", scale)
    return torch.as_tensor(scale, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)  # (B,) -> (B, 1, 1)


def _nearest(scale: Mapping[str, float], path: str) -> float:
    """The number of the longest start of the path, 1 where there is none."""
    starts = [start for start in scale if _under(path, start)]
    return scale[max(starts, key=len)] if starts else 1.0


def _under(path: str, start: str) -> bool:
    return path == start or path.startswith(f"{start}.")
