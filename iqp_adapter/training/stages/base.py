"""What the loop and the three stages agree on: a batch, a player's turn, a look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...core.codes import gumbel_noise
from ...degradations.rng import torch_generator
from ..config import StageConfig


class Batch(NamedTuple):
    """hq and lq (B, 3, R, R) in [0, 1], hq's quality (B,), and a key (B,) for every draw that a sample needs."""

    hq: Tensor
    lq: Tensor
    quality: Tensor
    keys: list[int]

    def uniform(self, purpose: int) -> Tensor:
        """One uniform draw a sample (B,), the same whatever batch or process the sample is in."""
        draws = [torch.rand((), generator=torch_generator(key + purpose)) for key in self.keys]
        return torch.stack(draws).to(self.hq.device)

    def gumbel(self, shape: tuple[int, ...], purpose: int) -> Tensor:
        """Gumbel noise (B, *shape), keyed as `uniform` is."""
        return torch.stack([gumbel_noise(shape, torch_generator(key + purpose)) for key in self.keys]).to(
            self.hq.device
        )


Terms = dict[str, Tensor]
"""Loss terms (or other scalars) by name."""

Grid = dict[str, Tensor]
"""Rows of pictures (B, 3, R, R) by label."""


class Stage:
    """What the loop needs of a stage.

    Args:
        config: settings; `weights` scales the terms, `options` is the stage's own.
        perceptual: distance of two batches of pictures.
    """

    defaults: dict[str, float] = {}
    rates: dict[str, float] = {}
    """By player, or by the last word of a parameter's name: its learning rate in units of the configured one."""
    memory_format = torch.channels_last
    """Of the players' weights; some networks are faster in the other one."""

    def __init__(self, config: StageConfig, perceptual: nn.Module):
        self.config, self.perceptual = config, perceptual
        self.options = {**self.defaults, **config.options}
        if unknown := set(config.options) - set(self.defaults):
            raise ValueError(
                f"unknown option {', '.join(sorted(unknown))}; this stage knows {', '.join(self.defaults)}"
            )

    def players(self) -> dict[str, nn.Module]:
        """The networks that learn, by name; the first one is what is averaged and kept."""
        raise NotImplementedError

    def turns(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        """The terms of each player in turn; the loop updates the player before it asks for the next turn."""
        raise NotImplementedError

    def after_step(self, step: int) -> Terms:
        """What happens besides gradients, and what is worth logging."""
        return {}

    def look(self, model: Any, batch: Batch) -> Grid:
        """Labelled rows of pictures that show how the (averaged) model does."""
        raise NotImplementedError

    def verdict(self, rows: Grid) -> Terms:
        """Scalars worth logging of the rows that `look` gave."""
        return {}
