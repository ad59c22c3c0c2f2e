"""Training on several sets of pictures, each of which has a score scale of its own."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import stand_ins
import torch
from PIL import Image, ImageFilter
from torch.utils.data import DataLoader
from training_run import SMALL, config
from typer.testing import CliRunner

import iqp_adapter as iqp
from iqp_adapter import Restorer, ScoreScale
from iqp_adapter.cli import app
from iqp_adapter.core.quality import BEST
from iqp_adapter.hosts.card import model_card
from iqp_adapter.native import IQPFR, preset
from iqp_adapter.scoring.scorer import Scorer
from iqp_adapter.store import checkpoint
from iqp_adapter.training import base_run
from iqp_adapter.training.adapter_training import AdapterTraining
from iqp_adapter.training.augmentation import Augmentation
from iqp_adapter.training.base_run import Run
from iqp_adapter.training.config import AdapterConfig, RunConfig, StageConfig, TrainConfig
from iqp_adapter.training.dataset import FaceFolder, KeyedBatches
from iqp_adapter.training.face_sets import FaceSets, set_names
from iqp_adapter.training.native_training import NativeTraining
from iqp_adapter.training.resuming import identity
from iqp_adapter.training.sample_scales import SampleScales

METRIC = Scorer("iqp-lite", device="cpu").metric
"""The name that scales of it have."""
LOW, HIGH = ScoreScale(METRIC, False, (10.0, 20.0, 50.0)), ScoreScale(METRIC, False, (40.0, 80.0, 90.0))
SCALES = {"sharp": HIGH, "soft": LOW}


def faces_in(folder: Path, count: int, blur: float = 0.0) -> Path:
    from skimage.data import astronaut

    folder.mkdir(parents=True)
    for place in range(count):
        face = Image.fromarray(astronaut()[10 * place :][:200, 100:300]).resize((96, 96))
        face.filter(ImageFilter.GaussianBlur(blur)).save(folder / f"{place}.png")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three soft and five sharp pictures; not in the order of their names."""
    root = tmp_path_factory.mktemp("sets")
    return [faces_in(root / "soft", 3, blur=3), faces_in(root / "sharp", 5)]


@pytest.fixture
def place(tmp_path):
    """The folder of a run that has the scales of its sets already, since it takes long to find them."""
    entries = {name: scale.to_dict() for name, scale in SCALES.items()}
    (tmp_path / "score_scale.json").write_text(json.dumps({"sets": entries}))
    return tmp_path


def scored_by(scales, sets) -> SampleScales:
    return SampleScales(tuple(scales), torch.tensor(sets))


@pytest.fixture
def few_draws(monkeypatch):
    """Scales of 16 targets; as ever, a run takes 512 for each set."""
    assert base_run.DRAWS == 512
    monkeypatch.setattr(base_run, "DRAWS", 16)


class TestNames:
    def test_a_set_is_named_after_its_folder_and_the_parents_that_it_takes(self):
        assert set_names([Path("x/a"), Path("y/b/")]) == ["a", "b"]
        assert set_names([Path("x/f"), Path("y/f"), Path("b")]) == ["x/f", "y/f", "b"]
        assert set_names([Path("1/x/f"), Path("2/x/f"), Path("2/y/f")]) == ["1/x/f", "2/x/f", "y/f"]
        assert set_names([Path("a/../b")]) == ["b"]
        assert set_names([Path("/f"), Path("/f/f")]) == ["/f", "f/f"]

    def test_a_folder_that_is_given_twice_is_refused(self):
        with pytest.raises(ValueError, match=r"^x/../a is given twice; to draw .* set shares in the configuration$"):
            set_names([Path("x/../a"), Path("a"), Path("b")])


class Numbers(FaceFolder):
    """Samples that are nothing but their epoch and index."""

    def __init__(self, count: int):
        self.paths = [Path(str(place)) for place in range(count)]

    def __getitem__(self, item):
        return {"item": item}


def seen(data: FaceSets, epochs: int) -> list[tuple[int, tuple[int, int]]]:
    samples = [data[epoch, index] for epoch in range(epochs) for index in range(len(data))]
    return [(sample["set"], sample["item"]) for sample in samples]


