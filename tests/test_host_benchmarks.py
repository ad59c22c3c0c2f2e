"""What the benchmarks of hosts compute themselves: courses of training, searches that raise a metric, comparisons."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
import stand_ins
import torch
import typer
from safetensors.torch import save_file
from torch import nn

import iqp_adapter as iqp
from benchmarks import data_path
from benchmarks.common.judges import JUDGES, panel_of
from benchmarks.hosts import adapt, claims, compare, course, host_training, optimisation, small, train
from benchmarks.hosts.optimisation import DRIVING, Search, at_equal_rise
from benchmarks.hosts.recipes import RECIPES, Adapted
from benchmarks.hosts.stages import Dictionary, Plain, revive
from iqp_adapter import ScoreScale
from iqp_adapter.bench.intervals import Interval
from iqp_adapter.bench.panel import Panel
from iqp_adapter.bench.text import write_json
from iqp_adapter.compat import make_importable
from iqp_adapter.training.base_run import Run
from iqp_adapter.training.config import AdapterConfig, RunConfig, StageConfig
from iqp_adapter.training.record import Record
from iqp_adapter.training.stages import Batch, CodeDistillation, CodeImitation, CodeReward, HostImitation, Stage


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
    clock = SimpleNamespace(perf_counter=count(0, 60.0).__next__)  # a part of the course takes a minute
    monkeypatch.setattr(course, "time", clock)
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


def gain_of(**means: float) -> dict[str, Interval]:
    """Intervals of width 0.01 around means; every judge of the claim that is not named stays where it is."""
    judges = {name: 0.0 for name in (*compare.COUNTED, *compare.MARGINS)} | means
    return {name: Interval(mean, mean - 0.005, mean + 0.005) for name, mean in judges.items()}


@pytest.mark.parametrize(
    ("means", "holds"),
    [
        ({"piqe": 1.0, "iqp-judge": 1.0}, True),
        ({"piqe": 1.0}, False),  # one judge
        ({"piqe": 1.0, "iqp-lite": 9.0}, False),  # the other one is what was learned from
        ({"niqe@512": 1.0, "niqe": 1.0}, False),  # both are one judge
        ({"piqe": 1.0, "ssim": 0.004}, False),  # the interval reaches 0
        ({"piqe": 1.0, "ssim": 0.006}, True),
        ({"piqe": 1.0, "ssim": 1.0, "identity": -0.004}, True),
        ({"piqe": 1.0, "ssim": 1.0, "identity": -0.006}, False),
        ({"piqe": 1.0, "ssim": 1.0, "perceptual-lite2": -0.014}, True),
        ({"piqe": 1.0, "ssim": 1.0, "perceptual-lite2": -0.016}, False),
    ],
)
def test_the_claim_takes_two_judges_that_nothing_learned_from_and_both_margins(means, holds):
    assert compare.verdict(gain_of(**means), SimpleNamespace(judges=JUDGES))["holds"] == holds


def test_the_claim_needs_both_margins_judged():
    gain = gain_of(piqe=1.0, ssim=1.0)
    del gain["identity"]
    found = compare.verdict(gain, SimpleNamespace(judges=JUDGES))
    assert not found["holds"] and found["not judged"] == ["identity"]


def test_recipes_are_found_with_their_seeds_blocks_and_costs(tmp_path):
    done = {
        "distilled-0": "distillation/model", "distilled-1": "distillation/model",
        "distilled-both-0": "distillation/model", "distilled-reward-0": "reward/model", "finetuned-0": "model",
    }  # fmt: skip
    for place, (folder, model) in enumerate(done.items(), start=1):
        (tmp_path / folder / model).mkdir(parents=True)
        (tmp_path / folder / model / "config.json").write_text("{}")
        stage = Record(tmp_path / folder / model.removesuffix("model") / "host")
        stage.row(300, {"loss": 1.0})
        for seconds in (3600.0 * place, 360.0):  # a search and a log for each start
            Record(tmp_path / folder / "times").row(300, {"searched": 3.0})
            stage.took(300, seconds)
    (tmp_path / "reward-0" / "reward").mkdir(parents=True)  # not finished
    found = compare.recipes_in(tmp_path)
    assert {name: len(one.models) for name, one in found.items()} == {
        "distilled": 2, "distilled-both": 1, "distilled-reward": 1, "finetuned": 1,
    }  # fmt: skip
    assert found["distilled-reward"].recipe is RECIPES["distilled-reward"]
    assert found["distilled-both"].recipe is RECIPES["distilled"]
    assert found["distilled"].cost == {
        "updates": 300,
        "hours": pytest.approx(1.6),
        "hours of search": pytest.approx(0.1),
    }
    assert found["distilled-reward"].cost["updates"] == 600  # of two stages
    compare.check_recipe("distilled-both", found)
    with pytest.raises(typer.BadParameter, match="no finished adapter of 'finetuned' in the run; there are distilled,"):
        compare.check_recipe("finetuned", found)


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if isinstance(recipe, Adapted)])
def test_every_recipe_is_a_configuration(name):
    recipe = RECIPES[name]
    config = AdapterConfig(**recipe.settings({"steps": 7}, "score_map", None, "encoder.blocks.15"))
    assert config.block == "score_map" and (config.sites == "codes") == ("distillation" in config.stages)
    assert [stage.steps for stage in config.stages.values()] == [7] * len(config.stages)
    imitation = HostImitation if config.learns == "host" else CodeImitation
    kinds = {"imitation": imitation, "distillation": CodeDistillation, "reward": CodeReward}
    for stage, settings in config.stages.items():
        kinds[stage].check(settings)
    assert recipe.model == f"{list(config.stages)[-1]}/model"


def test_a_folder_says_variant_block_place_and_seed():
    assert adapt.folder_of("distilled", "attention", None, 1) == "distilled-1"
    assert adapt.folder_of("reward", "score_map", None, 0) == "reward-score_map-0"
    assert adapt.folder_of("strong", "attention", "codes", 0) == "strong-codes-0"


def test_a_host_learns_further_as_it_is_called_whatever_it_returns():
    """One that works in [0, 1] and returns a picture, as no RestoreFormer does."""
    host = nn.Conv2d(3, 3, 1, bias=False)
    nn.init.dirac_(host.weight)
    stage = adapt.FineTuning(StageConfig(1, 2, 0.1), nn.MSELoss(), host, adapt.spec_of("toy", host, 8), None)
    batch = SimpleNamespace(lq=torch.rand(2, 3, 8, 8), hq=torch.rand(2, 3, 8, 8))
    assert torch.equal(stage.look(host, batch)["restored"], batch.lq)
    [(_, terms)] = stage.updates(batch, 0)
    assert torch.equal(terms["l1"], (batch.lq - batch.hq).abs().mean())


@pytest.mark.parametrize(("name", "stage"), [("scratch", Plain), ("dictionary", Dictionary)])
def test_the_first_stage_of_a_host_goes_on_from_weights(tmp_path, name, stage):
    """At a lower rate; a codebook that is there does not start warm again."""

    def host(side):
        made = nn.Conv2d(3, side, 1)
        made.quantize = nn.Module()
        made.quantize.embedding = nn.Embedding(4, 2)
        return made

    kept, config = host(2), StageConfig(steps=1, batch=1, rate=0.5, weights={})
    save_file(kept.state_dict(), tmp_path / "kept.safetensors")
    run, learns = SimpleNamespace(perceptual=nn.Identity), SimpleNamespace(learned=lambda run, name, make: make())

    def begun(start):
        training = train.Training({}, [], [], tmp_path, 2, learns, start)
        return training.first(run, name, stage, config, host)

    started, fresh = begun(tmp_path / "kept.safetensors"), begun(None)
    assert torch.equal(started.host.weight, kept.weight) and not torch.equal(fresh.host.weight, kept.weight)
    assert started.config.rate == 0.2 and fresh.config.rate == 0.5
    if stage is Dictionary:
        assert started.options["continuous"] == 0 < fresh.options["continuous"]


def test_the_training_of_a_host_is_told_by_its_judgements(tmp_path):
    stage = tmp_path / "gfpgan" / "scratch"
    stage.mkdir(parents=True)
    machine = {"gpu": None, "processor": "x86_64"}
    parts = {"parts": [{"stage": {"batch": 8}, "environment": machine}]}
    (stage / "environment.json").write_text(json.dumps(parts))
    for step, loss in ((200, 3.0), (400, 1.0), (600, 2.0)):
        Record(stage / course.LOG).row(step, {"loss": loss, "minutes": 0.5})
    [head, row] = host_training.rows_of({"gfpgan": host_training.stages_of(tmp_path / "gfpgan")})
    assert len(head) == len(row)
    assert row == ["gfpgan", "scratch", "600", "8", "1.5", "3.000", "2.000", "1.000", "x86_64"]
    with pytest.raises(typer.BadParameter, match="scratch has no stage that was judged on dev"):
        host_training.main([stage], tmp_path)


def test_a_stream_of_synthetic_pictures_goes_on_where_it_was(tmp_path):
    for kind in data_path.KINDS:
        root = data_path.make(kind, tmp_path, 12, 64)
        found = data_path.measure(root, 64, batch=2, batches=5, workers=0, threads=1)
        assert found["goes on with the same samples"] and found["pictures"] == 12
    codes = data_path.measure_codes(tmp_path / "files-12-64", tmp_path, 64, batch=2, batches=2, threads=1)
    assert codes["inputs"] == 12 and codes["files"] == 1
    content = {"side": 64, "batch": 2, "workers": 0, "sources": {"files": found, "shards": found}, "codes": codes}
    assert "start-up, seconds: together" in data_path.markdown(content)


def test_the_page_of_a_host_shows_claims_costs_and_gains(tmp_path):
    """Of two sets, on one of which the claim fails."""
    panel = SimpleNamespace(judges={name: JUDGES[name] for name in compare.JUDGES}, label=str, skipped={})
    panel.lines = lambda rows: Panel.lines(panel, rows)
    rows = gain_of(**dict.fromkeys(compare.JUDGES, 0.0))
    sets = {}
    for name, better in (("faces/val", {"piqe": 1.0, "ssim": 1.0}), ("portraits/val", {})):
        gains = {compare.BARE: {"distilled": rows | gain_of(**better)}}
        claims = {compare.BARE: compare.verdict(gains[compare.BARE]["distilled"], panel)}
        dial = {"holds": True, compare.DRIVING: {"spearman": Interval(0.97, 0.9, 1)}}
        sets[name] = {"methods": {"bare": rows}, "gains": gains, "claims": claims, "dial": dial}
    costs = {"distilled": {"updates": 300, "hours": 1.5, "hours of search": 2.25}}
    content = {"host": "toy", "side": 64, "recipe": "distilled", "scale": 0.7, "costs": costs, "sets": sets}
    text = compare.markdown(content, panel)
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert ["faces/val", "bare", "yes", "piqe, ssim"] in [line[:4] for line in lines]
    assert ["portraits/val", "bare", "no"] in [line[:3] for line in lines]
    assert ["distilled", "300", "1.50", "2.25", "faces/val"] in [line[:5] for line in lines]
    assert "iqp-lite: 0.97" in text
    assert "Adapters add at 0.7 of their strength." in text
    assert "of their strength" not in compare.markdown(content | {"scale": 1}, panel)


def test_adapters_are_compared_at_the_strength_that_is_asked_for(tmp_path, monkeypatch):
    torch.manual_seed(0)
    host = stand_ins.RestoreFormer().eval()
    trained = iqp.wrap(deepcopy(host))
    for gate in (value for name, value in trained.adapters.named_parameters() if "gate" in name):
        nn.init.ones_(gate)
    trained.save_pretrained(tmp_path / "imitation-0" / "imitation" / "model")
    monkeypatch.setattr(compare, "load_host", lambda *_, **__: deepcopy(host))
    pictures = torch.rand(1, 3, 512, 512)
    bare, weak, whole = (
        compare.Subjects("restoreformer", tmp_path, 512, scale).models("imitation")[0].restore(pictures, quality=0.5)
        for scale in (0.0, 0.5, 1.0)
    )
    assert torch.equal(bare, trained.restore(pictures, quality=None))
    assert 0 < (weak - bare).abs().mean() < (whole - bare).abs().mean()


def test_every_comparison_is_in_one_table(tmp_path, capsys):
    """One on val with a rival, one on dev without, and one of the first form; other results are passed over."""
    gains = {"bare": {"distilled": gain_of(**{"iqp-lite": 2.0}), "finetuned": gain_of(**{"iqp-lite": 5.0})}}
    cost = {"updates": 300, "hours": 1.5, "hours of search": 2.25}
    of = {"gains": gains, "claims": {"bare": {"holds": True}, "finetuned": {"holds": False}}, "dial": {"holds": True}}
    whole = {"host": "toy", "side": 64, "recipe": "distilled", "seeds of training": 2, "costs": {"distilled": cost}}
    val = whole | {
        "costs": {"distilled": cost, "finetuned": cost},
        "data": [{"part": "val"}],
        "sets": {"faces/val": of},
    }
    dev = whole | {"data": [{"part": "dev"}], "sets": {"faces/dev": of | {"claims": {"bare": {"holds": False}}}}}
    first = {
        "host": "toy",
        "seeds of training": 2,
        "claims": [{"claim": "best beats bare on iqp-lite \u2191", "gain": {"mean": 7, "low": 6, "high": 8}}],
        "dial": {"iqp-lite": {"holds": False}},
    }
    (tmp_path / "dev").mkdir()
    (tmp_path / "former").mkdir()
    for name, content in {"toy": val, "dev/toy": dev, "former/toy": first, "other": {"host": "toy"}}.items():
        write_json(tmp_path / f"{name}.json", content)
    claims.main(tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    said = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    head, _, ours, rival, _, _, tried, former, _, old = said
    assert len(head) == len(ours) == len(tried) and len(former) == len(old)
    assert head[:5] == ["host", "px", "recipe", "scale", "seeds"]
    assert ours[:8] == ["[toy](toy.md)", "64", "distilled", "1", "2", "300", "3.75", "faces/val"]
    assert ours[8].startswith("2 [") and ours[-4:] == ["yes", "no", "", "yes"]
    assert rival[2:4] == ["finetuned", ""] and rival[8].startswith("5 [") and rival[-4:] == [""] * 4
    assert tried[0] == "[toy](dev/toy.md)" and tried[-4:] == ["no", "", "", "yes"]
    assert old[:3] == ["[toy](former/toy.md)", "2", "7 [6, 8]"] and old[-1] == "no"


def test_a_small_restoreformer_is_read_from_its_weight_file(tmp_path):
    make_importable()
    pytest.importorskip("gfpgan")
    torch.manual_seed(0)
    host, lq = small.restoreformer().eval(), torch.rand(1, 3, small.RESOLUTION, small.RESOLUTION)
    save_file(host.state_dict(), tmp_path / "host.safetensors")
    assert torch.equal(iqp.load(str(tmp_path / "host.safetensors")).restore(lq), iqp.wrap(host).restore(lq))
