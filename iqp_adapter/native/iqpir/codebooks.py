"""The codebooks of IQPIR: both look up one feature, and what they find is summed."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...core.codes import straight_through

COMMITMENT = 0.25
"""Weight of the term that moves an entry to the features; the one that moves features to the entry has 1."""


class Book(nn.Module):
    """Entries that learn by gradient, with a look-up by Euclidean distance.

    Source: VQ-VAE (arXiv 1711.00937), as in CodeFormer and IQPIR. Differs from `native.codebook`, which is ours: cosine
    look-up, entries as moving averages, revival of dead ones.
    """

    def __init__(self, size: int, dim: int):
        super().__init__()
        self.embedding = nn.Embedding(size, dim)
        nn.init.uniform_(self.embedding.weight, -1 / size, 1 / size)

    @property
    def entries(self) -> Tensor:
        """(K, D)."""
        return self.embedding.weight

    def indices(self, features: Tensor) -> Tensor:
        """Index of the nearest entry: features (B, L, D) -> (B, L)."""
        return torch.cdist(features.float(), self.entries.float()[None]).argmin(-1)


class Looked(NamedTuple):
    """What a codebook finds for features: entries (B, L, D) with straight-through gradient, indices (B, L), and the
    cost of both being apart (B,)."""

    entries: Tensor
    indices: Tensor
    cost: Tensor


def look_up(book: Book, features: Tensor) -> Looked:
    """The entries nearest to features (B, L, D)."""
    indices = book.indices(features)
    entries = book.embedding(indices)
    cost = (entries.detach() - features).square().mean((1, 2))
    cost = cost + COMMITMENT * (entries - features.detach()).square().mean((1, 2))
    return Looked(straight_through(entries.detach(), features), indices, cost)
