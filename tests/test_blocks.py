"""Blocks: the contract of what adapters add, the score map, and a kind that is one class and one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from tiny_hosts import TINY_HOSTS
from torch import Tensor, nn

import iqp_adapter as iqp
from iqp_adapter import Site
from iqp_adapter.core.adapter import KINDS, Adapter
from iqp_adapter.core.block import Block, Kept
from iqp_adapter.core.score_map import ScoreMap
from iqp_adapter.store import checkpoint

ANY = float("nan")


def filled(block: ScoreMap) -> ScoreMap:
    generator = torch.Generator().manual_seed(0)
    for parameter in block.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return block


class TestScoreMap:
    def test_it_starts_at_exactly_nothing_and_learns_at_once(self):
        block, features = ScoreMap(8), torch.randn(2, 5, 8)
        added = block.delta(features, block.condition(torch.tensor([[0.3], [ANY]])))
        assert torch.equal(features + added, features) and not block.learned
        (features + added).square().sum().backward()
        assert block.table.grad.abs().sum() > 0 and block.no_preference.grad.abs().sum() > 0

    def test_a_row_is_met_exactly_and_between_rows_it_is_a_straight_line(self):
        block = filled(ScoreMap(8, rows=10))
        quality = torch.tensor([[0.0], [1.0], [4 / 9], [4.5 / 9]])
        [added] = block.condition(quality)
        table = block.table[0, :, 0]
        wanted = torch.stack([table[0], table[9], table[4], (table[4] + table[5]) / 2])
        torch.testing.assert_close(added[:, 0], wanted)

    def test_it_is_continuous_in_the_quality(self):
        block = filled(ScoreMap(8))
        [sweep] = block.condition(torch.linspace(0, 1, 901)[:, None])
        assert (sweep[1:] - sweep[:-1]).abs().max() < (sweep.max() - sweep.min()) / 50

    def test_columns_are_summed_and_each_has_a_row_for_no_preference(self):
        block = filled(ScoreMap(8, columns=2, rows=3))
        [added] = block.condition(torch.tensor([[0.5, ANY], [ANY, 1.0]]))
        table, nothing = block.table[:, :, 0], block.no_preference[:, 0]
        torch.testing.assert_close(added[:, 0], torch.stack([table[0, 1] + nothing[1], nothing[0] + table[1, 2]]))

    def test_every_position_gets_the_same_unless_the_map_is_full(self):
        features = torch.randn(2, 6, 8)
        same, full = filled(ScoreMap(8)), filled(ScoreMap(8, positions=6))
        quality = torch.tensor([[0.2], [0.9]])
        added, placed = (block.delta(features, block.condition(quality), 0.5) for block in (same, full))
        assert added.shape == placed.shape == features.shape
        assert torch.equal(added[:, :1].expand_as(added), added)
        assert not torch.equal(placed[:, :1].expand_as(placed), placed)
        with pytest.raises(ValueError, match="the score map has 6 positions, the features have 5; restore pictures of"):
            full.delta(features[:, :5], full.condition(quality))

    def test_one_row_is_refused(self):
        with pytest.raises(ValueError, match="rows is 1, use 2 or more"):
            ScoreMap(8, rows=1)

    def test_its_parameters_are_ten_rows_and_one_for_each_column(self):
        model = iqp.wrap(TINY_HOSTS["codeformer-official"].build(), block="score_map")
        width = model.sites["generator-blocks-2"].dim
        blocks = model.adapters["default"].blocks.values()
        assert [sum(x.numel() for x in block.parameters()) for block in blocks] == [11 * width] * 3
        assert all(column in model.describe() for column in ("rows", "positions", "largest"))


class TestFullMap:
    def test_its_grid_is_that_of_a_dry_run_and_is_saved(self, tmp_path):
        host = TINY_HOSTS["codeformer-official"].build()
        before = torch.get_rng_state()
        model = iqp.wrap(host, block="score_map", sites="codes", full="ft_layers.0")
        assert torch.equal(torch.get_rng_state(), before) and not host.training
        shapes = [block.table.shape[2] for block in model.adapters["default"].blocks.values()]
        positions = host.position_emb.shape[0]
        assert shapes == [positions, 1]
        for block in model.adapters["default"].blocks.values():
            filled(block)
        lq = torch.rand(1, 3, 32, 32)
        wanted = model.restore(lq, quality=0.7)
        model.save_pretrained(tmp_path / "adapter")
        config, _ = checkpoint.load(tmp_path / "adapter")
        assert config["adapter"]["full"] == {"ft_layers.0": positions} and config["adapter"]["block"] == "score_map"
        loaded = iqp.wrap(model.unwrap(), adapter=tmp_path / "adapter")
        assert torch.equal(loaded.restore(lq, quality=0.7), wanted)

    def test_an_example_tells_the_grid_of_an_unknown_host(self):
        net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        model = iqp.wrap(net, sites=[Site("0", 4, "BCHW")], block="score_map", full="0", example=torch.rand(1, 3, 5, 6))
        assert model.adapters["default"].blocks["0"].table.shape == (1, 10, 30, 4)

    def test_a_site_that_is_not_there_or_cannot_be_measured_is_said(self):
        net = nn.Sequential(nn.Conv2d(3, 4, 3))
        for full in ("0", "1"):
            with pytest.raises(ValueError, match=f"'{full}' has no grid: it must be one of 0, and a host of any size"):
                iqp.wrap(net, sites=[Site("0", 4, "BCHW")], block="score_map", full=full)
        iqp.wrap(net, sites=[Site("0", 4, "BCHW")])


class Shift(Block):
    """A toy kind: one number, times the quality, added to everything; "any" adds nothing."""

    sizes = {"start": 0.0}
    rates = {"amount": 7.0}

    def __init__(self, start: float):
        super().__init__()
        self.amount = nn.Parameter(torch.tensor(start))

    @classmethod
    def build(cls, site: Site, columns: int, sizes: Mapping[str, Any]) -> Shift:
        return cls(sizes["start"])

    def condition(self, embedded: Tensor) -> Kept:
        return (embedded.nan_to_num()[:, :1, None],)  # (B, S) -> (B, 1, 1)

    def delta(self, features: Tensor, kept: Kept, scale: float | Tensor = 1.0) -> Tensor:
        return (self.amount * kept[0] * scale).expand_as(features)

    @property
    def learned(self) -> bool:
        return bool(self.amount != 0)

    def summary(self) -> dict[str, str]:
        return {"amount": f"{self.amount.item():g}"}


class TestThirdKind:
    """A third kind is one class and one line."""

    @pytest.fixture(autouse=True)
    def line(self, monkeypatch):
        monkeypatch.setitem(KINDS, "shift", Shift)

    def test_it_is_wrapped_described_saved_and_loaded(self, tmp_path):
        host = TINY_HOSTS["restoreformer-official"].build()
        lq = torch.rand(2, 3, 32, 32)
        bare = iqp.wrap(host)
        untouched = bare.restore(lq, quality=None)
        bare.unwrap()
        model = iqp.wrap(host, block="shift", start=2.0)
        restored = model.restore(lq, quality=torch.tensor([0.9, ANY]))
        assert not torch.equal(restored[0], untouched[0])
        torch.testing.assert_close(restored[1], untouched[1])
        assert "amount" in model.describe() and model.adapters["default"].kind.rates == {"amount": 7.0}
        model.save_pretrained(tmp_path / "adapter")
        loaded = iqp.wrap(model.unwrap(), adapter=tmp_path / "adapter")
        assert torch.equal(loaded.restore(lq, quality=torch.tensor([0.9, ANY])), restored)
        assert loaded.adapters["default"].block == "shift" and loaded.adapters["default"].sizes == {"start": 2.0}

    def test_it_adds_up_with_another_kind(self):
        host = TINY_HOSTS["restoreformer-official"].build()
        model = iqp.wrap(host)
        model.add_adapter("more", Adapter(list(model.sites.values()), block="shift", start=1.0))
        assert not torch.equal(
            model.restore(torch.rand(1, 3, 32, 32), quality=0.5), model.restore(torch.rand(1, 3, 32, 32), quality=None)
        )

    def test_what_no_kind_has_is_said_in_one_line(self):
        host = TINY_HOSTS["restoreformer-official"].build()
        with pytest.raises(ValueError, match="unknown block 'shfit'; available: attention, score_map, both, shift"):
            iqp.wrap(host, block="shfit")
        with pytest.raises(ValueError, match="block 'shift' has no tokens; it has start"):
            iqp.wrap(host, block="shift", tokens=3)
        with pytest.raises(ValueError, match="block 'attention' has no rows; it has token_dim, tokens, inner"):
            iqp.wrap(host, rows=3)


def test_adapters_that_were_saved_before_there_were_kinds_still_load(tmp_path):
    host = TINY_HOSTS["restoreformer-official"].build()
    iqp.wrap(host).save_pretrained(tmp_path / "old")
    config, state = checkpoint.load(tmp_path / "old")
    assert config["adapter"].pop("block") == "attention"
    checkpoint.save(tmp_path / "old", state, config)
    fresh = TINY_HOSTS["restoreformer-official"].build()
    assert iqp.wrap(fresh, adapter=tmp_path / "old").adapters["default"].block == "attention"
