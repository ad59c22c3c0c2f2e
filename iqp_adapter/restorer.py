"""Restoring by other codes than the model's own: those that raise a metric, found by gradients or among draws."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from .core.codes import Codes, Optimisation, best_of, optimise
from .core.injection import Scale
from .core.quality import Quality
from .pictures import as_given
from .scoring.scorer import Scorer, reward_of


class Decision(NamedTuple):
    """What a model decides for a batch: code logits (B, L, K) per codebook, and the pictures of other code weights."""

    logits: Codes
    decode: Callable[[Codes], Tensor]


class ChoosesCodes:
    """A model that decides codes: native or wrapped, it can be asked for ones that a metric likes better."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where it runs, and where the metric does."""

    @abstractmethod
    def deciding(
        self, lq: Tensor, quality: Quality | None, scale: Scale | None, arguments: dict[str, Any]
    ) -> AbstractContextManager[Decision]:
        """What it decides for lq (B, 3, H, W) in a call like that; within it no parameter learns.

        Raises:
            ValueError: for a model without codes, and for arguments that it does not take.
        """

    def optimise(
        self,
        lq: Tensor,
        metric: str | Scorer = "iqp-lite",
        steps: int = 20,
        quality: Quality | None = "default",
        scale: Scale | None = None,
        leash: float = 1.0,
        **arguments: Any,
    ) -> Tensor:
        """Restores, then raises the metric further by choosing other codes; see `codes.optimise`.

        Args:
            lq, quality, scale, arguments: as for `restore`, as is what is returned.
            metric: name of a differentiable metric, or a `Scorer`.
            steps: number of updates, each a restoration and its gradient.
            leash: price of leaving the model's own code distribution, in points of the metric per nat.

        Raises:
            ValueError: for a model without codes, or one that decodes without gradients.
        """
        reward = reward_of(metric, self.device, differentiable=True)
        settings = Optimisation(steps=steps, leash=leash)
        return self._restored_by(lambda d: optimise(*d, reward, settings)[0], lq, quality, scale, arguments)

    def best_of(
        self,
        lq: Tensor,
        metric: str | Scorer = "iqp-lite",
        samples: int = 8,
        quality: Quality | None = "default",
        scale: Scale | None = None,
        seed: int = 0,
        temperature: float = 0.5,
        **arguments: Any,
    ) -> Tensor:
        """Of the model's own codes and some that are drawn from its distribution, the picture with the best metric.

        Needs no gradient, so that any metric will do; arguments as for `optimise` and `codes.best_of`.
        """
        reward = reward_of(metric, self.device, differentiable=False)
        return self._restored_by(
            lambda d: best_of(*d, reward, samples, seed, temperature), lq, quality, scale, arguments
        )

    @torch.no_grad()
    def _restored_by(
        self,
        choose_codes: Callable[[Decision], Codes],
        lq: Tensor,
        quality: Quality | None,
        scale: Scale | None,
        arguments: dict[str, Any],
    ) -> Tensor:
        """The picture of the codes that are chosen of what the model decides."""
        with self.deciding(lq, quality, scale, arguments) as decision:
            chosen = zip(choose_codes(decision), decision.logits, strict=True)
            weights = tuple(one_hot(indices, logits.shape[-1]).to(logits) for indices, logits in chosen)
            return as_given(decision.decode(weights), lq)
