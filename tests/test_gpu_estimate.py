"""Training on one GPU: the estimate counts what a small network really does, and what is measured is such an update."""

from __future__ import annotations

import pytest
import torch
from tiny_hosts import TINY_HOSTS
from torch import nn

from benchmarks.hosts import gpu_estimate, training_gpu
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


@pytest.mark.parametrize("way", gpu_estimate.WAYS)
def test_what_is_measured_on_a_gpu_is_an_update_of_what_learns_alone(monkeypatch, way):
    """The device here is the CPU."""
    monkeypatch.setattr(gpu_estimate, "build", lambda _: TINY_HOSTS["restoreformer-gfpgan"].build())
    monkeypatch.setattr(training_gpu, "pictures", lambda count: torch.rand(count, 3, 64, 64) * 2 - 1)
    monkeypatch.setattr(gpu_estimate, "Scorer", lambda _: lambda images: images.mean((1, 2, 3)))
    waited = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    work, device = gpu_estimate.WAYS[way]("restoreformer"), torch.device("cpu")
    learning = {id(value) for model in work.stage.models().values() for value in model.parameters()}
    host = work.networks[0]
    before = {key: value.clone() for key, value in host.state_dict().items()}
    training_gpu.step_of(work, 2, device)()
    assert waited == [device]
    moved = [key for key, value in host.named_parameters() if not torch.equal(value, before[key])]
    assert bool(moved) == any(id(value) in learning for value in host.parameters())


def test_hours_of_a_gpu_follow_from_its_pace():
    one = {"seconds": 0.5, "middle half": [0.4, 0.6], "GiB": 2.0}
    [_, row] = training_gpu.rows_of({"host": {"way": one}}, batch=4, samples=28_800)
    assert row == ["host", "way", "0.500", "8", "2.0", "1"]
