"""The estimate for one GPU: what it counts is what a small network really does, and hours follow by arithmetic."""

from __future__ import annotations

import pytest
import torch
from tiny_hosts import TINY_HOSTS
from torch import nn

from benchmarks.hosts import gpu_estimate
from benchmarks.hosts.gpu_estimate import Counts, estimate, kept, rows_of


def test_kept_bytes_are_those_of_the_graph_without_weights():
    layer = nn.Linear(8, 4)
    images = torch.rand(2, 8)
    with kept({value.data_ptr() for value in layer.parameters()}) as found:
        layer(images).square().sum()
    assert sum(found.values()) == images.nbytes + 2 * 4 * 4  # the input of the layer, and its output, which is squared


@pytest.mark.parametrize("way", gpu_estimate.WAYS)
@pytest.mark.parametrize(("tiny", "side"), [("restoreformer-gfpgan", 64), ("codeformer-spandrel", 32)])
def test_an_update_is_counted_for_both_kinds_of_host(monkeypatch, tiny, side, way):
    if tiny == "codeformer-spandrel":
        pytest.importorskip("spandrel_extra_arches")
    monkeypatch.setattr(gpu_estimate, "build", lambda _: TINY_HOSTS[tiny].build())
    monkeypatch.setattr(gpu_estimate, "pictures", lambda: torch.rand(1, 3, side, side) * 2 - 1)
    monkeypatch.setattr(gpu_estimate, "Scorer", lambda _: lambda images: images.mean((1, 2, 3)))  # has no least side
    counts = gpu_estimate.count(tiny.split("-")[0], way, torch.get_num_threads())
    host = sum(value.numel() for value in TINY_HOSTS[tiny].build().parameters())
    assert counts.operations > 0 and counts.kept > 0
    assert counts.fixed > 4 * host
    assert (counts.learning == host) == (way == "the whole host, by targets")


def test_hours_and_memory_follow_from_the_counts():
    counts = Counts(operations=3_600_000_000_000, kept=2**30, fixed=2**29, learning=5, peak=1.0)
    found = estimate(counts, samples=1000, batch=2, teraflops=10.0)
    assert found["hours"] == pytest.approx([0.5, 0.25])
    assert found["GiB"] == 2.5
    [_, row] = rows_of({"host": {"way": {**counts._asdict(), "estimate": found}}})
    assert row == ["host", "way", "0.0", "3.60", "1024", "2.5", "0.25 to 0.5"]
