"""What both stages of adapter training share: the host, the condition, and the sample grids."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...core.adapter import Adapter
from ...core.quality import ANY, BEST
from ...hosts.dial import DEFAULT
from ...hosts.wrapped import WrappedHost
from ..config import StageConfig
from ..guard import Guard
from .stage import Batch, Grid, Stage, Terms

logger = logging.getLogger(__name__)


class Adaptation(Stage):
    """Trains an adapter, and what it has of the host; the condition is the quality of the target.

    Args:
        model: the wrapped host, whose default adapter learns; the rest is frozen.
        guard: measures the restorations for the log.

    Options: `drop`, the share of samples without a condition; `shuffle_every`, the steps between two measurements of
    what is only logged: "... shuffled", by how much each term grows when every sample gets the quality of another one,
    and the terms of weight 0 that cost time; `host_rate`, the learning rate of a host that learns, in units of the
    configured one.
    """

    defaults = {"drop": 0.15, "shuffle_every": 50, "host_rate": 1.0}
    _measuring = True
    memory_format = torch.contiguous_format  # as the pictures: weights of the host may be among those that learn

    def __init__(self, config: StageConfig, perceptual: nn.Module, model: WrappedHost, guard: Guard):
        super().__init__(config, perceptual)
        self.model, self.guard = model.train(), guard
        self.rates = {**self.adapter.kind.rates, "retrained": self.options["host_rate"]}

    @classmethod
    def check_reach(cls, model: WrappedHost, name: str) -> None:
        """Refuses, before anything is trained, a stage that would teach nothing.

        Args:
            model: the wrapped host.
            name: of the stage.

        Raises:
            ValueError: where no parameter of the adapter has a gradient from what the stage looks at.
        """
        side = model.resolution or 64
        grey = torch.full((1, 3, side, side), 0.5, device=model.device)
        with torch.random.fork_rng(), torch.enable_grad(), model.conditioned(0.5):
            seen = cls.seen(model, grey)
        learning = list(model.adapters[DEFAULT].parameters())
        reached = seen.requires_grad and torch.autograd.grad(seen.sum(), learning, allow_unused=True)
        if not reached or all(gradient is None for gradient in reached):
            raise ValueError(
                f"nothing that is trained reaches the loss of {name}: what it looks at has no gradient to the sites of "
                f"this {model.name}; leave {name} out{or_steer_codes(model)}"
            )

    @classmethod
    def seen(cls, model: WrappedHost, lq: Tensor) -> Tensor:
        """What the loss looks at, with its gradient: the restored picture, or code logits."""
        return model.spec.restore(model.host, lq)

    @property
    def adapter(self) -> Adapter:
        return self.model.adapters[DEFAULT]

    def models(self) -> dict[str, nn.Module]:
        return {"adapter": self.adapter}

    def updates(self, batch: Batch, step: int) -> Iterator[tuple[str, Terms]]:
        self._measuring = (step + 1) % self.options["shuffle_every"] == 0
        yield "adapter", self._terms_at(torch.where(self.dropped(batch), ANY, batch.quality), batch)
        self._shuffled = self.shuffled(batch) if self._measuring else {}

    def counts(self, *names: str) -> bool:
        """Whether one of these terms has a weight, or is measured at this step for the log."""
        return self._measuring or any(self.config.weights.get(name, 1.0) for name in names)

    def dropped(self, batch: Batch) -> Tensor:
        """Which samples have no condition, (B,)."""
        return batch.uniform(1) < self.options["drop"]

    @torch.no_grad()
    def shuffled(self, batch: Batch) -> Terms:
        """By how much the terms grow with the qualities of other samples; about 0 if the adapter ignores quality."""
        own, others = (self._terms_at(quality, batch) for quality in (batch.quality, batch.quality.roll(1)))
        return {f"{name} shuffled": others[name] - own[name] for name in own}

    def _terms_at(self, quality: Tensor, batch: Batch) -> Terms:
        with self.model.conditioned(quality):
            return self.terms(batch)

    def after_step(self, step: int) -> Terms:
        return self._shuffled

    def terms(self, batch: Batch) -> Terms:
        """The loss terms; the adapter's condition is already set."""
        raise NotImplementedError

    def look(self, model: nn.Module, batch: Batch) -> Grid:
        with self.model.as_given():
            rows = {"lq": batch.lq, "bare": self.model.restore(batch.lq, quality=None)}
        with self.using(model):
            for quality in (0.1, 0.5, BEST):
                rows[f"q {quality}"] = self.model.restore(batch.lq, quality=quality)
        return rows | {"target": batch.hq}

    def results(self, rows: Grid) -> Terms:
        best = rows[f"q {BEST}"]
        if torch.equal(best, rows["q 0.1"]):
            logger.warning("the pictures are the same at every quality: the adapter has learned nothing yet")
        return self.guard(best, rows["bare"], rows["target"])

    @contextmanager
    def using(self, adapter: Any) -> Iterator[None]:
        """Uses another adapter with the same sites, such as the averaged one, within the block."""
        own = self.adapter
        self.model.exchange_adapter(DEFAULT, adapter)
        try:
            yield
        finally:
            self.model.exchange_adapter(DEFAULT, own)


def or_steer_codes(model: WrappedHost) -> str:
    """What else would do where an adapter behind the codes learns nothing."""
    behind = model.spec.code_sites is not None and {*model.sites.values()}.isdisjoint(model.spec.code_sites(model.bare))
    return ", or give sites: codes" if behind else ""
