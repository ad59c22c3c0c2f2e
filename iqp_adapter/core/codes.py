"""Discrete codes: guidance, straight-through decisions, and quality optimisation that never leaves the codebook.

The functions know logits (B, L, K) only; a wrapped host's and the native model's are alike to them.
Source: the discrete quality optimisation that IQPFR (arXiv 2503.09294) names; Gumbel-softmax (arXiv 1611.01144).
Differs: here the gradient goes through the code logits. In the authors' code (github.com/fengyang1399-pixel/IQPIR) it
goes straight through the codes to the encoder, and codes change only because their input does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import kl_div, one_hot

Codes = tuple[Tensor, ...]
"""One tensor per codebook: logits or code weights (B, L, K), or code indices (B, L)."""


def guide(null_logits: Tensor, logits: Tensor, scale: float | Tensor) -> Tensor:
    """Guidance on code logits: 0 gives the unconditioned ones, 1 the conditioned ones, above 1 goes further."""
    return null_logits + scale * (logits - null_logits)


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Exactly `hard` in value, with the gradient of `soft` (the order of the terms keeps the value exact)."""
    return hard + (soft - soft.detach())


def gumbel_noise(shape: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
    """Standard Gumbel noise, drawn on the generator's device (CPU without one)."""
    device = generator.device if generator is not None else "cpu"
    uniform = torch.rand(tuple(shape), generator=generator, device=device)
    return -(-uniform.clamp_min(1e-20).log()).clamp_min(1e-20).log()


def decide(logits: Tensor, temperature: float = 1.0, noise: Tensor | None = None) -> Tensor:
    """Code weights that are one-hot in value and differentiable through the softmax.

    Args:
        logits: (B, L, K) code logits.
        temperature: of the softmax that carries the gradient.
        noise: Gumbel noise (B, L, K), for a sample; without it the most likely code is taken.

    Returns:
        weights (B, L, K).
    """
    perturbed = logits if noise is None else logits + noise.to(logits)
    hard = one_hot(perturbed.argmax(-1), logits.shape[-1]).to(logits.dtype)
    return straight_through(hard, (perturbed / temperature).softmax(-1))


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """How far code distributions left their reference: mean over tokens of KL(logits || reference), (B,) in nats."""
    terms = kl_div(reference.log_softmax(-1), logits.log_softmax(-1), reduction="none", log_target=True)
    return terms.sum(-1).mean(-1)  # (B, L, K) -> (B,)


def with_moments_of(features: Tensor, x: Tensor) -> Tensor:
    """x (B, D, h, w), shifted to the features' mean and deviation, channel by channel.

    Source: adaptive instance normalisation (arXiv 1703.06868), as CodeFormer and its kin apply it to looked-up codes.
    """
    own_variance, own_mean = torch.var_mean(x, (2, 3), keepdim=True)
    variance, mean = torch.var_mean(features, (2, 3), keepdim=True)
    return (x - own_mean) * ((variance + 1e-5) / (own_variance + 1e-5)).sqrt() + mean


@dataclass(frozen=True)
class Optimisation:
    """Settings of `optimise`.

    Args:
        steps: number of updates.
        rate: Adam's learning rate on the logits.
        kl_weight: price of leaving the model's own code distribution, in reward per nat.
        temperature: of the straight-through softmax.
        noise: share of Gumbel noise in the draws whose gradient is followed; at 0 they are the most likely codes.
        seed: of the noise.
    """

    steps: int = 20
    rate: float = 0.3
    kl_weight: float = 0.1
    temperature: float = 1.0
    noise: float = 1.0
    seed: int = 0


class Found(NamedTuple):
    """What a search has found after some updates.

    Attributes:
        codes: indices (B, L) per codebook of the best candidate so far of every image.
        rewards: of these codes, (B,).
        current: mean reward of the newest candidate.
    """

    codes: Codes
    rewards: Tensor
    current: float


def search(
    logits: Codes,
    decode: Callable[[Codes], Tensor],
    reward: Callable[[Tensor], Tensor],
    settings: Optimisation | None = None,
) -> Iterator[Found]:
    """Raises the reward of the decoded image by deciding for other codes, never by leaving the codebook.

    Every update draws straight-through Gumbel-softmax codes, decodes them and follows the gradient of the reward less
    the KL term. Every candidate that is judged consists of whole codes. The best one per image has the highest reward
    less the KL term; the first candidate is the model's own decision, so that this objective never falls.

    Args:
        logits: (B, L, K) per codebook, the model's own.
        decode: code weights (B, L, K) per codebook -> images (B, 3, H, W) in [0, 1], differentiable.
        reward: images -> (B,), higher is better, differentiable.

    Yields:
        what was found before the first and after every update.
    """
    settings = settings or Optimisation()
    start = tuple(x.detach() for x in logits)
    moved = [x.clone().requires_grad_() for x in start]
    adam = torch.optim.Adam(moved, lr=settings.rate)
    generator = torch.Generator().manual_seed(settings.seed)
    best = _Best()
    for step in range(settings.steps + 1):
        updates = step < settings.steps
        with torch.set_grad_enabled(updates and not settings.noise):
            gain = reward(decode(tuple(decide(x, settings.temperature) for x in moved)))
        best.offer(gain.detach(), moved, start, settings.kl_weight)
        yield Found(best.codes, best.rewards, float(gain.detach().mean()))
        if updates:
            with torch.enable_grad():
                if settings.noise:
                    noise = (settings.noise * gumbel_noise(x.shape, generator) for x in moved)
                    weights = tuple(decide(x, settings.temperature, y) for x, y in zip(moved, noise, strict=True))
                    gain = reward(decode(weights))
                (settings.kl_weight * divergences(moved, start) - gain).sum().backward()
            adam.step()
            adam.zero_grad()


def optimise(
    logits: Codes,
    decode: Callable[[Codes], Tensor],
    reward: Callable[[Tensor], Tensor],
    settings: Optimisation | None = None,
) -> tuple[Codes, list[float]]:
    """What `search`, which takes the same, has found in the end.

    Returns:
        Code indices (B, L) per codebook, and the mean reward of the most likely codes before and after every update.
    """
    path = list(search(logits, decode, reward, settings))
    return path[-1].codes, [found.current for found in path]


def best_of(
    logits: Codes,
    decode: Callable[[Codes], Tensor],
    reward: Callable[[Tensor], Tensor],
    samples: int,
    seed: int = 0,
    temperature: float = 0.5,
) -> Codes:
    """The gradient-free variant: of the most likely codes and `samples` draws, the indices with the best reward."""
    generator = torch.Generator().manual_seed(seed)
    best = _Best()
    for draw in range(samples + 1):
        noise = [temperature * gumbel_noise(x.shape, generator).to(x) if draw else 0 for x in logits]
        drawn = [x + y for x, y in zip(logits, noise, strict=True)]
        with torch.no_grad():
            best.offer(reward(decode(tuple(decide(x) for x in drawn))), drawn)
    return best.codes


class _Best:
    """The best codes so far, per image."""

    def __init__(self) -> None:
        self.codes: Codes = ()
        self.rewards = torch.empty(0)
        self.value: Tensor | None = None

    @torch.no_grad()
    def offer(self, gain: Tensor, logits: Sequence[Tensor], start: Codes = (), kl_weight: float = 0.0) -> None:
        """Takes the most likely codes of `logits` where their reward (B,), less the KL term, is the best so far."""
        value = gain - kl_weight * divergences(logits, start) if kl_weight else gain
        indices = tuple(x.argmax(-1) for x in logits)
        if self.value is None:
            self.codes, self.rewards, self.value = indices, gain, value
        better = value > self.value
        self.codes = tuple(torch.where(better[:, None], new, old) for new, old in zip(indices, self.codes, strict=True))
        self.rewards, self.value = torch.where(better, gain, self.rewards), torch.where(better, value, self.value)


def divergences(logits: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
    """`divergence` of every codebook together, (B,) in nats."""
    return torch.stack([divergence(x, y) for x, y in zip(logits, reference, strict=True)]).sum(0)  # (B,)