class TestSamples:
    def test_by_default_every_picture_is_seen_once_an_epoch(self):
        data = FaceSets({"a": Numbers(3), "b": Numbers(4)})
        expected = [(place, (epoch, index)) for epoch in (0, 1) for place in (0, 1) for index in range(3 + place)]
        assert seen(data, 2) == expected and data.draws == {"a": 3, "b": 4}

    def test_shares_say_how_much_of_the_samples_is_of_each_set(self):
        data = FaceSets({"a": Numbers(3), "b": Numbers(9)}, {"b": 10, "a": 30})
        samples = seen(data, 4)
        assert len(data) == 12 and data.draws == {"a": 9, "b": 3}
        assert Counter(place for place, _ in samples) == {0: 36, 1: 12}
        assert [place for place, _ in samples[:12]] == [0] * 9 + [1] * 3  # in every epoch alike
        assert len(set(samples)) == len(samples)  # no sample is seen twice
        assert [item for place, item in samples if place] == [(n // 9, n % 9) for n in range(12)]

    @pytest.mark.parametrize(("sizes", "shares"), [((3, 3, 3), (1, 1, 1)), ((7, 2, 5), (0.3, 0.3, 0.4))])
    def test_whole_numbers_are_next_to_the_shares(self, sizes, shares):
        names = "abc"
        data = FaceSets(dict(zip(names, map(Numbers, sizes), strict=True)), dict(zip(names, shares, strict=True)))
        exact = np.array(shares) / sum(shares) * sum(sizes)
        assert sum(data.draws.values()) == len(data) == sum(sizes)
        assert (np.abs(np.array([*data.draws.values()]) - exact) < 1).all()

    @pytest.mark.parametrize(
        ("shares", "words"),
        [
            ({"a": 1}, "shares are of a, and the sets are a, b; give one for each"),
            ({"a": 1, "b": 1, "c": 1}, "shares are of a, b, c, and the sets are a, b; give one for each"),
            ({"a": 1, "b": 1e-6}, "the share of b is less than one of 5 samples; raise it in shares"),
        ],
    )
    def test_shares_of_other_sets_and_too_small_ones_are_refused(self, shares, words):
        with pytest.raises(ValueError, match=f"^{words}$"):
            FaceSets({"a": Numbers(2), "b": Numbers(3)}, shares)

    @pytest.mark.parametrize("share", [0, -1.0, float("nan"), "much"])
    def test_the_configuration_takes_numbers_above_0_alone(self, share):
        with pytest.raises(ValueError, match=r"^shares.*; give ") as error:
            config(shares={"a": share})
        assert "\n" not in str(error.value)
        assert RunConfig(shares={"a": 2, "b": 0.5}).shares == {"a": 2, "b": 0.5}


class TestOneSet:
    """Everything is as it was before there could be several."""

    def old_data(self, folder: Path, run: Run) -> FaceFolder:
        inner = run.data.folders["sharp"]
        parts = {"degradation": inner.degradation, "ladder": inner.ladder, "augmentation": Augmentation()}
        return FaceFolder(folder, 64, **parts, seed=run.config.seed)

    def test_batches_and_score_scale_are_those_of_the_folder_itself(self, folders, tmp_path, few_draws):
        settings = config(seed=7)
        run = NativeTraining(settings, folders[1], tmp_path)
        data, scorer = self.old_data(folders[1], run), Scorer("iqp-lite", device=run.device)
        draws = [data[divmod(draw, 5)]["hq"] for draw in range(16)]
        with torch.no_grad():
            scores = torch.cat([scorer(torch.stack(draws[i : i + 8]).to(run.device)).cpu() for i in range(0, 16, 8)])
        scale = ScoreScale.fit(METRIC, False, scores)
        assert json.loads((tmp_path / "score_scale.json").read_text()) == scale.to_dict()
        assert run.scale == scale and run.set_scales == {} and run.identity == identity(data)

        order = KeyedBatches(5, 2, seed=7 + 1, start_step=3)
        loader = DataLoader(data, batch_sampler=order)
        for batch, old in islice(zip(run._batches(run.data, settings.stages["stage1"], 1)(3), loader, strict=False), 4):
            assert torch.equal(batch.hq.cpu(), old["hq"]) and torch.equal(batch.lq.cpu(), old["lq"])
            assert batch.keys == old["key"].tolist()
            with torch.no_grad():
                assert torch.equal(batch.quality, scale.quality(scorer(batch.hq)))
            assert torch.equal(batch.scale.score(batch.quality), scale.score(batch.quality))
            assert batch.scale.spread.tolist() == [scale.spread] * 2

    def test_a_run_of_an_earlier_version_goes_on(self, folders, tmp_path):
        (tmp_path / "score_scale.json").write_text(json.dumps(LOW.to_dict()))
        settings = config(steps=1)
        NativeTraining(settings, folders[1], tmp_path).run_stage("stage1")
        kept = json.loads((tmp_path / "settings.json").read_text())
        assert kept.pop("shares") == {} and "sets" not in kept["data"]
        (tmp_path / "settings.json").write_text(json.dumps(kept))
        longer = config(steps=2)
        model = NativeTraining(longer, [folders[1]], tmp_path).run_stage("stage1")
        rows = (tmp_path / "stage1" / "log.jsonl").read_text().splitlines()
        assert model.exists() and [json.loads(row)["step"] for row in rows] == [1, 2]


class TestScales:
    def test_each_sample_is_measured_within_its_own_set(self):
        scales = scored_by([LOW, HIGH], [0, 1, 1, 0])
        assert scales.quality(torch.tensor([20.0, 20.0, 80.0, 80.0])).tolist() == [0.5, 0, 0.5, 1]
        assert scales.score(torch.tensor([0.5, 0.5, 1.0, 1.0])).tolist() == [20, 80, 90, 50]
        assert scales.spread.tolist() == [40, 50, 50, 40]

    def test_every_set_has_its_own_and_the_pooled_one_mixes_them(self, folders, tmp_path, few_draws):
        settings = AdapterConfig(reward=StageConfig(1, 2, 1e-3), shares={"soft": 1, "sharp": 1}, precision="fp32")
        run = Run(settings, 64, folders, tmp_path)
        soft, sharp = run.scales["soft"], run.scales["sharp"]
        assert soft.score(torch.tensor(0.5)) < sharp.score(torch.tensor(0.5))
        draws = [run.data.folders["soft"][divmod(draw, 3)]["hq"] for draw in range(16)]
        with torch.no_grad():
            scores = torch.cat([run.scorer(picture[None].to(run.device)).cpu() for picture in draws])
        assert soft.quantiles == pytest.approx(ScoreScale.fit(METRIC, False, scores).quantiles, abs=1e-3)
        assert run.scale == ScoreScale.mixture([sharp, soft], [1, 1]) and run.set_scales == run.scales
        content = json.loads((tmp_path / "score_scale.json").read_text())
        assert content == {"sets": {"sharp": sharp.to_dict(), "soft": soft.to_dict()}}
        again = Run(settings, 64, folders[::-1], tmp_path)
        assert again.scales == run.scales and again.identity == run.identity

    def test_a_batch_has_the_quality_within_the_own_set(self, folders, place):
        settings = config(batch=8)
        run = NativeTraining(settings, folders, place)
        batch = next(run._batches(run.data, settings.stages["stage1"], 1)(0))
        with torch.no_grad():
            scores = run.scorer(batch.hq)
        sets = batch.scale.sets.tolist()
        assert sorted(sets) == [0] * 5 + [1] * 3
        wanted = [(HIGH, LOW)[place].quality(score) for place, score in zip(sets, scores, strict=True)]
        assert torch.equal(batch.quality, torch.stack(wanted))
        assert len(set(batch.keys)) == 8  # draws of one place in two sets are independent

    def test_the_order_of_the_folders_does_not_count(self, folders, place):
        one, other = (NativeTraining(config(), order, place).data for order in (folders, folders[::-1]))
        assert all(torch.equal(one[1, index]["hq"], other[1, index]["hq"]) for index in range(8))

    def test_watched_pictures_of_their_own_have_the_pooled_scale(self, folders, place):
        run = NativeTraining(config(), folders, place, watch=folders[0])
        assert run._watched(run.watched_data).scale.scales == (run.scale,) and run.scale not in (LOW, HIGH)
        alone = NativeTraining(config(), folders, place)
        assert alone._watched(alone.watched_data).scale.scales == (HIGH, LOW)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda sets: sets.pop("soft"), r"`sets.soft` is missing"),
            (lambda sets: sets.update(other=LOW.to_dict()), "'other' is not known here; known: sharp, soft"),
            (lambda sets: sets["soft"].update(quantiles=[3, 1]), "must run from worst to best"),
        ],
    )
    def test_a_file_with_other_sets_is_named(self, folders, place, change, words):
        content = json.loads((place / "score_scale.json").read_text())
        change(content["sets"])
        (place / "score_scale.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=rf"score_scale.json is damaged \(.*{words}.*remove it") as error:
            NativeTraining(config(), folders, place)
        assert "\n" not in str(error.value)

    def test_inputs_that_do_not_match_the_targets_are_refused(self, folders, tmp_path):
        settings = RunConfig(precision="fp32")
        with pytest.raises(ValueError, match="^1 folders of lq for 2 of hq; give one for each, in the same order$"):
            Run(settings, 64, folders, tmp_path, lq=folders[0])
        with pytest.raises(ValueError, match="^there is no folder of pictures"):
            Run(settings, 64, [], tmp_path)

    def test_inputs_follow_their_targets(self, folders, place):
        others = [faces_in(place / "inputs of soft", 3, blur=9), faces_in(place / "inputs of sharp", 5, blur=6)]
        run = Run(RunConfig(precision="fp32"), 64, folders, place, lq=others)
        assert {name: data.inputs.root for name, data in run.data.folders.items()} == {
            "sharp": others[1],
            "soft": others[0],
        }


@pytest.fixture(scope="module")
def trained(folders, tmp_path_factory):
    """The run of a native model on two sets, three stages of two steps."""
    run = tmp_path_factory.mktemp("native")
    entries = {name: scale.to_dict() for name, scale in SCALES.items()}
    (run / "score_scale.json").write_text(json.dumps({"sets": entries}))
    settings = config(steps=2, shares={"soft": 1, "sharp": 3})
    NativeTraining(settings, folders, run).run()
    return run


class TestNative:
    def test_a_model_keeps_the_scales_of_its_sets_and_of_all_together(self, trained, tmp_path):
        for stage in ("stage2", "stage3"):
            model = IQPFR.from_pretrained(trained / stage / "model")
            assert model.set_scales == SCALES
            assert model.score_scale == ScoreScale.mixture([HIGH, LOW], [6, 2])
        model.save_pretrained(tmp_path)
        again = IQPFR.from_pretrained(tmp_path)
        assert (again.set_scales, again.score_scale) == (SCALES, model.score_scale)

    def test_a_model_of_one_set_is_saved_as_ever(self, tmp_path):
        model = IQPFR(preset("tiny-256", **SMALL), HIGH)
        assert model.set_scales == {}
        model.save_pretrained(tmp_path)
        assert "set_scales" not in checkpoint.load(tmp_path)[0]

    @pytest.mark.parametrize(
        ("entry", "words"),
        [
            ([], "`set_scales` is .*, expected an object"),
            ({"soft": 3}, "`set_scales.soft` is 3, expected an object"),
            ({"soft": LOW.to_dict() | {"quantiles": [1]}}, "`set_scales.soft.quantiles` is"),
            ({"soft": LOW.to_dict() | {"metric": "niqe"}}, f"set_scales.soft is of niqe, expected {METRIC}"),
        ],
    )
    def test_entries_that_are_no_scales_are_refused(self, trained, tmp_path, entry, words):
        config, state = checkpoint.load(trained / "stage2" / "model")
        checkpoint.save(tmp_path, state, config | {"set_scales": entry})
        with pytest.raises(ValueError, match=words) as error:
            IQPFR.from_pretrained(tmp_path)
        assert "\n" not in str(error.value)

    def test_a_run_goes_on_with_the_same_sets_and_shares_alone(self, trained, folders):
        settings = config(steps=2, shares={"soft": 1, "sharp": 3})
        NativeTraining(settings, folders[::-1], trained)
        with pytest.raises(ValueError, match=r"was trained with shares.soft 1, and now it is 2"):
            NativeTraining(replace(settings, shares={"soft": 2, "sharp": 3}), folders, trained)
        with pytest.raises(ValueError, match=r"was trained with .*, and now it is not given"):
            NativeTraining(replace(settings, shares={}), folders[0], trained)

    def test_stage_three_asks_for_the_score_of_the_own_set(self, trained, folders, monkeypatch):
        settings = config(steps=2, shares={"soft": 1, "sharp": 3})
        stage_three = replace(settings.stages["stage3"], options={"best": 1.0})
        run = NativeTraining(settings, folders, trained)
        stage = type(run.stage("stage3"))(stage_three, *_parts(run.stage("stage3")))
        asked = _spied(monkeypatch)
        batch = next(run._batches(run.data, replace(stage_three, batch=8), 3)(0))
        next(stage.updates(batch, 0))
        scores, spreads = asked[0]
        best = [float(scale.score(torch.tensor(BEST))) for scale in (HIGH, LOW)]
        assert scores.tolist() == pytest.approx([best[place] for place in batch.scale.sets.tolist()])
        assert spreads.tolist() == [(50, 40)[place] for place in batch.scale.sets.tolist()]


def _parts(stage):
    return stage.perceptual, stage.model, stage.before, stage.scorer


def _spied(monkeypatch) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The scores that losses ask for, and the spreads that they are divided by."""
    from iqp_adapter.training import losses

    asked, real = [], losses.quality_shortfall

    def spy(measured, requested, spread):
        asked.append((requested, spread))
        return real(measured, requested, spread)

    monkeypatch.setattr(losses, "quality_shortfall", spy)
    return asked


class TestAdapter:
    SETTINGS = AdapterConfig(
        reward=StageConfig(1, 4, 1e-3, warmup=1, options={"best": 1.0, "drop": 0.0}), precision="fp32", judges=()
    )

    @pytest.fixture
    def run(self, folders, place):
        return AdapterTraining(self.SETTINGS, self.host(), folders, place)

    def host(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return stand_ins.CodeFormer(2, 2)

    def test_the_reward_asks_for_the_best_of_the_own_set_and_the_adapter_keeps_the_scales(self, run, monkeypatch):
        asked = _spied(monkeypatch)
        folder = run.run()
        best = {float(scale.score(torch.tensor(BEST))) for scale in SCALES.values()}
        assert set(asked[0][0].tolist()) <= best and len(asked[0][0]) == 4

        pooled = ScoreScale.mixture([HIGH, LOW], [5, 3])
        model = iqp.wrap(self.host(), adapter=folder)
        assert model.set_scales == SCALES and model.score_scale == pooled
        assert model.adapters["default"].metrics == [METRIC]
        model.save_pretrained(folder.parent / "again")
        assert iqp.wrap(self.host(), adapter=folder.parent / "again").set_scales == SCALES
        config, state = checkpoint.load(folder)
        text = model_card(config, "me/thing")
        assert "| set | score at quality 0 | score at quality 0.5 | score at quality 0.95 |" in text
        assert "| sharp | 40 | 80 | 89 |" in text and "| soft | 10 | 20 | 47 |" in text

        config["adapter"]["set_scales"]["soft"]["metric"] = "niqe"
        checkpoint.save(folder, state, config)
        with pytest.raises(ValueError, match=rf"adapter.set_scales.soft is of niqe, expected {METRIC}.*install"):
            iqp.wrap(self.host(), adapter=folder)

    def test_one_of_a_single_set_is_saved_as_ever(self, tmp_path):
        model = iqp.wrap(self.host(), scales=[LOW])
        model.save_pretrained(tmp_path)
        config, _ = checkpoint.load(tmp_path)
        assert model.set_scales == {} and "set_scales" not in config["adapter"]
        assert "Training sets" not in model_card(config, "me/thing")


def test_what_has_no_sets_says_so():
    assert Restorer().set_scales == {}


class TestCommandLine:
    def arguments(self, place: Path, settings: TrainConfig, *more: object) -> list[str]:
        import yaml

        stages = {1: asdict(settings.stages["stage1"])}
        content = {**json.loads(json.dumps(asdict(settings))), "stages": stages}
        (place / "config.yaml").write_text(yaml.safe_dump(content))
        return ["train", "native", "--config", place / "config.yaml", "-o", place, *more]

    def test_folders_are_given_one_by_one(self, folders, place):
        given = ["--hq", folders[0], "--hq", folders[1]]
        words = self.arguments(place, config(steps=1, shares={"soft": 2, "sharp": 1}), *given)
        result = CliRunner().invoke(app, list(map(str, words)))
        assert result.exit_code == 0, result.output
        assert json.loads((place / "settings.json").read_text())["data"]["sets"].keys() == SCALES.keys()

    def test_shares_of_other_sets_are_told_in_one_line(self, folders, place):
        words = self.arguments(place, config(shares={"faces": 1}), "--hq", folders[0], "--hq", folders[1])
        result = CliRunner().invoke(app, list(map(str, words)))
        assert result.exit_code != 0 and "shares are of faces, and the sets are sharp, soft" in " ".join(
            result.output.split()
        )
