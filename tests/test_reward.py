"""The reward: scores follow what is asked for, through pictures and through codes, held near the bare host."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, pixel_unshuffle

from iqp_adapter.core.adapter import Adapter
from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.core.sites import Site
from iqp_adapter.hosts.spec import HostSpec
from iqp_adapter.hosts.wrapped import WrappedHost
from iqp_adapter.training.config import StageConfig
from iqp_adapter.training.guard import Guard
from iqp_adapter.training.losses import coarse_difference
from iqp_adapter.training.sample_scales import SampleScales
from iqp_adapter.training.stages import Batch, CodeReward, ImageReward

SITES = [Site("features", 16, "BLC")]
SCALE = ScoreScale("brightness", False, (0.0, 100.0))


class Brightness:
    """A metric that is easily raised."""

    metric, lower_better = "brightness", False

    def __call__(self, pictures: Tensor) -> Tensor:
        return 100 * pictures.mean((1, 2, 3))


class Toy(nn.Module):
    """Decides one of five grey levels for every patch of 8 px, or takes their mean."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features, self.head = nn.Linear(192, 16), nn.Linear(16, 5)
        self.register_buffer("levels", torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]))

    def logits(self, lq: Tensor) -> Tensor:
        return self.head(self.features(pixel_unshuffle(lq, 8).flatten(2).transpose(1, 2)))

    def decode(self, codes: tuple[Tensor]) -> Tensor:
        greys = (codes[0] @ self.levels).unflatten(1, (1, 8, 8))  # (B, L, K) -> (B, 1, 8, 8)
        return greys.repeat_interleave(8, -1).repeat_interleave(8, -2).expand(-1, 3, -1, -1)


def decide(host, lq):
    return (host.logits(lq),), host.decode


def restore_hard(host, lq):
    return host.decode((one_hot(host.logits(lq).argmax(-1), 5).float(),))


def restore_soft(host, lq):
    return host.decode((host.logits(lq).softmax(-1),))


def spec(**how) -> HostSpec:
    return HostSpec("toy", "", "", has=(), sites=lambda host: SITES, resolution=lambda host: 64, **how)


KINDS = {
    ImageReward: spec(restore=restore_soft),
    CodeReward: spec(restore=restore_hard, decide=decide),
}


def stage(kind, **options):
    model = WrappedHost(Toy(), KINDS[kind], Adapter(SITES, [SCALE]))
    distance = lambda a, b: (a - b).square().mean()  # noqa: E731 - a stand-in for a module
    return kind(StageConfig(1, 8, 1e-3, options=options), distance, model, Guard(Brightness(), []))


def samples(pictures: Tensor, quality: Tensor, first: int = 0, scales=(SCALE,)) -> Batch:
    """Targets that are their own inputs; the sets of several scales take turns."""
    keys = range(first, first + len(pictures))
    sets = torch.arange(len(pictures)) % len(scales)
    return Batch(pictures, pictures, quality, list(keys), SampleScales(scales, sets), torch.ones(len(pictures)).bool())


def learned(stage, steps=60, rate=1e-2, **held):
    """A few dozen updates; the terms of the last one."""
    adam = torch.optim.Adam(stage.adapter.parameters(), lr=rate)
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        pictures = torch.rand(8, 3, 64, 64, generator=generator)
        batch = samples(pictures, torch.rand(8, generator=generator), first=8 * step)
        [(_, terms)] = stage.updates(batch, step)
        adam.zero_grad()
        distance = sum(weight * terms[name] for name, weight in held.items())
        (terms["quality"] + distance).backward()  # and nothing of the target, which is noise here
        adam.step()
    return {name: float(value.detach()) for name, value in terms.items()}


