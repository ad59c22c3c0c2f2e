"""What the benchmarks of hosts compute themselves: searches that raise a metric, and where they rose equally."""

from __future__ import annotations

import stand_ins
import torch

import iqp_adapter as iqp
from benchmarks.common.judges import panel_of
from benchmarks.hosts import optimisation
from benchmarks.hosts.optimisation import DRIVING, Search, at_equal_rise
from iqp_adapter.bench.intervals import Interval


def row(way: str, rise: float, other: float) -> dict:
    return {"way": way, "strength": 1.0, "steps": 1, DRIVING: Interval(rise, 0, 0), "psnr": Interval(other, 0, 0)}


def test_ways_are_compared_where_they_have_risen_equally(monkeypatch):
    monkeypatch.setattr(optimisation, "RISES", (4.0, 6.0))
    rows = [row("codes", 2, -1), row("codes", 4, -3), row("latent", 8, -8), row("latent", 16, -9)]
    equal = at_equal_rise(rows, panel_of([DRIVING, "psnr"]))
    assert equal[4.0]["codes"] == {DRIVING: 4, "psnr": -3}
    assert equal[4.0]["latent"] == {DRIVING: 4, "psnr": -4}  # half way to its first row
    assert equal[6.0] == {"latent": {DRIVING: 6, "psnr": -6}}  # codes do not get so far


def test_every_way_of_the_search_raises_the_reward_and_leaves_the_host_alone():
    torch.manual_seed(0)
    model, lq = iqp.wrap(stand_ins.CodeFormer(2, 2).eval()), torch.rand(2, 3, 64, 64)
    state = {key: value.clone() for key, value in model.bare.state_dict().items()}
    wanted = torch.randn(3, 64, 64)

    def reward(pictures):
        return (pictures * wanted).sum((1, 2, 3))

    bare = reward(model.restore(lq, quality=None)).mean()
    search = Search([3, 6], discrete=[0.5], drawn=[0.5], continuous=[0.1], samples=[4])
    tries = list(search.tries(model, lq, reward))
    assert [(one.way, one.steps) for one in tries] == [
        ("discrete", 3), ("discrete", 6), ("discrete, drawn", 3), ("discrete, drawn", 6),
        ("continuous", 3), ("continuous", 6), ("best of", 4),
    ]  # fmt: skip
    for one in tries:
        assert reward(one.restored).mean() >= bare - 1e-4, one.way
    risen = {one.way: float(reward(one.restored).mean() - bare) for one in tries}
    assert risen["continuous"] > 0
    assert all(torch.equal(value, state[key]) for key, value in model.bare.state_dict().items())
    assert torch.equal(reward(model.restore(lq, quality=None)).mean(), bare)
