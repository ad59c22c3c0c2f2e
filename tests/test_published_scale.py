"""Training on a published score scale, on given scales of members, and on pictures that make no scale."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import stand_ins
import torch
import yaml
from PIL import Image
from training_run import config

from iqp_adapter import named_scale, wrap
from iqp_adapter.core.metrics import canonical
from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.native import IQPFR
from iqp_adapter.photo.batch import FaceBatch
from iqp_adapter.photo.measures import scorers_of
from iqp_adapter.photo.options import Options
from iqp_adapter.scoring.scorer import Scorer
from iqp_adapter.training import base_run
from iqp_adapter.training.base_run import Run
from iqp_adapter.training.config import RunConfig, TrainConfig
from iqp_adapter.training.native_training import NativeTraining

NAME, METRIC = "ffhq/topiq-face", "topiq_nr-face-v1"
FFHQ = named_scale(NAME)


def faces_in(folder: Path, count: int = 4) -> Path:
    from skimage.data import astronaut

    folder.mkdir(parents=True)
    for place in range(count):
        Image.fromarray(astronaut()[10 * place :][:200, 100:300]).resize((96, 96)).save(folder / f"{place}.png")
    return folder


def small(**changes) -> TrainConfig:
    return config(steps=1, metric=METRIC, scale=NAME, **changes)


@pytest.fixture
def unscored(monkeypatch):
    """No target is scored for a scale."""
    monkeypatch.setattr(Run, "_scores", lambda *_: pytest.fail("scored for a scale"))


@pytest.fixture
def begun(tmp_path, topiq, unscored) -> Path:
    """Faces, and a run of one step on a published scale."""
    faces_in(tmp_path / "faces")
    NativeTraining(small(), tmp_path / "faces", tmp_path / "run").run_stage("stage1")
    return tmp_path


class TestPublished:
    def test_it_stands_in_place_of_the_scores_of_the_pictures(self, tmp_path, topiq, unscored):
        run = NativeTraining(small(), faces_in(tmp_path / "faces"), tmp_path / "run")
        assert run.scale == FFHQ and run.set_scales == {}
        assert json.loads((tmp_path / "run" / "score_scale.json").read_text()) == FFHQ.to_dict()
        batch = next(run._batches(run.data, run.config.stages["stage1"], 1)(0))
        with torch.no_grad():
            assert torch.equal(batch.quality, FFHQ.quality(run.scorer(batch.hq)))
        assert batch.quality.unique().numel() == 2 and 0 < batch.quality.min() < batch.quality.max() < 1

    def test_the_model_keeps_it(self, begun):
        run = NativeTraining(small(), begun / "faces", begun / "run")
        model = IQPFR.from_pretrained(run.run_stage("stage2"))
        assert model.score_scale == FFHQ and model.conditioned_on == (METRIC,) and model.set_scales == {}
        lq = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        assert model.restore(lq, quality="best").isfinite().all()

    def test_an_adapter_keeps_it(self, tmp_path):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            host = stand_ins.RestoreFormer(2)
        wrap(host, scales=[named_scale("ffhq/musiq-gfiqa")]).save_pretrained(tmp_path / "adapter")
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = wrap(stand_ins.RestoreFormer(2), adapter=tmp_path / "adapter")
        assert model.score_scale == named_scale("ffhq/musiq-gfiqa") and model.conditioned_on == ("musiq-gfiqa",)
        lq = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        assert model.restore(lq, quality="best").isfinite().all()

    def test_it_is_that_of_every_set(self, tmp_path, topiq, unscored):
        sets = [faces_in(tmp_path / "a"), faces_in(tmp_path / "b", 2)]
        run = NativeTraining(small(), sets, tmp_path / "run")
        assert run.scales == {"a": FFHQ, "b": FFHQ} and run.scale == FFHQ and run.set_scales == {}
        assert NativeTraining(small(), sets, tmp_path / "run").scale == FFHQ

    def test_a_configuration_names_it(self, root, tmp_path):
        given = yaml.safe_load((root / "examples" / "native_tiny.yaml").read_text()) | {"scale": NAME, "metric": METRIC}
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(given))
        assert TrainConfig.load(tmp_path / "c.yaml").scale == NAME
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(given | {"metric": "topiq_nr-face"}))
        with pytest.raises(ValueError, match=r"c.yaml: the score scale ffhq/topiq-face is of topiq_nr-face-v1, and"):
            TrainConfig.load(tmp_path / "c.yaml")

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"scale": NAME}, "is of topiq_nr-face-v1, and the metric is iqp-lite; name topiq_nr-face-v1, or"),
            ({"scale": NAME, "metric": "topiq_nr-face"}, "topiq_nr-face learned from CGFIQA"),
            ({"scale": "ffhq/musiq-gfiqa", "metric": "musiq"}, "musiq learned from KonIQ and gives 0 to 100"),
            ({"scale": "ffhq/musiq-gfiqa", "metric": "musiq-gfiqa"}, "musiq-gfiqa scores no picture: the weights"),
            ({"scale": "ffhq/qalign", "metric": "qalign"}, "Q-Align were not published as a table; there are ffhq/"),
            ({"scale": "faces"}, "there is no score scale 'faces'; there are ffhq/musiq-gfiqa, "),
        ],
    )
    def test_what_it_cannot_be_of_is_refused_in_one_line(self, settings, words):
        with pytest.raises(ValueError, match=words) as error:
            RunConfig(**settings)
        assert "\n" not in str(error.value)

    def test_a_run_goes_on_with_it_alone(self, begun):
        NativeTraining(small(), begun / "faces", begun / "run")
        with pytest.raises(ValueError, match=f'was trained with scale "{NAME}", and now it is ""; set it back'):
            NativeTraining(replace(small(), scale=""), begun / "faces", begun / "run")

    def test_a_run_on_another_scale_does_not_change_to_it(self, begun):
        """An earlier release kept no such setting."""
        kept = json.loads((begun / "run" / "settings.json").read_text())
        del kept["scale"]
        (begun / "run" / "settings.json").write_text(json.dumps(kept))
        NativeTraining(small(), begun / "faces", begun / "run")
        other = ScoreScale(METRIC, False, (0.0, 1.0))
        (begun / "run" / "score_scale.json").write_text(json.dumps(other.to_dict()))
        with pytest.raises(ValueError, match=f"score_scale.json is not {NAME}; leave `scale` out to go on with it, or"):
            NativeTraining(small(), begun / "faces", begun / "run")
        assert NativeTraining(replace(small(), scale=""), begun / "faces", begun / "run").scale == other

    def test_before_anything_was_trained_it_may_be_named(self, begun):
        shutil.rmtree(begun / "run" / "stage1")
        (begun / "run" / "score_scale.json").write_text(json.dumps(ScoreScale(METRIC, False, (0.0, 1.0)).to_dict()))
        kept = json.loads((begun / "run" / "settings.json").read_text())
        (begun / "run" / "settings.json").write_text(json.dumps(kept | {"scale": ""}))
        assert NativeTraining(small(), begun / "faces", begun / "run").scale == FFHQ

    def test_pictures_beyond_it_are_said(self, begun, monkeypatch, caplog):
        monkeypatch.setattr(Scorer, "_scores", lambda _, images: images.mean((1, 2, 3)) - 1)
        with caplog.at_level(logging.WARNING):
            NativeTraining(small(), begun / "faces", begun / "run").run_stage("stage1")
        assert f"all pictures of the sample grid have quality 0 on the scale {NAME}, since they" in caplog.text


class TestMembers:
    METRIC = f"minmax-mean({METRIC}, iqp-lite)"
    LITE = ScoreScale("iqp-lite", False, (10.0, 90.0))

    @pytest.fixture
    def file(self, tmp_path, topiq, monkeypatch) -> str:
        monkeypatch.setattr(base_run, "DRAWS", 8)
        path = tmp_path / "scales.json"
        path.write_text(json.dumps({METRIC: NAME, "niqe": {**ScoreScale("niqe", True, (20.0, 2.0)).to_dict()}}))
        self.add(path, self.LITE)
        return str(path)

    def add(self, path: Path, scale: ScoreScale) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | {scale.metric: scale.to_dict()}))

    def settings(self, file: str) -> TrainConfig:
        return config(steps=1, metric=self.METRIC, scales=file)

    def test_their_scales_are_kept_with_the_model(self, tmp_path, file):
        run = NativeTraining(self.settings(file), faces_in(tmp_path / "faces"), tmp_path / "run")
        wanted = (FFHQ.ends(), self.LITE)
        assert run.scale.metric == canonical(self.METRIC) and run.scale.members == wanted
        run.run_stage("stage1")
        model = IQPFR.from_pretrained(run.run_stage("stage2"))
        assert model.score_scale == run.scale and model.score_scale.members == wanted
        assert Scorer.of(model.score_scale, "cpu").protocol == run.scorer.protocol
        assert [one.protocol for one in scorers_of(model, "cpu", driving=True, judge=False)] == [run.scorer.protocol]

    def test_a_run_goes_on_with_equal_ones_alone_wherever_their_file_is(self, tmp_path, file):
        faces = faces_in(tmp_path / "faces")
        NativeTraining(self.settings(file), faces, tmp_path / "run").run_stage("stage1")
        moved = str(shutil.move(file, tmp_path / "moved.json"))
        NativeTraining(self.settings(moved), faces, tmp_path / "run")
        self.add(Path(moved), ScoreScale("iqp-lite", False, (10.0, 80.0)))
        with pytest.raises(ValueError, match="was trained with scales of members "):
            NativeTraining(self.settings(moved), faces, tmp_path / "run")

    def test_a_scale_that_was_made_on_others_is_refused(self, tmp_path, file):
        (tmp_path / "run").mkdir()
        other = ScoreScale(self.METRIC, False, (0.0, 100.0))
        (tmp_path / "run" / "score_scale.json").write_text(json.dumps(other.to_dict()))
        with pytest.raises(ValueError, match="score_scale.json is on other scales of members than `scales` gives"):
            NativeTraining(self.settings(file), faces_in(tmp_path / "faces"), tmp_path / "run")

    def test_a_single_metric_takes_none(self):
        with pytest.raises(ValueError, match="scales are for an ensemble, like 'mean.niqe, piqe.', and metric is niqe"):
            RunConfig(metric="niqe", scales="scales.json")


def test_pictures_of_one_score_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(base_run, "DRAWS", 8)
    monkeypatch.setattr(Scorer, "_scores", lambda _, images: images.mean((1, 2, 3)) * 0 + 50)
    with pytest.raises(ValueError, match="^all targets of faces score 50 by iqp-lite@.*; give pictures that") as error:
        NativeTraining(config(), faces_in(tmp_path / "faces"), tmp_path / "run")
    assert "\n" not in str(error.value)
    shutil.copy(tmp_path / "faces" / "0.png", tmp_path / "faces" / "9.png")
    monkeypatch.setattr(Scorer, "_scores", lambda _, images: images.mean((1, 2, 3)))
    assert NativeTraining(config(), tmp_path / "faces", tmp_path / "run").scale.spread > 0


def test_faces_are_skipped_by_a_scorer_on_the_same_scales_of_members_alone():
    parts = (ScoreScale("niqe", True, (20.0, 2.0)), ScoreScale("piqe", True, (100.0, 0.0)))
    scale = ScoreScale("mean(niqe, piqe)", False, (0.0, 100.0), members=parts)
    model = wrap(stand_ins.RestoreFormer(2), scales=[scale])
    FaceBatch(model, Options(skip_if=0.5), [Scorer.of(scale, "cpu")])
    with pytest.raises(ValueError, match=r"scorers=\[Scorer.of\(model.score_scale\)\], of mean\(niqe, piqe\)"):
        FaceBatch(model, Options(skip_if=0.5), [Scorer("mean(niqe, piqe)", device="cpu")])


def test_a_report_leaves_out_what_scores_no_picture():
    model = SimpleNamespace(score_scale=named_scale("ffhq/musiq-gfiqa+topiq-face"))
    assert [one.metric for one in scorers_of(model, "cpu", driving=True, judge=True)] == ["piqe"]
