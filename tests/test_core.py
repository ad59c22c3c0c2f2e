"""Embedding and attention: the condition, and how features look at it."""

import pytest
import torch

from iqp_adapter.core.attention import GatedCrossAttention
from iqp_adapter.core.embedding import ScoreEmbedding


@pytest.fixture
def embedding():
    torch.manual_seed(0)
    return ScoreEmbedding(32, tokens=3, metrics=2)


@pytest.fixture
def site():
    torch.manual_seed(0)
    return GatedCrossAttention(24, token_dim=32, inner=16, heads=2)


def test_tokens_have_their_shape_and_differ_from_each_other(embedding):
    tokens = embedding(torch.rand(5, 2))
    assert tokens.shape == (5, 3, 32)
    assert (tokens[:, 0] - tokens[:, 1]).abs().max() > 0.1


def test_tokens_follow_the_quality_smoothly(embedding):
    sweep = embedding(torch.linspace(0, 1, 101)[:, None].expand(-1, 2))
    steps = (sweep[1:] - sweep[:-1]).flatten(1).norm(dim=1)
    assert (sweep[0] - sweep[-1]).norm() > 0.1
    assert steps.max() < 0.1 * (sweep[0] - sweep[-1]).norm()


def test_from_the_start_the_ends_of_the_dial_have_different_tokens():
    tokens = ScoreEmbedding(128)(torch.tensor([[0.05], [0.95]])).detach()  # (2, T, D)
    ends = (tokens[0] - tokens[1]).square().mean().sqrt()
    others = (tokens[:, 0] - tokens[:, 1]).square().mean().sqrt()
    assert ends > 0.3 * others


def test_no_preference_is_learned_and_per_metric(embedding):
    nothing, half = torch.tensor([[torch.nan, torch.nan], [torch.nan, 0.5]])
    tokens = embedding(torch.stack([nothing, half]))
    assert tokens.isfinite().all()
    assert not torch.allclose(tokens[0], tokens[1])
    tokens[0].square().sum().backward()
    assert embedding.no_preference.grad.abs().min() > 0


def test_a_single_token_is_refused():
    with pytest.raises(ValueError, match="use 2 or more"):
        ScoreEmbedding(32, tokens=1)


def test_a_fresh_site_changes_nothing_to_the_bit(site):
    features, tokens = torch.randn(2, 7, 24), torch.randn(2, 3, 32)
    assert torch.equal(site(features, tokens), features)


def test_an_open_site_changes_the_features_until_scale_is_zero(site):
    site.gate.data.fill_(1.0)
    features, tokens = torch.randn(2, 7, 24), torch.randn(2, 3, 32)
    assert not torch.allclose(site(features, tokens), features)
    assert torch.equal(site(features, tokens, scale=0.0), features)


def test_scale_may_differ_per_image(site):
    site.gate.data.fill_(1.0)
    features, tokens = torch.randn(2, 7, 24), torch.randn(2, 3, 32)
    both = site(features, tokens, torch.tensor([0.0, 2.0]).view(2, 1, 1))
    assert torch.equal(both[0], features[0])
    torch.testing.assert_close(both[1], site(features, tokens, 2.0)[1])


def test_attention_equals_the_formula(site):
    site.gate.data.fill_(0.7)
    features, tokens = torch.randn(1, 5, 24), torch.randn(1, 3, 32)
    query = site.query(site.norm(features))[0].view(5, 2, 8).transpose(0, 1)
    key, value = (layer(tokens)[0].view(3, 2, 8).transpose(0, 1) for layer in (site.key, site.value))
    shares = (query @ key.transpose(1, 2) / 8**0.5).softmax(-1)
    expected = features + 0.7 * site.out((shares @ value).transpose(0, 1).reshape(1, 5, 16))
    torch.testing.assert_close(site(features, tokens), expected)


def test_keys_and_values_computed_before_give_the_same(site):
    site.gate.data.fill_(1.0)
    features, tokens = torch.randn(2, 7, 24), torch.randn(2, 3, 32)
    stored = site.condition(tokens)
    assert torch.equal(features + site.delta(features, stored), site(features, tokens))


def test_every_parameter_learns_after_two_steps(site, embedding):
    before = {name: value.clone() for name, value in [*site.named_parameters(), *embedding.named_parameters()]}
    adam = torch.optim.Adam([*site.parameters(), *embedding.parameters()], lr=1e-2)
    quality = torch.tensor([[0.2, 0.4], [torch.nan, torch.nan]])
    features, wanted = torch.randn(2, 7, 24), torch.randn(2, 7, 24)
    for _ in range(2):
        adam.zero_grad()
        (site(features, embedding(quality)) - wanted).square().mean().backward()
        adam.step()
    after = dict([*site.named_parameters(), *embedding.named_parameters()])
    assert [name for name, value in before.items() if torch.equal(value, after[name])] == []


def test_inner_width_must_fit_the_heads():
    with pytest.raises(ValueError, match="divisible by heads"):
        GatedCrossAttention(24, 32, inner=10, heads=4)
