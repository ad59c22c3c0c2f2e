"""The benchmark of full-size models: its steps train what they say, at a small size, and its ratios are of stock."""

from __future__ import annotations

import pytest
import torch
from tiny_hosts import TINY_HOSTS

from benchmarks.native import paper_size
from iqp_adapter.native import preset
from iqp_adapter.training.sample_scales import SampleScales
from iqp_adapter.training.stages import Batch

SIZES = {
    "paper": {"widths": [32, 32, 32, 32], "blocks": 1, "code_dim": 16, "codes": 12, "dim": 32, "mlp": 32},
    "iqpfr-512": {"patch": 2, "widths": [16, 24, 32], "fused_levels": [0], "code_dim": 8, "dim": 32, "token_dim": 16},
}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(
        paper_size, "preset", lambda name: preset(name, **SIZES[name], resolution=64, layers=1, heads=4)
    )
    monkeypatch.setattr(paper_size, "pictures", lambda: torch.rand(1, 3, 64, 64) * 2 - 1)
    monkeypatch.setattr(
        paper_size, "drawn_codes", lambda books: tuple(torch.randint(12, (1, 64)) for _ in range(books))
    )


@pytest.mark.parametrize("way", [way for way in paper_size.STEPS if way != paper_size.STOCK])
def test_every_step_of_training_runs_twice(small, way):
    step = paper_size.STEPS[way]()
    step()
    step()


@pytest.mark.parametrize("way", [paper_size.PAPER, paper_size.OURS])
def test_every_restoration_runs(small, way):
    assert paper_size.RESTORATIONS[way]()().shape == (1, 3, 64, 64)


def test_stock_learns_codes_with_encoder_and_transformer_alone():
    pytest.importorskip("spandrel_extra_arches")
    host = TINY_HOSTS["codeformer-spandrel"].build()
    stage = paper_size.StockPrediction(host, torch.randint(16, (1, 256)))
    pictures, scale = torch.rand(1, 3, 32, 32), SampleScales((), torch.zeros(1).long())
    batch = Batch(pictures, pictures, torch.ones(1), [0], scale, torch.ones(1).bool())
    [(_, terms)] = stage.updates(batch, 0)
    terms["code"].backward()
    learning = {name.split(".")[0] for name, value in host.named_parameters() if value.grad is not None}
    assert {"encoder", "ft_layers", "idx_pred_layer"} <= learning
    assert not learning & {"generator", "quantize", "fuse_convs_dict"}


def test_medians_and_ratios_are_of_stock(monkeypatch):
    taken = {paper_size.STOCK: [2.0, 4.0, 6.0], paper_size.PAPER: [1.0, 2.0, 9.0], paper_size.OURS: [8.0, 8.0, 8.0]}
    peaks = dict(zip(taken, (100.0, 150.0, 50.0), strict=True))
    monkeypatch.setattr(paper_size, "alone", lambda call, kind, way, rounds, threads: (taken[way], peaks[way]))
    facts = paper_size.facts_of("restoration", turns=2, rounds=3, threads=1)
    assert facts[paper_size.PAPER] == {
        "seconds": 2.0, "peak_MiB": 150.0, "seconds over CodeFormer": 0.5, "peak over CodeFormer": 1.5
    }  # fmt: skip
    assert paper_size.rows_of("restoration", facts)[2] == ["restoration", "iqpfr-512", "8.0", "2.00", "50", "0.50"]