def brightness(stage, quality):
    lq = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return float(Brightness()(stage.model.restore(lq, quality=quality)).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_scores_follow_what_is_asked_for_and_any_stays_with_the_bare_host(kind):
    rewarding = stage(kind, drop=0.3, best=0.5, anything=0.5)
    before = learned(rewarding, from_bare=0.3, steps=1)
    after = learned(rewarding, from_bare=0.3, steps=300, rate=3e-3)  # slowly: whole codes flip
    dark, middle, bright = (brightness(rewarding, quality) for quality in (0.1, 0.5, 0.9))
    assert dark + 10 < middle < bright - 10
    assert after["quality"] < before["quality"] / 2
    bare, unasked = (brightness(rewarding, quality) for quality in (None, "any"))
    assert abs(unasked - bare) < 0.3 * (bright - dark)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("term", ["from_bare", "coarse"])
def test_distances_to_the_bare_host_hold(term, kind):
    loose, held = stage(kind, best=1.0), stage(kind, best=1.0)
    learned(loose), learned(held, **{term: 100.0})
    bare, near, far = brightness(held, None), brightness(held, "best"), brightness(loose, "best")
    assert abs(near - bare) < 0.2 * (far - bare)


def test_fine_detail_is_no_coarse_difference():
    flat, fine = torch.full((1, 3, 64, 64), 0.5), torch.full((1, 3, 64, 64), 0.5)
    fine[..., ::2] += 0.1
    fine[..., 1::2] -= 0.1
    assert float(coarse_difference(fine, flat, 1.0)) < 1 < 25 < float(coarse_difference(fine, flat, 0.4))
    assert float(coarse_difference(flat + 0.1, flat, 1.0)) == pytest.approx(100, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_blur_is_a_share_of_the_side(kind):
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    narrow, wide = (stage(kind, blur=share).departures(pictures, 1 - pictures) for share in (1 / 64, 8 / 64))
    assert float(narrow["coarse"]) == float(coarse_difference(pictures, 1 - pictures, 1.0)) > 2 * float(wide["coarse"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_bare_host_runs_only_where_its_terms_count_or_are_logged(kind, monkeypatch):
    rewarding, calls = stage(kind, shuffle_every=3), []
    as_given = rewarding.model.as_given
    monkeypatch.setattr(rewarding.model, "as_given", lambda: calls.append(1) or as_given())
    batch = samples(torch.rand(2, 3, 64, 64), torch.rand(2))
    ran = lambda: [len(calls), calls.clear()][0]  # noqa: E731
    none = {"from_bare": 0.0, "coarse": 0.0, "kl": 0.0}
    for weights in ({}, none, {**none, "from_bare": 0.1}, {**none, "coarse": 0.1}):
        rewarding.config = replace(rewarding.config, weights=weights)
        [(_, terms)] = rewarding.updates(batch, 0)
        counting = {name for name in ("from_bare", "coarse") if weights.get(name, 1.0)}
        assert ran() == bool(counting) and counting == terms.keys() & {"from_bare", "coarse"}
    rewarding.config = replace(rewarding.config, weights=none)
    [(_, terms)] = rewarding.updates(batch, 2)
    assert ran() == 3 and "from_bare shuffled" in rewarding.after_step(2) and float(terms["from_bare"]) >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_that_are_asked_for_nothing_have_no_reward(kind):
    rewarding = stage(kind, drop=1.0)
    pictures = torch.rand(2, 3, 64, 64)
    [(_, terms)] = rewarding.updates(samples(pictures, torch.rand(2)), 0)
    assert rewarding.requested(samples(pictures, torch.rand(2))).isnan().all()
    assert float(terms["quality"]) == 0


def test_with_noise_codes_are_drawn_and_without_they_are_the_hosts():
    pictures = torch.rand(2, 3, 64, 64)
    batch = samples(pictures, torch.rand(2))
    quiet, noisy = stage(CodeReward), stage(CodeReward, noise=1.0)
    with torch.no_grad(), quiet.model.conditioned("any"), noisy.model.conditioned("any"):
        assert torch.equal(quiet.attempt(batch)[0], restore_hard(quiet.model.host, pictures))
        assert not torch.equal(noisy.attempt(batch)[0], restore_hard(noisy.model.host, pictures))
        assert torch.equal(noisy.attempt(batch)[0], noisy.attempt(batch)[0])


def test_the_targets_own_quality_is_asked_for_unless_told_otherwise():
    pictures, own = torch.rand(64, 3, 64, 64), torch.linspace(0.1, 0.6, 64)
    batch = samples(pictures, own)
    assert torch.equal(stage(ImageReward, drop=0.0).requested(batch), own)
    assert stage(ImageReward, drop=0.0, best=1.0).requested(batch).unique().tolist() == [pytest.approx(0.95)]
    mixed = stage(ImageReward, drop=0.25, best=0.25, anything=0.25).requested(batch)
    shares = [mixed.isnan(), mixed == 0.95, mixed == own]
    assert all(8 <= int(share.sum()) <= 40 for share in shares)
    assert len(mixed[~mixed.isnan() & (mixed != 0.95) & (mixed != own)].unique()) >= 8
