"""What the benchmarks of hosts compute themselves: courses of training, searches that raise a metric, comparisons."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count

import pytest
import stand_ins
import torch
from torch import nn

import iqp_adapter as iqp
from benchmarks.common.judges import panel_of
from benchmarks.hosts import course, optimisation
from benchmarks.hosts.optimisation import DRIVING, Search, at_equal_rise
from benchmarks.hosts.stages import Dictionary, revive
from iqp_adapter import ScoreScale
from iqp_adapter.bench.intervals import Interval
from iqp_adapter.training.base_run import Run
from iqp_adapter.training.config import RunConfig, StageConfig
from iqp_adapter.training.record import Record
from iqp_adapter.training.stages import Batch, Stage


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


class Wanders(Stage):
    """Learns one number, towards 1; what it is judged by turns at 0.5."""

    def __init__(self):
        super().__init__(StageConfig(steps=1, batch=2, rate=0.1, warmup=1, ema=0.0, decay=0.0), nn.Identity())
        self.net = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.net.weight)

    def models(self):
        return {"net": self.net}

    def updates(self, batch, step):
        aim = 0.5 if step == course.LATE else 1.0
        yield "net", {"miss": (self.net.weight - aim).abs().sum()}

    def look(self, model, batch):
        return {"lq": batch.lq}


@pytest.fixture
def run(tmp_path):
    """A training run on the astronaut, with its score scale."""
    from PIL import Image
    from skimage.data import astronaut

    for name in ("train", "dev", "more"):
        (tmp_path / name).mkdir()
        for place in range(3):
            crop = Image.fromarray(astronaut()[8 * place : 8 * place + 200, 100:300]).resize((64, 64))
            crop.save(tmp_path / name / f"{place}.png")
    scale = ScoreScale("iqp-lite", False, tuple(range(101)))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "score_scale.json").write_text(json.dumps(scale.to_dict()))
    settings = RunConfig(precision="fp32", save_every=10, watch_every=1000)
    return Run(settings, 64, tmp_path / "train", tmp_path / "run", [tmp_path / "dev", tmp_path / "more"])


def test_a_host_learns_until_dev_stops_improving_and_the_best_one_is_taken(run, monkeypatch):
    monkeypatch.setattr(course.time, "perf_counter", count(0, 60.0).__next__)  # a part of the course takes a minute
    pace = course.Course(every=2, patience=3, budget=100, batch=2)
    best = pace.learned(run, "wanders", Wanders)
    rows = Record(run.folder / "wanders" / "dev").rows()
    losses = [row["loss"] for row in rows]
    least = losses.index(min(losses))
    assert 0 < least == len(rows) - 4 and all(row["minutes"] == 1 for row in rows)
    assert float(best.weight) == pytest.approx(0.5, abs=0.11) and float(best.weight) < 0.8
    assert [row["step"] for row in rows] == list(range(2, 2 * len(rows) + 1, 2))
    assert torch.equal(pace.learned(run, "wanders", Wanders).weight, best.weight)
    assert len(Record(run.folder / "wanders" / "dev").rows()) == len(rows), "a course that is over is over"
    pace = course.Course(every=2, patience=4, budget=100, batch=2)
    pace.learned(run, "wanders", Wanders)
    assert len(Record(run.folder / "wanders" / "dev").rows()) == len(rows) + 1


def test_a_course_ends_when_its_budget_is_spent():
    pace = course.Course(every=2, patience=3, budget=5, batch=2)
    improving = [{"loss": 1 / n, "minutes": 1.0} for n in range(1, 5)]
    assert not pace.over([]) and not pace.over(improving)
    assert pace.over([*improving, {"loss": 0.1, "minutes": 1.0}])


def test_several_sets_are_watched_and_each_picture_once(run):
    batches = list(run.watched(4))
    assert [len(batch.keys) for batch in batches] == [4, 2]
    assert {int(place) for batch in batches for place in batch.scale.sets} == {0, 1}


class Quantised(nn.Module):
    """What a stage of a host with a codebook looks at, without a decoder."""

    def __init__(self, codes: int = 16):
        super().__init__()
        from spandrel_extra_arches.architectures.CodeFormer.__arch.codeformer import VectorQuantizer

        self.encoder, self.quantize, self.generator = nn.Conv2d(3, 8, 8, 8), VectorQuantizer(codes, 8, 0.25), Shown()


class Shown(nn.Module):
    def __init__(self):
        super().__init__()
        self.back = nn.ConvTranspose2d(8, 3, 8, 8)

    def forward(self, features):
        return self.back(features)


def test_a_codebook_starts_from_the_centres_of_features_that_passed_as_they_were():
    pytest.importorskip("spandrel_extra_arches")
    torch.manual_seed(0)
    settings = StageConfig(1, 4, 1e-3, options={"continuous": 3, "revive_every": 2, "revive_until": 6})
    stage = Dictionary(settings, lambda a, b: (a - b).square().mean(), Quantised())
    hq = torch.rand(4, 3, 64, 64)
    batch = Batch(hq, hq, torch.rand(4), list(range(4)), None, torch.ones(4).bool())
    plain = stage.host.generator(stage.host.encoder(2 * hq - 1)) / 2 + 0.5
    counts = []
    for step in range(6):
        [(_, terms)] = stage.updates(batch, step)
        if step < 3:
            torch.testing.assert_close(terms["l1"], (plain - hq).abs().mean())
            assert float(terms["codebook"]) == 0
        else:
            assert float(terms["codebook"]) > 0
        counts.append(int(stage.after_step(step)["codes"]))
    [(_, cold)] = Dictionary(replace(settings, options={"continuous": 0}), stage.perceptual, Quantised()).updates(
        batch, 0
    )
    assert min(counts[3:]) > 8 and float(terms["codebook"]) < 0.7 * float(cold["codebook"])


def test_unused_codes_become_tokens_and_used_ones_stay():
    book, tokens = torch.zeros(4, 2), torch.arange(12.0).reshape(6, 2)
    revive(book, torch.tensor([True, False, True, False]), tokens, seed=1)
    assert torch.equal(book[[1, 3]], torch.zeros(2, 2))
    assert all(row.tolist() in tokens.tolist() for row in book[[0, 2]]) and not torch.equal(book[0], book[2])
