"""Codebooks with cosine look-up; while they are trained, moving averages and the revival of dead codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize

from ..core.codes import straight_through


class Codebook(nn.Module):
    """Replaces each token by its nearest entry.

    Tokens and entries are compared as unit vectors and entries are kept at length sqrt(dim), so that every entry is
    equally easy to reach.

    Source: VQ-VAE (arXiv 1711.00937); cosine look-up after improved VQGAN (arXiv 2110.04627).

    Args:
        size: number of entries K.
        dim: width D of an entry.
    """

    entries: Tensor

    def __init__(self, size: int, dim: int):
        super().__init__()
        self.length = dim**0.5
        self.register_buffer("entries", normalize(torch.randn(size, dim), dim=-1) * self.length)

    @property
    def size(self) -> int:
        return len(self.entries)

    def similarity(self, tokens: Tensor) -> Tensor:
        """Cosine of tokens (B, L, D) and entries: (B, L, K) in [-1, 1]."""
        return normalize(tokens, dim=-1) @ (self.entries.T.to(tokens.dtype) / self.length)

    def indices(self, tokens: Tensor) -> Tensor:
        """Index of the nearest entry: tokens (B, L, D) -> (B, L)."""
        return self.similarity(tokens).argmax(-1)

    def lookup(self, indices: Tensor) -> Tensor:
        """Entries of code indices: (B, L) -> (B, L, D)."""
        return embedding(indices, self.entries)

    def mix(self, weights: Tensor) -> Tensor:
        """Entries of (one-hot or soft) code weights, differentiable: (B, L, K) -> (B, L, D)."""
        return weights @ self.entries.to(weights.dtype)

    def scaled(self, tokens: Tensor) -> Tensor:
        """Tokens (..., D) at the length of the entries, which is where they are compared with them."""
        return normalize(tokens, dim=-1) * self.length

    def quantise(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """tokens (B, L, D) -> entries with straight-through gradient (B, L, D), indices (B, L), commitment (B,)."""
        tokens = self.scaled(tokens)
        indices = self.indices(tokens)
        entries = self.lookup(indices)
        commitment = (tokens - entries).square().mean((1, 2))
        return straight_through(entries, tokens), indices, commitment


class MovingCodebook(Codebook):
    """A codebook in training: its entries follow the tokens that choose them, as moving averages.

    Args:
        size, dim: as in `Codebook`.
        decay: of the moving averages, per step.
    """

    sums: Tensor
    counts: Tensor

    def __init__(self, size: int, dim: int, decay: float = 0.99):
        super().__init__(size, dim)
        self.decay = decay
        self.register_buffer("sums", torch.zeros(size, dim))
        self.register_buffer("counts", torch.zeros(size))

    @torch.no_grad()
    def update(self, tokens: Tensor, indices: Tensor) -> None:
        """Moves the entries towards the tokens (N, D) that chose them (N,); summed over processes."""
        chosen = torch.zeros_like(self.counts).index_add_(0, indices, torch.ones_like(indices, dtype=torch.float32))
        sums = torch.zeros_like(self.sums).index_add_(0, indices, normalize(tokens.float(), dim=-1))
        chosen, sums = _over_processes(chosen), _over_processes(sums)
        self.counts.lerp_(chosen, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        used = self.counts > 1e-6
        self.entries[used] = normalize(self.sums[used], dim=-1) * self.length

    @torch.no_grad()
    def revive(self, tokens: Tensor, generator: torch.Generator, below: float = 0.1) -> int:
        """Puts dead entries onto random tokens (N, D) and returns how many; the first call places them all.

        Args:
            tokens: of the current step; those of the first process are taken.
            generator: picks the tokens.
            below: share of an equal share of choices under which an entry is dead.
        """
        dead = (self.counts < below * self.counts.mean()).nonzero()[:, 0]
        picks = torch.randint(len(tokens), (len(dead),), generator=generator).to(tokens.device)
        fresh = _of_first_process(normalize(tokens[picks].float(), dim=-1))
        self.entries[dead], self.sums[dead] = fresh * self.length, fresh
        self.counts[dead] = self.counts.mean().clamp_min(1.0)
        return len(dead)

    def perplexity(self) -> Tensor:
        """Effective number of entries in use, 1 to K, by the moving average of choices."""
        shares = self.counts / self.counts.sum().clamp_min(1e-12)
        return torch.special.entr(shares).sum().exp()


def _over_processes(x: Tensor) -> Tensor:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(x)
    return x


def _of_first_process(x: Tensor) -> Tensor:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.broadcast(x, src=0)
    return x
