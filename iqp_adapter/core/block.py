"""The block: the contract of what an adapter adds to a host's features at one site, whichever way it finds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .sites import Site

Kept = tuple[Tensor, ...]
"""What a block makes of a quality, once for any number of calls: tensors with a row for every picture, or one."""


class Block(nn.Module):
    """What an adapter adds to the features of one site.

        quality (B, S) ── embedding ── condition ──► kept
                                features (B, L, C), kept ── delta ── × scale ──► + features

    A kind of block is a subclass in a file of its own, and a line in `adapter.KINDS`. Nobody outside that file knows
    what its parameters are called. A fresh block adds exactly nothing, so that an untrained adapter leaves the host as
    it is, and its first gradient is not zero.

    Attributes:
        sizes: by name, with their defaults; what JSON can hold. Saved with the adapter.
        rates: learning rates in units of the configured one, by the last word of a parameter's name; the others are 1.
    """

    sizes: ClassVar[Mapping[str, Any]] = {}
    rates: ClassVar[Mapping[str, float]] = {}

    @classmethod
    def build(cls, site: Site, columns: int, sizes: Mapping[str, Any]) -> Block:
        """A fresh block for a site and `columns` columns of quality."""
        raise NotImplementedError

    @classmethod
    def embedding(cls, columns: int, sizes: Mapping[str, Any]) -> nn.Module:
        """What all blocks of an adapter share: it makes of a quality (B, S) what `condition` takes."""
        return nn.Identity()

    @classmethod
    def settled(cls, sizes: Mapping[str, Any], positions: Callable[[str], int]) -> dict[str, Any]:
        """Sizes with what only a dry run of the host tells: `positions` gives the length L of the site of a path."""
        return dict(sizes)

    def condition(self, embedded: Tensor) -> Kept:
        """What the block needs of a quality, as the embedding gave it, a row for every picture."""
        raise NotImplementedError

    def delta(self, features: Tensor, kept: Kept, scale: float | Tensor = 1.0) -> Tensor:
        """What is added to the features.

        Args:
            features: (B, L, C) at the site.
            kept: of the quality that is asked for, B rows.
            scale: the user's strength, a number or (B, 1, 1); 0 adds nothing.

        Returns:
            (B, L, C).
        """
        raise NotImplementedError

    @property
    def learned(self) -> bool:
        """Whether it adds anything; until then a host is what it was."""
        raise NotImplementedError

    def summary(self) -> dict[str, str]:
        """What people want to know of it, by column of a table."""
        return {}

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype
