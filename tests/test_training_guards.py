"""Training when settings, data or states are not as they should be: one line, and nothing trained is lost or mixed."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from no_memory import NO_MEMORY
from PIL import Image
from training_run import SMALL, config
from typer.testing import CliRunner

from iqp_adapter.cli import app
from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.degradations.face import Degradation
from iqp_adapter.degradations.ladder import Ladder
from iqp_adapter.degradations.underwater import UnderwaterDegradation
from iqp_adapter.training import state
from iqp_adapter.training.base_run import Run
from iqp_adapter.training.config import AdapterConfig, StageConfig, TrainConfig
from iqp_adapter.training.dataset import FacePairs
from iqp_adapter.training.native_training import NativeTraining
from iqp_adapter.training.resuming import check_same, keep
from iqp_adapter.training.terms import refuse_unknown_terms

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "native_tiny.yaml"
SCRIPT = Path(__file__).with_name("training_run.py")


def faces_in(folder: Path, count: int = 4) -> Path:
    from skimage.data import astronaut

    folder.mkdir()
    for place in range(count):
        Image.fromarray(astronaut()[10 * place :][:200, 100:300]).resize((96, 96)).save(folder / f"{place}.png")
    return folder


def written(path: Path, **changes) -> Path:
    path.write_text(yaml.safe_dump(yaml.safe_load(EXAMPLE.read_text()) | changes), encoding="utf-8")
    return path


STAGE = {"steps": 2, "batch": 1, "rate": 1e-3}


class TestSettings:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (b"", "expected entries with names"),
            (b"- 1\n- 2\n", "expected entries with names"),
            (b"just words", "expected entries with names"),
            (b"metric: [iqp-lite\n", "is no YAML that can be read"),
            (b"preset: tiny\nmetric: \xff\xfe\n", "is no text in UTF-8"),
            (b"preset: tiny\npreset: paper\nstages: {1: {}}\n", "two entries of the name 'preset'"),
            (b"preset: " + b"[" * 5000, "config.yaml"),
            (b"stages: {}\n", "does not describe stages 1, 2 and so on"),
            (b"stages: {1: 3}\n", "stage 1 is 3; give settings by their names"),
            (b"stages: {2: {}, 1: {}}\n", "does not describe stages 1, 2 and so on"),
            (b"stages: !!python/object/apply:os.getcwd []\n", "is no YAML that can be read"),
        ],
    )
    def test_a_file_that_is_none_is_named(self, tmp_path, text, said):
        path = tmp_path / "config.yaml"
        path.write_bytes(text)
        for kind in (TrainConfig, AdapterConfig):
            with pytest.raises(ValueError, match=r"config\.yaml") as caught:
                kind.load(path)
            assert "\n" not in str(caught.value)
            assert said in str(caught.value) or kind is AdapterConfig

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"steps": 0}, "steps is 0; give 1 or more"),
            ({"accumulate": 0}, "accumulate is 0; give 1 or more"),
            ({"batch": -2}, "batch is -2; give 1 or more"),
            ({"batch": 2.5}, "batch is 2.5; give a whole number"),
            ({"batch": True}, "batch is True; give a whole number"),
            ({"rate": "fast"}, "rate is 'fast'; give a number"),
            ({"rate": -1.0}, "rate is -1.0; give 0 or more"),
            ({"clip": 0}, "clip is 0; give more than 0"),
            ({"rate": ".nan"}, "rate is '.nan'; give a number"),
            ({"clip": None}, "clip is None; give a number"),
            ({"ema": 1.0}, "ema is 1.0; give less than 1"),
            ({"warmup": -1}, "warmup is -1; give 0 or more"),
            ({"weights": {"l1": "big"}}, "weights.l1 is 'big'; give a number"),
            ({"weights": {"l1": -1}}, "weights.l1 is -1; give 0 or more"),
            ({"steps": 10**30}, r"steps is 10+; give 1e\+12 or less"),
            ({"batch": 10**7}, r"batch is 10000000; give 1e\+06 or less"),
            ({"weights": [1]}, "weights is .1.; give names with values"),
            ({"stepss": 3}, "unknown setting stepss; StageConfig knows .*; nearest: steps"),
            ({3: 3}, "unknown setting 3; StageConfig knows"),
        ],
    )
    def test_a_wrong_setting_of_a_stage_is_named_with_file_and_stage(self, tmp_path, change, said):
        path = written(tmp_path / "config.yaml", stages={1: STAGE | change})
        with pytest.raises(ValueError, match=rf"config\.yaml: stage 1: .*{said}"):
            TrainConfig.load(path)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"save_every": 0}, "save_every is 0; give 1 or more"),
            ({"watch_every": -1}, "watch_every is -1; give 1 or more"),
            ({"seed": -1}, "seed is -1; give 0 or more"),
            ({"seed": "x"}, "seed is 'x'; give a whole number"),
            ({"workers": -1}, "workers is -1; give 0 or more"),
            ({"precision": "fp16"}, "precision is 'fp16'; choose from 'fp32' or 'bf16'"),
            ({"metric": 3}, "metric is 3; give a text"),
            ({"degradation": [1]}, "degradation is .1.; give names with values"),
            ({"metrik": "niqe"}, "unknown setting metrik; TrainConfig knows .*; nearest: metric"),
            ({"a\nb": 1, "c" * 500: 2}, r"unknown setting 'a.nb', 'c{79}; TrainConfig knows"),
            ({f"n{n}": n for n in range(9)}, r"unknown setting n0, n1, n2, n3, n4 and 4 more; TrainConfig knows"),
            ({"seed": 2**63}, r"seed is 9223372036854775808; give less than 9.22337e\+18"),
            ({"workers": 10**7}, "workers is 10000000; give 1024 or less"),
            ({"scale_knots": 10**6}, "scale_knots is 1000000; give 100000 or less"),
            ({"metric": "niqee"}, "unknown metric 'niqee'; nearest: niqe"),
            ({"metric": "mean(niqe, piqee)"}, "unknown metric 'piqee'; nearest: piqe"),
            ({"metric": "iqp-lite@9"}, "unknown metric 'iqp-lite@9'; of iqp-lite there are"),
            ({"perceptual": "vgg"}, "perceptual is 'vgg'; choose from lite0, lpips"),
            ({"preset": "huge"}, "unknown preset 'huge'; available: paper, iqpfr-512, tiny"),
            ({"changes": {"dim": 3}}, "preset tiny: `dim` is 3, expected a whole number from 4 to 16384"),
            ({"changes": {"name": 3}}, "preset tiny: 'name' is not known here"),
            ({"degradation": {"kind": "fog"}}, "degradation of kind 'fog'; available: face"),
            ({"degradation": {"kind": ["fog"]}}, "degradation of kind .'fog'.; available: face"),
            ({"degradation": {"px": 3}}, "degradation of kind 'face': a degradation has no px; it has kernel_size"),
            ({"degradation": {"noise": "x"}}, "degradation of kind 'face': noise is 'x'; give a list"),
            ({"degradation": {3: "x"}}, "degradation.3.*; give a text"),
            ({"ladder": {"jpeg": "x"}}, "ladder: jpeg is 'x'; give a whole number"),
            ({"ladder": {"a\nb": 1}}, r"ladder: it has no 'a.nb'; it has originals"),
            ({"augmentation": {"flip": 7}}, "augmentation: flip is 7; give a number in .0, 1."),
            ({"stages": {True: STAGE}}, "does not describe stages 1, 2 and so on"),
            ({"stages": {1.0: STAGE}}, "does not describe stages 1, 2 and so on"),
        ],
    )
    def test_a_wrong_setting_of_a_run_is_named_with_its_file(self, tmp_path, change, said):
        with pytest.raises(ValueError, match=rf"config\.yaml:? {said}") as caught:
            TrainConfig.load(written(tmp_path / "config.yaml", **change))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"block": "shift"}, "unknown block 'shift'; available: attention, score_map"),
            ({"sizes": {"rows": 3}}, "block 'attention' has no rows; it has token_dim, tokens, inner"),
            ({"sizes": {"tokens": -3}}, "tokens of block 'attention' is -3; give a whole number from 1 to 4096"),
            ({"sizes": {"inner": 1.5}}, "inner of block 'attention' is 1.5; give a whole number"),
            ({"sizes": {"tokens": 1}}, "sizes: "),
            ({"sizes": {"full": -1}, "block": "score_map"}, "full of block 'score_map' is -1; give the path of a site"),
            ({"sizes": {"rows": 1}, "block": "score_map"}, "sizes: "),
            ({"judges": ["niqe", "piqee"]}, "unknown metric 'piqee'; nearest: piqe"),
        ],
    )
    def test_a_wrong_setting_of_adapter_training_is_named_with_its_file(self, tmp_path, change, said):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({"reward": STAGE} | change))
        with pytest.raises(ValueError, match=rf"config\.yaml: {said}"):
            AdapterConfig.load(path)

    @pytest.mark.parametrize(
        ("stages", "said"),
        [
            ({1: {"weights": {"l2": 1}}}, "stage1: unknown loss term l2; this stage knows l1, perceptual"),
            ({1: {}, 2: {"options": {"dropp": 1}}}, "stage2: unknown option dropp; this stage knows drop"),
            (
                {1: {"options": {"revive_every": 0}}},
                r"stage1: options.revive_every is 0; give a number from 1 to 1e\+09",
            ),
            ({1: {}, 2: {"options": {"drop": -1}}}, "stage2: options.drop is -1; give a number from 0 to 1"),
        ],
    )
    def test_the_command_names_terms_and_options_of_stages_before_it_reads_pictures(self, tmp_path, stages, said):
        config = TrainConfig.load(written(tmp_path / "c.yaml", stages={n: STAGE | more for n, more in stages.items()}))
        with pytest.raises(ValueError, match=f"^c.yaml: {said}"):
            refuse_unknown_terms(config, "c.yaml")

    @pytest.mark.parametrize(
        ("entries", "said"),
        [
            ({"imitation": {"weights": {"kl": 1}}}, "imitation: unknown loss term kl; this stage knows"),
            ({"reward": {"options": {"shuffle_every": 0}}}, "reward: options.shuffle_every is 0; give a number from 1"),
            (
                {"imitation": {"weights": {"l1": 1}}, "learns": "host"},
                "imitation: unknown loss term l1; .* code, feature",
            ),
        ],
    )
    def test_terms_of_adapters_fit_some_host(self, entries, said):
        stages = {name: StageConfig(**STAGE | more) for name, more in entries.items() if name != "learns"}
        with pytest.raises(ValueError, match=f"^c.yaml: {said}"):
            refuse_unknown_terms(AdapterConfig(**{**entries, **stages}), "c.yaml")

    @pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples").glob("*.yaml")))
    def test_the_examples_have_known_terms(self, name):
        kind = AdapterConfig if name.startswith("adapter") else TrainConfig
        refuse_unknown_terms(kind.load(ROOT / "examples" / name), name)

    @pytest.mark.parametrize(
        ("metric", "judge"),
        [("iqp-lite", "iqp-lite@1"), ("iqp-lite@1", "iqp-lite"), ("mean(niqe, iqp-lite)", "niqe")],
    )
    def test_no_version_and_no_member_of_the_metric_judges(self, metric, judge):
        with pytest.raises(ValueError, match=f"^{judge} drives the training and cannot judge it"):
            AdapterConfig(metric=metric, judges=["piqe", judge], reward=StageConfig(**STAGE))

    def test_judges_are_a_list(self, tmp_path):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({"reward": STAGE, "judges": "niqe"}))
        with pytest.raises(ValueError, match="judges is 'niqe'; give a list"):
            AdapterConfig.load(path)

    def test_numbers_may_be_written_with_exponents(self, tmp_path):
        (tmp_path / "config.yaml").write_text("reward: {steps: 1e3, batch: 2, rate: 1e-3, weights: {l1: 2e0}}\n")
        stage = AdapterConfig.load(tmp_path / "config.yaml").stages["reward"]
        assert (stage.steps, stage.rate, stage.weights) == (1000, 1e-3, {"l1": 2.0}) and isinstance(stage.steps, int)

    @pytest.mark.parametrize("kind", [Degradation, Ladder, UnderwaterDegradation])
    @pytest.mark.parametrize("wrong", ["x", float("nan"), None, [1, "x"], [2, float("inf")], {}, True])
    def test_attributes_of_degradations_have_their_types(self, kind, wrong):
        for name in kind.__dataclass_fields__:
            with pytest.raises(ValueError, match=name if name not in ("fade", "tint") else "fade|tint"):
                kind(**{name: wrong})

    def test_the_command_says_it_in_one_line(self, tmp_path):
        path = written(tmp_path / "config.yaml", save_every=0)
        words = ["train", "native", "--config", path, "--hq", tmp_path, "-o", tmp_path / "run"]
        result = CliRunner().invoke(app, list(map(str, words)))
        assert result.exit_code == 2 and result.output.count("\n") == 1
        assert "config.yaml: save_every is 0; give 1 or more" in result.output


class TestOverrides:
    """Settings on the command line stand in place of those of the file."""

    @staticmethod
    def loaded(tmp_path: Path, *words: str) -> TrainConfig:
        return TrainConfig.load(written(tmp_path / "config.yaml"), words)

    def test_they_replace_single_settings_at_any_level(self, tmp_path):
        words = ["--seed", "3", "--stages.1.rate=2e-3", "--stages.2.weights", "{l1: 2}", "--changes.dim", "96"]
        changed, plain = self.loaded(tmp_path, *words), self.loaded(tmp_path)
        assert (changed.seed, changed.stages["stage1"].rate, changed.stages["stage2"].weights) == (3, 2e-3, {"l1": 2})
        assert changed.changes == plain.changes | {"dim": 96}
        first = replace(changed.stages["stage1"], rate=plain.stages["stage1"].rate)
        assert replace(changed, seed=plain.seed, changes=plain.changes, stages=plain.stages) == plain
        assert first == plain.stages["stage1"]

    def test_the_name_of_a_text_needs_no_quotes_and_a_number_in_quotes_is_a_text(self, tmp_path):
        assert self.loaded(tmp_path, "--metric", "niqe").metric == "niqe"
        with pytest.raises(ValueError, match=r"config.yaml with --seed '3': seed is '3'; give a whole number$"):
            self.loaded(tmp_path, "--seed", "'3'")

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--seed"], r"^--seed has no value; settings are given as --NAME VALUE"),
            (["seed", "3"], r"^'seed' is no option; settings are given as --NAME VALUE"),
            (["--", "3"], r"^'--' is no option"),
            (["--seeed", "3"], r"config.yaml with --seeed 3: unknown setting seeed; .* nearest: seed$"),
            (["--stages.1.rate", "fast"], r"with --stages.1.rate fast: stage 1: rate is 'fast'; give a number$"),
            (["--stages.5.rate", "1"], r"does not describe stages 1, 2 and so on"),
            (["--seed.more", "1"], r"^--seed.more 1: seed is 0 in the file, and has no entries$"),
            (["--seed", "[1"], r"^--seed is no YAML that can be read"),
            (["--seed", "1\nmetric: niqe"], r"^--seed is no YAML that can be read"),
            (["--seed", ""], r"seed is None; give a whole number"),
            (["--seed", "0400"], r"seed is '0400'; give a whole number"),
            (["--stages.².rate", "1"], r"does not describe stages 1, 2 and so on"),
            (["--stages..rate", "1"], r"^--stages..rate has a level without a name; one dot leads to the next"),
            (["--" + "x" * 5000, "y" * 5000], r"with '--x{77} 'y{79}: unknown setting 'x{79}; TrainConfig knows"),
        ],
    )
    def test_wrong_ones_are_one_line(self, tmp_path, words, said):
        path = written(tmp_path / "config.yaml", seed=0)
        with pytest.raises(ValueError, match=said) as caught:
            TrainConfig.load(path, words)
        assert "\n" not in str(caught.value)

    def test_one_stage_changes_alone_where_the_file_has_both_by_an_alias(self, tmp_path):
        path = tmp_path / "config.yaml"
        path.write_text("preset: tiny\nstages:\n  1: &a {steps: 2, batch: 1, rate: 1.0}\n  2: *a\n")
        read = TrainConfig.load(path, ["--stages.1.rate", "2.0"])
        assert (read.stages["stage1"].rate, read.stages["stage2"].rate) == (2.0, 1.0)

    @pytest.mark.parametrize("command", ["native", "adapter"])
    def test_the_commands_take_them_beside_their_options(self, tmp_path, command):
        path = written(tmp_path / "config.yaml") if command == "native" else ROOT / "examples" / "adapter.yaml"
        host = ["--host", "x.pth"] if command == "adapter" else []
        words = ["train", command, *host, "--config", path, "--precision", "fp8", "--hq", tmp_path, "-o", tmp_path]
        result = CliRunner().invoke(app, list(map(str, words)))
        assert result.exit_code == 2
        assert " with --precision fp8: precision is 'fp8'; choose from 'fp32' or 'bf16'" in " ".join(
            result.output.split()
        )

    @pytest.mark.parametrize("command", ["native", "adapter"])
    def test_the_commands_name_unknown_terms_with_file_and_stage(self, tmp_path, command):
        path = written(tmp_path / "config.yaml") if command == "native" else ROOT / "examples" / "adapter.yaml"
        host, stage = ([], "stages.1") if command == "native" else (["--host", "x.pth"], "reward")
        words = [
            "train",
            command,
            *host,
            "--config",
            path,
            f"--{stage}.weights.l3",
            "1",
            "--hq",
            tmp_path,
            "-o",
            tmp_path,
        ]
        result = CliRunner().invoke(app, list(map(str, words)))
        assert result.exit_code == 2
        assert f"{path}: {stage.replace('s.', '')}: unknown loss term l3" in " ".join(result.output.split())


@pytest.fixture(scope="module", autouse=True)
def quick_scales():
    """Score scales are fitted to a few made-up scores here, not to 512 pictures."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            Run, "_scores", lambda self, folder, first: torch.arange(first, first + 8) * 0.1 + self.config.seed
        )
        yield


@pytest.fixture(scope="module")
def begun(tmp_path_factory, quick_scales):
    """Faces, and a run whose first stage has made its two steps."""
    place = tmp_path_factory.mktemp("begun")
    faces = faces_in(place / "faces")
    NativeTraining(small(), faces, place / "run").run_stage("stage1")
    return place


def small(**changes) -> TrainConfig:
    stage = {"steps": 2, "batch": 2, "rate": 1e-3, "warmup": 2, "options": {"revive_every": 4}}
    stage |= {name: changes.pop(name) for name in list(changes) if name in StageConfig.__dataclass_fields__}
    return replace(config(**changes), stages={"stage1": StageConfig(**stage)})


class TestResuming:
    @pytest.fixture
    def place(self, begun, tmp_path):
        shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
        return tmp_path

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"rate": 1e-4}, r"rate 0.001, and now it is 0.0001; set it back, or train in another folder \(steps may"),
            ({"batch": 4}, "batch 2, and now it is 4"),
            ({"steps": 1}, "steps 2, and now it is 1"),
            ({"weights": {"l1": 2.0}}, "weights.l1 not given, and now it is 2.0"),
            ({"options": {}}, "options.revive_every 4, and now it is not given"),
            ({"seed": 1}, "seed 0, and now it is 1"),
            (
                {"metric": "iqp-colour"},
                r'metric "iqp-lite@(\d)", and now it is "iqp-colour@1"; `metric: iqp-lite@\1` goes',
            ),
            ({"degradation": {"noise": [0, 1]}}, r"degradation.noise not given, and now it is \[0, 1\]"),
            ({"ladder": {"originals": 0.5}}, "ladder.originals not given, and now it is 0.5"),
        ],
    )
    def test_a_changed_setting_is_refused_by_name(self, place, change, said):
        before = {file: file.read_bytes() for file in (place / "run").rglob("*") if file.is_file()}
        with pytest.raises(ValueError, match=f"was trained with {said}"):
            NativeTraining(small(**change), place / "faces", place / "run").run_stage("stage1")
        assert {file: file.read_bytes() for file in (place / "run").rglob("*") if file.is_file()} == before

    def test_a_run_keeps_the_version_of_its_metric(self, place, second_lite, caplog):
        """It was begun by a release that had one version and named none, and goes on under two."""
        settings, scale = place / "run" / "settings.json", place / "run" / "score_scale.json"
        for file in (settings, scale):
            file.write_text(json.dumps(json.loads(file.read_text()) | {"metric": "iqp-lite"}))
        with pytest.raises(ValueError, match=r'"iqp-lite@1", and now it is "iqp-lite@2"; `metric: iqp-lite@1` goes on'):
            NativeTraining(small(), place / "faces", place / "run")
        run = NativeTraining(small(metric="iqp-lite@1"), place / "faces", place / "run")
        assert run.scale.metric == run.scorer.metric == run.config.metric == "iqp-lite@1"
        assert [line.split(" is stale")[0] for line in caplog.messages] == [str(scale)]

    def test_a_new_run_writes_the_version_of_its_metric(self, place, second_lite):
        run = NativeTraining(small(), place / "faces", place / "new")
        named = [
            json.loads((place / "new" / file).read_text())["metric"] for file in ("settings.json", "score_scale.json")
        ]
        assert named == ["iqp-lite@2"] * 2 and run.scorer.metric == "iqp-lite@2"

    def test_a_scale_of_another_version_is_refused(self, place, second_lite):
        (place / "new").mkdir()
        (place / "new" / "score_scale.json").write_text(
            (place / "run" / "score_scale.json").read_text().replace("@2", "@1")
        )
        with pytest.raises(
            ValueError, match="is of iqp-lite@1, and metric is iqp-lite@2; give `metric: iqp-lite@1` to"
        ):
            NativeTraining(small(), place / "faces", place / "new")

    def test_an_ensemble_conditions_a_run_and_its_scales_stay(self, place, monkeypatch):
        known = {name: ScoreScale(name, False, (0.0, 100.0)) for name in ("iqp-lite@1", "iqp-colour@1")}
        monkeypatch.setattr("iqp_adapter.scoring.ensemble.stored_scales", lambda: known)
        settings = small(metric="mean(iqp-lite@1,iqp-colour)")
        run = NativeTraining(settings, place / "faces", place / "new")
        run.run_stage("stage1")
        assert run.scale.metric == run.scorer.metric == "mean(iqp-lite@1, iqp-colour@1)"
        NativeTraining(settings, place / "faces", place / "new")
        known["iqp-colour@1"] = ScoreScale("iqp-colour@1", False, (0.0, 90.0))
        with pytest.raises(ValueError, match="was trained with scales of members .*, and now it is "):
            NativeTraining(settings, place / "faces", place / "new")

    @pytest.mark.parametrize("change", ["more", "another", "name"])
    def test_other_pictures_are_refused(self, place, change):
        faces = place / "faces"
        if change == "more":
            shutil.copy(faces / "0.png", faces / "9.png")
        elif change == "another":
            Image.open(faces / "0.png").rotate(90).save(faces / "0.png")
        else:
            (faces / "0.png").rename(faces / "zoe.png")
        with pytest.raises(ValueError, match=r"was trained with data\.\w+ .*, and now it is "):
            NativeTraining(small(), faces, place / "run")

    def test_what_may_change_goes_on_and_is_recorded(self, place):
        moved = (place / "faces").rename(place / "elsewhere")
        settings = small(steps=3, save_every=1, watch_every=500, workers=1)
        NativeTraining(settings, moved, place / "run").run_stage("stage1")
        parts = json.loads((place / "run" / "stage1" / "environment.json").read_text())["parts"]
        assert [(part["from step"], part["stage"]["steps"], part["config"]["workers"]) for part in parts] == [
            (0, 2, 0),
            (2, 3, 1),
        ]
        with pytest.raises(ValueError, match="steps 3, and now it is 2"):
            NativeTraining(small(), moved, place / "run").run_stage("stage1")

    def test_settings_may_be_mended_before_anything_was_trained(self, place):
        shutil.rmtree(place / "run" / "stage1")
        before = (place / "run" / "score_scale.json").read_text()
        run = NativeTraining(small(metric="iqp-colour"), place / "faces", place / "run")
        assert run.scale.metric == "iqp-colour@1" and (place / "run" / "score_scale.json").read_text() != before

    @pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"metric": 3}'])
    def test_a_damaged_score_scale_is_named(self, place, text):
        (place / "run" / "score_scale.json").write_text(text)
        with pytest.raises(ValueError, match=r"score_scale.json is damaged .*remove it, and it is fitted again"):
            NativeTraining(small(), place / "faces", place / "run")

    def test_settings_of_a_newer_version_with_more_names_are_taken(self, tmp_path):
        keep(tmp_path, {"rate": 1.0})
        assert not check_same(tmp_path, {"rate": 1.0, "new": 3}, begun=True)


def damaged(content: bytes, way: str) -> bytes:
    half = len(content) // 2
    ways = {
        "empty": b"",
        "cut": content[:half],
        "bit": content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :],
        "zeros": b"\0" * len(content),
        "text": b"<html>not found</html>",
        "end": content[:-30],
        "start": b"\0" * 64 + content[64:],
        "pickle": b"\x80\x04\x95" + content[:9],
    }
    return ways[way]


class TestStates:
    WAYS = ("empty", "cut", "bit", "zeros", "text", "end", "start", "pickle")

    @staticmethod
    def saved(folder: Path, steps: int) -> None:
        for step in range(1, steps + 1):
            state.save_state(folder, {"step": step, "models": {}, "averaged": {"x": torch.full((999,), float(step))}})

    @pytest.mark.parametrize("way", WAYS)
    def test_a_damaged_one_gives_way_to_the_one_before(self, tmp_path, caplog, way):
        self.saved(tmp_path, 2)
        newest = tmp_path / "state.pt"
        newest.write_bytes(damaged(newest.read_bytes(), way))
        with caplog.at_level(logging.WARNING):
            assert state.load_state(tmp_path)["step"] == 1
        [line] = caplog.messages
        assert f"{newest} is damaged (" in line and line.endswith("the run goes on from previous.pt, step 1")

    @pytest.mark.parametrize("way", WAYS)
    def test_without_one_before_it_is_one_line(self, tmp_path, way):
        self.saved(tmp_path, 1)
        newest = tmp_path / "state.pt"
        newest.write_bytes(damaged(newest.read_bytes(), way))
        with pytest.raises(
            ValueError, match=r"state.pt is damaged \(.*; remove it to train this stage again"
        ) as caught:
            state.load_state(tmp_path)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("error", NO_MEMORY.values(), ids=NO_MEMORY)
    def test_a_whole_one_is_not_damaged_where_memory_lacks(self, tmp_path, monkeypatch, error):
        def fail(*args, **options):
            raise error

        self.saved(tmp_path, 2)
        monkeypatch.setattr(torch, "load", fail)
        with pytest.raises(type(error)) as caught:
            state.load_state(tmp_path)
        assert caught.value is error

    def test_a_kill_between_the_two_renames_loses_nothing(self, tmp_path):
        self.saved(tmp_path, 2)
        (tmp_path / "state.pt").unlink()
        assert state.is_there(tmp_path) and state.load_state(tmp_path)["step"] == 1

    def test_none_is_none(self, tmp_path):
        assert not state.is_there(tmp_path) and state.load_state(tmp_path) is None

    @pytest.mark.parametrize("models", [{}, {"model": {}}, {"model": 3}])
    def test_one_of_another_model_is_one_line(self, begun, tmp_path, models):
        shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
        torch.save({"step": 1, "models": models, "averaged": {}}, tmp_path / "run" / "stage1" / "state.pt")
        with pytest.raises(ValueError, match="stage1 is of another model"):
            NativeTraining(small(), tmp_path / "faces", tmp_path / "run").run_stage("stage1")


class TestGoneWrong:
    @pytest.mark.parametrize("what", ["gradient", "weight"])
    def test_the_last_good_checkpoint_stays(self, begun, tmp_path, monkeypatch, what):
        shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
        checkpoint = tmp_path / "run" / "stage1" / "state.pt"
        before = checkpoint.read_bytes()
        if what == "gradient":
            monkeypatch.setattr("iqp_adapter.training.losses.l1", lambda restored, hq: (restored.mean() * 0).sqrt())
        else:
            step = torch.optim.AdamW.step
            monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: (step(self), spoil(self)))
        with pytest.raises(
            FloatingPointError, match=rf"{what}|network\.\S+ is not finite.* is good: set precision fp32"
        ):
            NativeTraining(small(steps=4, save_every=1), tmp_path / "faces", tmp_path / "run").run_stage("stage1")
        assert checkpoint.read_bytes() == before


def spoil(optimiser: torch.optim.Optimizer) -> None:
    with torch.no_grad():
        optimiser.param_groups[0]["params"][0].fill_(float("inf"))


class TestPairs:
    @pytest.fixture
    def pairs(self, tmp_path):
        hq, lq = faces_in(tmp_path / "hq"), faces_in(tmp_path / "lq")
        return hq, lq

    def test_a_broken_partner_is_named_and_its_pair_replaced(self, pairs, caplog):
        hq, lq = pairs
        content = bytearray((lq / "1.png").read_bytes())
        content[len(content) // 2] ^= 255
        (lq / "1.png").write_bytes(content)
        data = FacePairs(hq, lq, 64)
        with caplog.at_level(logging.WARNING):
            sample, following = data[1], data[2]
        assert torch.equal(sample["lq"], following["lq"]) and torch.equal(sample["hq"], following["hq"])
        assert len(caplog.messages) == 1 and str(lq / "1.png") in caplog.text

    def test_another_shape_is_refused(self, pairs):
        hq, lq = pairs
        Image.new("RGB", (96, 60)).save(lq / "2.png")
        with pytest.raises(
            ValueError, match=r"lq/2.png is 96 x 60 px and its target 96 x 96 px; bring them to one shape"
        ):
            FacePairs(hq, lq, 64)

    @pytest.mark.parametrize("size", [(24, 24), (33, 33), (200, 199)])
    def test_another_size_of_one_shape_is_taken(self, pairs, size):
        hq, lq = pairs
        Image.new("RGB", size).save(lq / "2.png")
        assert FacePairs(hq, lq, 64)[2]["lq"].shape == (3, 64, 64)

    def test_one_of_a_single_pixel_is_named_and_never_hangs(self, pairs, caplog):
        hq, lq = pairs
        Image.new("RGB", (1, 1)).save(lq / "2.png")
        data = FacePairs(hq, lq, 64)
        with caplog.at_level(logging.WARNING):
            assert torch.equal(data[2]["lq"], data[3]["lq"])
        assert "2.png" in caplog.text and "needs 8 px" in caplog.text

    def test_two_targets_of_one_stem_are_refused(self, pairs):
        hq, lq = pairs
        Image.open(hq / "3.png").save(hq / "3.bmp")
        with pytest.raises(ValueError, match=r"2 of 5 pictures \(3.bmp, 3.png\) have no partner"):
            FacePairs(hq, lq, 64)

    def test_depths_may_differ(self, pairs):
        hq, lq = pairs
        grey = np.asarray(Image.open(hq / "0.png").convert("L")).astype(np.uint16) * 257
        Image.fromarray(grey).save(lq / "0.png")
        plain = torch.from_numpy(grey / np.float32(65535))
        assert (FacePairs(hq, lq, 96)[0]["lq"] - plain).abs().max() < 2 / 255


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_how_it_goes_on(tmp_path, sent, status):
    faces = faces_in(tmp_path / "faces")
    stage = {"steps": 500, "batch": 2, "rate": 1e-3}
    changes = {name: list(value) if isinstance(value, tuple) else value for name, value in SMALL.items()}
    path = written(
        tmp_path / "config.yaml", preset="tiny-256", stages={1: stage}, save_every=1, precision="fp32", changes=changes
    )
    scale = ScoreScale.fit("iqp-lite", False, torch.linspace(0, 100, 11))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "score_scale.json").write_text(json.dumps(scale.to_dict()))
    words = ["train", "native", "--config", path, "--hq", faces, "-o", tmp_path / "run"]
    code = "from iqp_adapter.cli import app; app()"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE, text=True, env=environment)
    while process.poll() is None and not (tmp_path / "run" / "stage1" / "state.pt").is_file():
        time.sleep(0.05)
    process.send_signal(sent)
    _, error = process.communicate(timeout=120)
    assert process.returncode == status
    assert error.strip().splitlines()[-1] == "interrupted; the same command goes on from the last checkpoint"
    assert state.load_state(tmp_path / "run" / "stage1")["step"] >= 1


def test_an_adapter_goes_on_with_its_own_host_alone(tmp_path):
    from stand_ins import CodeFormer

    from iqp_adapter.training.adapter_training import AdapterTraining

    faces, run = faces_in(tmp_path / "faces"), tmp_path / "run"
    settings = AdapterConfig(imitation=StageConfig(steps=1, batch=1, rate=1e-3), precision="fp32", judges=())

    def host(seed: int) -> CodeFormer:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return CodeFormer(2, 2)

    AdapterTraining(settings, host(0), faces, run)
    (run / "imitation").mkdir()
    (run / "imitation" / "state.pt").touch()
    AdapterTraining(settings, host(0), faces, run)
    with pytest.raises(ValueError, match='was trained with host "'):
        AdapterTraining(settings, host(1), faces, run)
    with pytest.raises(ValueError, match="was trained with sizes.tokens not given, and now it is 3"):
        AdapterTraining(replace(settings, sizes={"tokens": 3}), host(0), faces, run)
