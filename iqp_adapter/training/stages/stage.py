"""What a stage of training has to provide to the loop: models, their loss terms, and sample grids."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...core.codes import Codes, gumbel_noise
from ...degradations.rng import torch_generator
from ...store.words import in_short, several
from ..config import StageConfig
from ..sample_scales import SampleScales


class Batch(NamedTuple):
    """Some samples.

    Attributes:
        hq, lq: targets and inputs (B, 3, R, R) in [0, 1].
        quality: of the targets within their own sets, (B,).
        keys: a random key for every sample.
        scale: of every sample's own set.
        full: whether the picture behind a target has as many pixels as the target, (B,) bool.
        codes: that were found for the inputs, (B, L) for each codebook; the quality is then of these.
    """

    hq: Tensor
    lq: Tensor
    quality: Tensor
    keys: list[int]
    scale: SampleScales
    full: Tensor
    codes: Codes = ()

    def at(self, places: Tensor) -> Batch:
        """The samples at some places (N,)."""
        scale = self.scale._replace(sets=self.scale.sets[places])
        keys = [self.keys[i] for i in places]
        codes = tuple(book[places] for book in self.codes)
        return Batch(self.hq[places], self.lq[places], self.quality[places], keys, scale, self.full[places], codes)

    def first(self, count: int) -> Batch:
        """The first samples; all of them where there are fewer."""
        return self.at(torch.arange(min(count, len(self.keys))))

    def uniform(self, purpose: int) -> Tensor:
        """One uniform draw per sample (B,), the same in every batch and process that the sample is in."""
        draws = [torch.rand((), generator=torch_generator(key + purpose)) for key in self.keys]
        return torch.stack(draws).to(self.hq.device)

    def gumbel(self, shape: tuple[int, ...], purpose: int) -> Tensor:
        """Gumbel noise (B, *shape), keyed like `uniform`."""
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
        config: settings; `weights` scales the terms, `options` holds the stage's own options.
        perceptual: distance between two batches of pictures.

    Raises:
        ValueError: for a weight or an option that the stage does not have.
    """

    term_names: tuple[str, ...] = ()
    """Every loss term that a configuration may give a weight; without one its weight is 1."""
    defaults: dict[str, float] = {}
    """Every option with its default."""
    ranges: dict[str, tuple[float, float]] = {
        **dict.fromkeys(("drop", "smoothing", "best", "anything", "own", "fidelity"), (0, 1)),
        **dict.fromkeys(("revive_every", "shuffle_every", "pictures"), (1, 1e9)),
        **dict.fromkeys(("noise", "host_rate"), (0, 1e3)),
        "alpha": (0, 10),
        "temperature": (1e-3, 1e3),
    }
    """The least and the greatest value of options of these names; the others take any number."""
    rates: dict[str, float] = {}
    """Learning rates in units of the configured one, by the last or the first part of a parameter's name, or the name
    of a model."""
    memory_format = torch.channels_last
    """Of the models' weights; some models are faster in the other one."""

    def __init__(self, config: StageConfig, perceptual: nn.Module):
        self.check(config)
        self.config, self.perceptual = config, perceptual
        self.options = {**self.defaults, **config.options}

    @classmethod
    def check(cls, config: StageConfig) -> None:
        """Raises ValueError for a weight or an option that the stage does not have, and an option out of its range."""
        for kind, given, known in (
            ("loss term", config.weights, cls.term_names),
            ("option", config.options, cls.defaults),
        ):
            if unknown := sorted(map(in_short, set(given) - set(known))):
                raise ValueError(f"unknown {kind} {several(unknown)}; this stage knows {', '.join(known) or 'none'}")
        for name, value in config.options.items():
            low, high = cls.ranges.get(name, (-math.inf, math.inf))
            if not low <= value <= high:
                raise ValueError(f"options.{name} is {value:g}; give a number from {low:g} to {high:g}")

    def models(self) -> dict[str, nn.Module]:
        """The models that learn, by name; the first one is averaged and saved."""
        raise NotImplementedError

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        """The loss terms of each model in order; the loop updates a model before it asks for the terms of the next."""
        raise NotImplementedError

    def together(self, terms: Terms) -> Tensor:
        """The loss () that terms make by their weights."""
        return torch.stack([self.config.weights.get(name, 1.0) * value for name, value in terms.items()]).sum()

    def after_step(self, step: int) -> Terms:
        """Makes changes that need no gradient, and returns further scalars for the log."""
        return {}

    def look(self, model: Any, batch: Batch) -> Grid:
        """Labelled rows of pictures for the sample grid of the (averaged) model."""
        raise NotImplementedError

    def results(self, rows: Grid) -> Terms:
        """Measurements of the rows that `look` gave, for the log."""
        return {}
