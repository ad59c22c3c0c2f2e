"""Discrete codes: guidance, straight-through decisions, and optimisation that never leaves the codebook."""

import pytest
import torch

from iqp_adapter.core.codes import (
    Optimisation,
    best_of,
    decide,
    divergence,
    guide,
    gumbel_noise,
    optimise,
    straight_through,
)


def test_guidance_is_exact_at_its_ends():
    null, logits = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    assert torch.equal(guide(null, logits, 0.0), null)
    torch.testing.assert_close(guide(null, logits, 1.0), logits)
    torch.testing.assert_close(guide(null, logits, 2.0), 2 * logits - null)


def test_straight_through_is_exact_in_value_and_soft_in_gradient():
    hard, soft = torch.randn(1000), torch.randn(1000, requires_grad=True)
    chosen = straight_through(hard, soft)
    chosen.sum().backward()
    assert torch.equal(chosen, hard)
    assert torch.equal(soft.grad, torch.ones(1000))


def test_the_decision_is_one_hot_at_the_most_likely_code():
    logits = torch.randn(2, 5, 7, requires_grad=True)
    weights = decide(logits)
    assert torch.equal(weights.argmax(-1), logits.argmax(-1))
    assert torch.equal(weights.detach().sort(-1).values[..., -1], torch.ones(2, 5))
    (weights * torch.randn(2, 5, 7)).sum().backward()
    assert logits.grad.abs().sum() > 0


def test_gumbel_decisions_sample_the_distribution():
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(1, 20000, 3)
    noise = gumbel_noise(logits.shape, torch.Generator().manual_seed(0))
    shares = decide(logits, noise=noise).mean((0, 1))
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.015, rtol=0)


def test_divergence_is_the_kl_of_the_formula():
    a, b = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    p, q = a.softmax(-1), b.softmax(-1)
    torch.testing.assert_close(divergence(a, b), (p * (p / q).log()).sum(-1).mean(-1))
    torch.testing.assert_close(divergence(a, a), torch.zeros(2))


class Toy:
    """Code k paints its token with the grey k / (K - 1); the reward likes white."""

    logits = (torch.tensor([2.0, 1.5, 1.0, 0.5]).expand(2, 6, 4).clone(),)

    @staticmethod
    def decode(weights):
        return (weights[0] @ torch.linspace(0, 1, 4)).view(-1, 1, 2, 3).expand(-1, 3, -1, -1)

    @staticmethod
    def reward(images):
        return images.mean((1, 2, 3))


def test_optimisation_raises_the_reward_with_whole_codes():
    codes, history = optimise(Toy.logits, Toy.decode, Toy.reward, Optimisation(steps=30, kl_weight=0.0))
    assert history[0] == 0.0
    assert history[-1] > 0.8
    assert codes[0].dtype == torch.int64
    assert codes[0].shape == (2, 6)


def test_a_large_kl_weight_holds():
    free, _ = optimise(Toy.logits, Toy.decode, Toy.reward, Optimisation(steps=30, kl_weight=0.0))
    held, _ = optimise(Toy.logits, Toy.decode, Toy.reward, Optimisation(steps=30, kl_weight=100.0))
    assert torch.equal(held[0], Toy.logits[0].argmax(-1))
    assert not torch.equal(free[0], held[0])


def test_optimisation_never_returns_less_than_the_start_and_repeats_itself():
    def fickle(images):
        return -images.mean((1, 2, 3))

    first, _ = optimise(Toy.logits, Toy.decode, fickle, Optimisation(steps=5))
    assert torch.equal(first[0], Toy.logits[0].argmax(-1))
    state = torch.get_rng_state()
    runs = [optimise(Toy.logits, Toy.decode, Toy.reward, Optimisation(steps=5, seed=3))[0][0] for _ in range(2)]
    assert torch.equal(*runs)
    assert torch.equal(state, torch.get_rng_state())


def test_best_of_takes_the_best_sample_per_image():
    few = Toy.reward(Toy.decode([torch.eye(4)[best_of(Toy.logits, Toy.decode, Toy.reward, samples=1)[0]]]))
    many = Toy.reward(Toy.decode([torch.eye(4)[best_of(Toy.logits, Toy.decode, Toy.reward, samples=64)[0]]]))
    assert (many >= few).all()
    assert many.mean() > 0.2


@pytest.mark.parametrize("steps", [0, 1])
def test_history_has_one_value_per_judgement(steps):
    _, history = optimise(Toy.logits, Toy.decode, Toy.reward, Optimisation(steps=steps))
    assert len(history) == steps + 1
