"""Raises a reward at test time by three ways: by other codes, by a free latent, and by the pixels themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from benchmarks.hosts.optimisation import continuous
from iqp_adapter.core.codes import Codes, Optimisation, optimise
from iqp_adapter.core.flags import fixed
from iqp_adapter.hosts.wrapped import WrappedHost
from iqp_adapter.restorer import Decision, Restorer

WAYS = ("codes", "latent", "pixels")

CODE_RATE, LATENT_RATE, PIXEL_RATE, MIX_RATE = 0.3, 0.03, 0.004, 0.01
"""Adam's learning rates: of code logits, of a host's latent, of pixels, and of the native model's code weights."""

Reward = Callable[[Tensor], Tensor]


class Tried(NamedTuple):
    """The pictures (B, 3, R, R) of one way after some steps."""

    way: str
    steps: int
    restored: Tensor


def tries(way: str, model: Restorer, lq: Tensor, reward: Reward, steps: Sequence[int]) -> Iterator[Tried]:
    """Pictures after rising numbers of steps, from what the model restores without a condition.

    Nothing holds the picture back: there is no price of leaving the model's own codes.
    """
    if way == "pixels":
        yield from _pixels(model.restore(lq, quality=None), reward, steps)
    elif way == "latent" and isinstance(model, WrappedHost):
        with fixed(model.bare, model.adapters), model.conditioned(None):
            for tried in continuous(model.codes_in(lq), reward, list(steps), LATENT_RATE):
                yield Tried(way, tried.steps, tried.restored)
    else:
        raise_by = _latent if way == "latent" else _codes
        with model.deciding(lq, None, None, {}) as decision:
            yield from raise_by(decision, reward, steps)


def _codes(decision: Decision, reward: Reward, steps: Sequence[int]) -> Iterator[Tried]:
    candidates = []

    def decode(weights: Codes) -> Tensor:
        picture = decision.decode(weights)  # without noise once before the first and after every update
        candidates.append(picture.detach())
        return picture

    settings = Optimisation(steps=max(steps), rate=CODE_RATE, kl_weight=0.0, noise=0.0)
    optimise(decision.logits, decode, reward, settings)
    for count in steps:
        yield Tried("codes", count, candidates[count])


def _latent(decision: Decision, reward: Reward, steps: Sequence[int]) -> Iterator[Tried]:
    """Adam on the weights of the code mixture, which is no code any more."""
    chosen = tuple(one_hot(logits.argmax(-1), logits.shape[-1]).to(logits) for logits in decision.logits)
    moved = tuple(weights.clone().requires_grad_() for weights in chosen)
    yield from _climbed("latent", moved, lambda: decision.decode(moved), reward, steps, MIX_RATE)


def _pixels(start: Tensor, reward: Reward, steps: Sequence[int]) -> Iterator[Tried]:
    moved = start.clone().requires_grad_()
    yield from _climbed("pixels", (moved,), lambda: moved.clamp(0, 1), reward, steps, PIXEL_RATE)


def _climbed(
    way: str,
    moved: Sequence[Tensor],
    picture: Callable[[], Tensor],
    reward: Reward,
    steps: Sequence[int],
    rate: float,
) -> Iterator[Tried]:
    adam = torch.optim.Adam(moved, lr=rate)
    for step in range(max(steps) + 1):
        with torch.enable_grad():
            made = picture().clamp(0, 1)
            if step in steps:
                yield Tried(way, step, made.detach())
            if step < max(steps):
                adam.zero_grad()
                (-reward(made)).sum().backward()
                adam.step()
