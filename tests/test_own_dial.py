"""Hosts that take a score themselves: the quality reaches it without any adapter, and beside one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from photo_standins import FACE, photo
from torch import Tensor, nn

import iqp_adapter as iqp
from iqp_adapter import HostSpec, OwnDial, ScoreScale, Site
from iqp_adapter.bench.candidates import candidates
from iqp_adapter.hosts import registry
from iqp_adapter.photo import restore_photo

SCALE = ScoreScale("musiq", False, (0.2, 0.6, 0.8))
"""Half of the pictures lie below 0.6."""


class Scored(nn.Module):
    """A host that brightens a picture by a score for each row, or not at all where it is given none."""

    def __init__(self) -> None:
        super().__init__()
        self.scored = nn.Conv2d(3, 3, 1)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, score: Tensor | None = None) -> Tensor:
        x = x + 0.1 * self.scored(x)
        if score is None:
            return x
        self.seen.append(score)
        return x + 0.2 * score.view(-1, 1, 1, 1)


def sites(host: nn.Module) -> list[Site]:
    return [Site("scored", 3, "BCHW")]


def resolution(host: nn.Module) -> int:
    return 64


def restore(host: Any, lq: Tensor, score: Tensor | None = None) -> Tensor:
    return host(lq) if score is None else host(lq, score)


def dial(host: nn.Module) -> OwnDial:
    return OwnDial("score", SCALE, any=0.7)


SPEC = HostSpec("scored", "https://scored", "MIT", ("scored.",), sites, restore, resolution, dial=dial)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(registry, "hosts", lambda: {"scored": SPEC})


@pytest.fixture
def host() -> Scored:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Scored().eval()


def lq(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_the_quality_reaches_the_hosts_own_argument(host, caplog):
    model = iqp.wrap(host)
    for quality, score in ((0.0, 0.2), (0.5, 0.6), (1.0, 0.8), ("best", 0.78), ("any", 0.7)):
        assert torch.equal(model(lq(), quality=quality), host(lq(), torch.full((2,), score)))
    mixed = torch.tensor([0.5, float("nan")])
    assert torch.equal(model(lq(), quality=mixed), host(lq(), torch.tensor([0.6, 0.7])))
    assert host.seen[-1].shape == (2,)
    assert not caplog.records, "an untrained adapter is no reason to warn here"


@torch.no_grad()
def test_without_a_quality_it_is_the_bare_host(host):
    bare, model = host(lq()), iqp.wrap(host)
    for same in ({}, {"quality": None}, {"quality": 0.9, "scale": 0}):
        assert torch.equal(model(lq(), **same), bare), same
    assert torch.equal(host(lq()), bare)
    with model.conditioned(0.5):
        assert torch.equal(host(lq()), host(lq(), torch.full((2,), 0.6)))
    assert model.unwrap() is host and torch.equal(host(lq()), bare) and not host._forward_pre_hooks


@torch.no_grad()
def test_a_score_that_the_caller_gives_is_kept(host):
    model, own = iqp.wrap(host), torch.tensor([0.1, 0.3])
    wanted = host(lq(), own)
    assert torch.equal(model(lq(), own, quality=0.9), wanted)
    assert torch.equal(model(lq(), score=own, quality=0.9), wanted)
    assert torch.equal(model.restore(lq(), quality=0.9, score=own), wanted.clamp(0, 1))


@torch.no_grad()
def test_an_adapter_can_be_added_on_other_sites(host, tmp_path):
    model = iqp.wrap(host)
    alone = model(lq(), quality=0.9)
    nn.init.ones_(model.adapters["default"].blocks["scored"].gate)
    assert not torch.equal(model(lq(), quality=0.9), alone)
    model.save_pretrained(tmp_path / "adapter")
    both = model(lq(), quality=0.9)
    assert torch.equal(iqp.wrap(model.unwrap(), adapter=tmp_path / "adapter")(lq(), quality=0.9), both)


@torch.no_grad()
def test_a_quality_set_once_is_the_default(host):
    model = iqp.wrap(host)
    model.quality = 0.5
    assert torch.equal(model(lq()), host(lq(), torch.full((2,), 0.6)))
    compiled = torch.compile(model, backend="eager")
    assert torch.equal(compiled(lq(), quality=0.0), host(lq(), torch.full((2,), 0.2)))


def test_describe_says_so_and_everybody_asks_it(host, monkeypatch):
    model = iqp.load(host)
    said = "a dial of its own: score, a score of musiq, 0.2 (worst) to 0.8, best is 0.78, any is 0.7"
    assert said in model.describe()
    assert model.takes_quality and model.conditioned_on == ("musiq",)
    assert restore_photo(photo(), model, detector=FACE, quality=0.9).shape == photo().shape
    monkeypatch.setattr("iqp_adapter.bench.candidates.load", lambda source, **options: model)
    assert [row.name for row in candidates(["some"])] == ["input", "some, best", "some, any"]


def test_a_wrong_quality_is_one_line(host):
    model = iqp.wrap(host)
    with pytest.raises(ValueError, match=r"quality must lie in \[0, 1\]"):
        model(lq(), quality=2)


@torch.no_grad()
def test_an_instance_that_takes_no_score_has_no_dial(host, monkeypatch, caplog):
    spec = replace(SPEC, dial=lambda host: None)
    monkeypatch.setattr(registry, "hosts", lambda: {"scored": spec})
    model = iqp.wrap(host)
    assert not model.takes_quality and torch.equal(model(lq(), quality=0.9), host(lq()))
    assert "has learned nothing yet" in caplog.text
