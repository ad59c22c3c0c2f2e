"""Codes of a wrapped host: exchanged exactly, chosen by a metric, with and without a gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_hosts import TINY_HOSTS
from torch import Tensor
from torch.nn.functional import one_hot

import iqp_adapter as iqp
from iqp_adapter.compat import make_importable
from iqp_adapter.core.flags import fixed
from iqp_adapter.hosts.codes import with_moments_of

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning", "ignore:.*torch.jit.*:DeprecationWarning")
DECODING = ["codeformer-spandrel", "codeformer-official", "daefr"]
"""Those whose decoder passes a gradient on; a VQFR's does not."""
CODED = [*DECODING, "vqfr"]


class Pattern:
    """A metric that is easily raised: likeness to a fixed pattern of noise."""

    metric, lower_better, differentiable = "pattern", False, True

    def __call__(self, images: Tensor) -> Tensor:
        wanted = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(0))
        return (images * wanted).sum((1, 2, 3))


def wrapped(name: str, **how: Any) -> tuple[iqp.WrappedHost, Tensor]:
    make_importable()
    for package in TINY_HOSTS[name].needs:
        pytest.importorskip(package)
    torch.manual_seed(0)
    side = TINY_HOSTS[name].side
    return iqp.wrap(TINY_HOSTS[name].build(), **how), torch.rand(2, 3, side, side)


@pytest.mark.parametrize("name", CODED)
@torch.no_grad()
def test_its_own_codes_give_its_own_picture(name):
    model, lq = wrapped(name)
    codes = model.codes_in(lq)
    own = one_hot(codes.logits().argmax(-1), len(codes.access.codebook(model.bare))).float()
    assert torch.equal(codes.decode((own,)), model.restore(lq))
    other = own.roll(1, -1)
    assert not torch.equal(codes.decode((other,)), model.restore(lq))


@pytest.mark.parametrize("name", DECODING)
def test_a_gradient_reaches_the_codes_and_nothing_else(name):
    model, lq = wrapped(name)
    codes = model.codes_in(lq)
    with fixed(model.bare):
        logits = codes.logits()
        weights = one_hot(logits.argmax(-1), logits.shape[-1]).float().requires_grad_()
        restored = codes.decode((weights,))
        restored.square().sum().backward()
    assert torch.equal(restored, model.restore(lq))
    assert weights.grad is not None and weights.grad.abs().amax((1, 2)).gt(0).all()
    assert all(parameter.grad is None for parameter in model.bare.parameters())


@pytest.mark.parametrize("name", DECODING)
def test_the_gradient_is_that_of_what_the_host_looks_up(name):
    model, lq = wrapped(name)
    access, seen = model.codes, {}
    for path in (access.features, access.entry.path):
        place = model.bare.get_submodule(path)
        place.register_forward_hook(lambda module, given, made, path=path: seen.update({path: (given, made)}))
    codes = model.codes_in(lq)
    with fixed(model.bare):
        weights = one_hot(codes.logits().argmax(-1), len(access.codebook(model.bare))).float().requires_grad_()
        codes.decode((weights,))
        entered, features = seen[access.entry.path][0][0], seen[access.features][1]
        looked_up = (weights @ access.codebook(model.bare)).transpose(1, 2).unflatten(2, entered.shape[2:])
        if access.adain is not None:
            looked_up = with_moments_of(features, looked_up)
        assert torch.allclose(entered, looked_up, atol=1e-5)
        direction = torch.randn(entered.shape)
        found, wanted = (torch.autograd.grad((x * direction).sum(), weights)[0] for x in (entered, looked_up))
    assert torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("name", [*DECODING, "native"])
def test_optimising_raises_the_metric_and_keeps_flags_and_shape(name):
    model, lq = wrapped(name)
    reward = Pattern()
    before = reward(model.restore(lq))
    flags = [parameter.requires_grad for parameter in (*model.bare.parameters(), *model.parameters())]
    better = model.optimise(lq, reward, steps=20, kl_weight=0.0)
    assert better.shape == lq.shape and not better.requires_grad
    assert (reward(better) >= before).all() and (reward(better) > before).any()
    assert flags == [parameter.requires_grad for parameter in (*model.bare.parameters(), *model.parameters())]
    assert torch.equal(better, model.optimise(lq, reward, steps=20, kl_weight=0.0))
    assert torch.equal(model.optimise(lq, reward, steps=0), model.restore(lq))


@pytest.mark.parametrize("name", [*CODED, "native"])
def test_the_best_of_samples_needs_no_gradient(name):
    model, lq = wrapped(name)
    reward = Pattern()
    reward.differentiable = False
    sampled = model.best_of(lq, reward, samples=4, temperature=2.0)
    assert (reward(sampled) >= reward(model.restore(lq))).all() and (reward(sampled) > reward(model.restore(lq))).any()
    assert torch.equal(model.best_of(lq, reward, samples=0), model.restore(lq))
    with pytest.raises(ValueError, match="pattern has no gradient and cannot be optimised"):
        model.optimise(lq, reward)


@torch.no_grad()
def test_both_codebooks_of_the_native_host_are_decided_in_its_condition():
    model, lq = wrapped("native", sites="codes")
    torch.nn.init.constant_(next(iter(model.adapters["default"].blocks.values())).gate, 1.0)
    bare, logits = model.decision(lq).logits, model.bare(lq)[1]
    assert len(bare) == 2 and all(map(torch.equal, bare, logits))
    with model.conditioned(0.3):
        asked = model.decision(lq).logits
    assert not any(map(torch.equal, bare, asked))
    own = tuple(one_hot(x.argmax(-1), x.shape[-1]).float() for x in bare)
    torch.testing.assert_close(model.decision(lq).decode(own), model.restore(lq, quality=None), atol=1e-6, rtol=0)


def test_what_can_not_be_optimised_says_so():
    model, lq = wrapped("vqfr")
    with pytest.raises(ValueError, match="decodes without gradients, so its codes cannot be optimised; .* best_of"):
        model.optimise(lq, Pattern(), steps=1)
    model, lq = wrapped("gpen")
    for call in (model.optimise, model.best_of):
        with pytest.raises(ValueError, match="gpen decides no codes; restore with it, or take a host that does"):
            call(lq, Pattern())
    model, lq = wrapped("codeformer-official")
    with pytest.raises(ValueError, match="sharpness is 2, but codeformer has no sharpness; it takes fidelity"):
        model.optimise(lq, Pattern(), sharpness=2)
    assert model.optimise(lq, Pattern(), steps=1, fidelity=0.0).shape == lq.shape
