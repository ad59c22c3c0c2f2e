"""Native training: it learns, it resumes to the bit after being killed, and it says what is wrong."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from no_memory import NO_MEMORY
from PIL import Image
from training_run import config

from iqp_adapter.core.metrics import canonical
from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.degradations.checks import attributes
from iqp_adapter.degradations.kinds import DEGRADATIONS, degradation_of
from iqp_adapter.degradations.ladder import Ladder
from iqp_adapter.native import IQPFR
from iqp_adapter.training import loop
from iqp_adapter.training.config import StageConfig, TrainConfig
from iqp_adapter.training.native_training import NativeTraining
from iqp_adapter.training.sample_scales import SampleScales
from iqp_adapter.training.stages import Batch, CodebookStage, PredictionStage, QualityStage

SCRIPT = Path(__file__).with_name("training_run.py")
ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
EXAMPLE = ROOT / "examples" / "native_tiny.yaml"


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A dozen crops of scikit-image's astronaut around her face."""
    from skimage.data import astronaut

    folder = tmp_path_factory.mktemp("faces")
    for i, (top, left) in enumerate(np.random.default_rng(0).integers(0, 60, (12, 2))):
        Image.fromarray(astronaut()[top : top + 200, left + 100 : left + 300]).resize((96, 96)).save(
            folder / f"{i}.png"
        )
    return folder


@pytest.fixture(scope="module")
def finished(faces, tmp_path_factory):
    """All three stages, run once without interruption, in a process of their own."""
    run = tmp_path_factory.mktemp("run")
    subprocess.run([sys.executable, SCRIPT, faces, run, "2", "1", "2", "3"], check=True, env=ENVIRONMENT)
    return run


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_stage_leaves_weights_log_curves_grids_and_its_environment(finished, stage):
    folder = finished / f"stage{stage}"
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 12]
    names = {path.name for path in folder.iterdir()}
    assert {"curves.png", "step_000012.png", "environment.json", "model", "state.pt"} <= names


@pytest.mark.parametrize(("number", "stage"), [(1, CodebookStage), (2, PredictionStage), (3, QualityStage)])
def test_the_terms_of_a_stage_are_the_ones_it_declares(finished, number, stage):
    rows = [json.loads(line) for line in (finished / f"stage{number}" / "log.jsonl").read_text().splitlines()]
    besides = {"step", "common_perplexity", "plus_perplexity", "revived"}
    assert set().union(*rows) - besides == set(stage.term_names)


def test_what_is_trained_restores(finished):
    model = IQPFR.from_pretrained(finished / "stage3" / "model")
    assert model.score_scale.metric == canonical("iqp-lite")
    assert model.restore(torch.rand(1, 3, 64, 64), quality=0.5).shape == (1, 3, 64, 64)


def test_stage_two_and_three_leave_the_codebooks_and_the_decoder_alone(finished):
    first, second = (torch.load(finished / f"stage{i}" / "state.pt", weights_only=True)["averaged"] for i in (1, 2))
    third = IQPFR.from_pretrained(finished / "stage3" / "model").state_dict()
    shared = [key for key in second if key.startswith(("module.decoder", "module.books.common.entries"))]
    assert len(shared) > 20
    for key in shared:
        assert torch.equal(first[key], second[key])
        assert torch.equal(second[key], third[key.removeprefix("module.")])


def test_the_discriminator_of_stage_two_sees_good_pictures_alone(finished, faces):
    stage = NativeTraining(config(), faces, finished).stage("stage2")
    stage.discriminator.eval()  # its spectral norms stay as they are
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    scales = SampleScales((ScoreScale("iqp-lite", False, (0.0, 100.0)),), torch.zeros(2, dtype=torch.int64))

    def losses(first: torch.Tensor, *quality: float) -> list[float]:
        hq = torch.cat([first, pictures[1:]])
        batch = Batch(hq, pictures, torch.tensor(quality), [1, 2], scales, torch.ones(2).bool())
        terms = {name: value for _, found in stage.updates(batch, 6) for name, value in found.items()}
        return [terms[name].item() for name in ("adversarial", "discriminator")]

    assert losses(pictures[:1], 0.2, 0.2) == [0, 0]
    assert losses(pictures[:1], 0.2, 0.9)[1] == losses(1 - pictures[:1], 0.2, 0.9)[1] > 0


def test_stage_one_learns(faces, tmp_path):
    settings = config()
    longer = replace(settings.stages["stage1"], steps=260, weights={"l1": 2.0, "perceptual": 0.15}, options={})
    settings = replace(settings, metric="iqp-lite@1", stages=settings.stages | {"stage1": longer})
    NativeTraining(settings, faces, tmp_path).run_stage("stage1")  # the same run, whichever metric is the newest
    rows = [json.loads(line) for line in (tmp_path / "stage1" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["l1"] < 0.6 * rows[0]["l1"]


def killed_runs(faces, run, stage, moments, seed=0):
    """Starts the stage again and again, killing it at random moments, every third time while it writes its state."""
    draw = random.Random(seed)
    for moment in range(moments):
        process = subprocess.Popen([sys.executable, SCRIPT, faces, run, "2", stage], env=ENVIRONMENT)
        folder = run / f"stage{stage}"
        log = folder / "log.jsonl"
        while process.poll() is None and not log.exists() and not (folder / "state.pt").exists():
            time.sleep(0.01)
        if moment % 3 == 0:
            while process.poll() is None and not list(folder.glob(".state.*")):
                time.sleep(0.0005)
        else:
            time.sleep(draw.uniform(0, 3))
        process.send_signal(signal.SIGKILL)
        process.wait()


def assert_same_weights(a, b):
    a, b = (torch.load(path, weights_only=True) for path in (a, b))
    assert a["step"] == b["step"]
    assert [key for key, value in a["averaged"].items() if not torch.equal(value, b["averaged"][key])] == []
    network, other = (state["models"].popitem()[1]["model"] for state in (a, b))
    assert [key for key, value in network.items() if not torch.equal(value, other[key])] == []


@pytest.mark.parametrize("moments", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_goes_on_to_the_same_bits(faces, finished, tmp_path, moments):
    killed_runs(faces, tmp_path, "1", moments)
    subprocess.run([sys.executable, SCRIPT, faces, tmp_path, "2", "1"], check=True, env=ENVIRONMENT)
    assert_same_weights(finished / "stage1" / "state.pt", tmp_path / "stage1" / "state.pt")
    rows, expected = ((run / "stage1" / "log.jsonl").read_text() for run in (tmp_path, finished))
    assert rows == expected
    times = [json.loads(line) for line in (tmp_path / "stage1" / "times.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in times]
    assert steps == sorted(set(steps)) and steps[-1] == 12
    assert all(0 < row["seconds"] < 600 for row in times)


@pytest.mark.slow
def test_two_processes_stopped_and_started_again_equal_one_with_twice_the_batch(faces, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = ENVIRONMENT | {"OPTIMISER": "SGD"}
    subprocess.run([sys.executable, SCRIPT, faces, tmp_path / "one", "4", "1", "2"], check=True, env=environment)
    shutil.copytree(tmp_path / "one" / "stage1", tmp_path / "two" / "stage1")
    stopped = subprocess.Popen([*launch, SCRIPT, faces, tmp_path / "two", "2", "2"], env=environment)
    while stopped.poll() is None and not (tmp_path / "two" / "stage2" / "state.pt").exists():
        time.sleep(0.01)
    stopped.terminate()
    assert stopped.wait() != 0
    subprocess.run([*launch, SCRIPT, faces, tmp_path / "two", "2", "2"], check=True, env=environment)
    one, two = (IQPFR.from_pretrained(tmp_path / run / "stage2" / "model").state_dict() for run in ("one", "two"))
    for key in one:
        torch.testing.assert_close(one[key], two[key], atol=1e-6, rtol=0)


def test_a_finished_stage_is_not_trained_again(finished, faces):
    before = (finished / "stage1" / "state.pt").stat().st_mtime_ns
    NativeTraining(config(), faces, finished).run_stage("stage1")
    assert (finished / "stage1" / "state.pt").stat().st_mtime_ns == before


def test_a_loss_that_is_not_finite_stops_with_what_to_do(faces, tmp_path, monkeypatch):
    training = NativeTraining(config(), faces, tmp_path)
    monkeypatch.setattr("iqp_adapter.training.losses.l1", lambda restored, hq: restored.mean() * float("nan"))
    with pytest.raises(FloatingPointError, match=r"the loss \(l1\) is not finite at step 0; .*lower the stage's rate"):
        training.run_stage("stage1")


@pytest.mark.parametrize("error", NO_MEMORY.values(), ids=NO_MEMORY)
def test_want_of_memory_stops_with_what_to_do(faces, tmp_path, monkeypatch, error):
    def fail(restored, hq):
        raise error

    training = NativeTraining(config(), faces, tmp_path)
    monkeypatch.setattr("iqp_adapter.training.losses.l1", fail)
    with pytest.raises(MemoryError, match=rf"stage1 with batch 2; give a smaller batch .*\({type(error).__name__}:"):
        training.run_stage("stage1")


def test_another_fault_of_a_step_is_not_taken_for_want_of_memory(faces, tmp_path, monkeypatch):
    training = NativeTraining(config(), faces, tmp_path)
    monkeypatch.setattr("iqp_adapter.training.losses.l1", lambda restored, hq: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        training.run_stage("stage1")


def test_a_stage_wants_the_one_before(faces, tmp_path):
    with pytest.raises(FileNotFoundError, match="stage 1 is not finished .* run it first with --stage 1"):
        NativeTraining(config(), faces, tmp_path).run_stage("stage2")


def test_the_rate_warms_up_and_falls_to_a_tenth():
    settings = StageConfig(steps=100, batch=1, rate=1.0, warmup=10)
    shares = [loop.rate_share(step, settings) for step in range(101)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == shares[9] == pytest.approx(1.0)
    assert shares[100] == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["native_tiny", "native_colour", "native_underwater"])
def test_the_shipped_configurations_are_readable(name):
    config = TrainConfig.load(EXAMPLE.with_stem(name))
    assert config.stages["stage1"].weights["l1"] > 0
    assert degradation_of(128, **config.degradation)
    assert Ladder(**config.ladder)


def test_a_configuration_may_end_before_the_last_stage():
    shorter = TrainConfig.load(EXAMPLE.with_stem("native_colour"))
    assert len(shorter.stages) == 2
    with pytest.raises(ValueError, match="there is no stage 3; the configuration has stage1, stage2"):
        shorter.name(3)


def test_a_degradation_of_no_kind_is_named():
    with pytest.raises(ValueError, match="degradation of kind 'lunar'; available: face"):
        degradation_of(128, kind="lunar")


@dataclass(frozen=True)
class Darker:
    """A kind of degradation that is not in the library."""

    factor: float = 0.5

    @classmethod
    def for_resolution(cls, px, **changes):
        return cls(**attributes(cls, "darker", changes))

    def __call__(self, hq, seed):
        return hq * np.float32(self.factor)


def test_a_new_degradation_is_one_line_of_the_table(faces, tmp_path, monkeypatch):
    monkeypatch.setitem(DEGRADATIONS, "toy", Darker)
    ladder = {"originals": 1.0}
    run = NativeTraining(config(degradation={"kind": "toy", "factor": 0.25}, ladder=ladder), faces, tmp_path)
    assert torch.equal(run.data[0, 0]["lq"], 0.25 * run.data[0, 0]["hq"])
    assert torch.equal(run.watched_data[0, 0]["lq"], 0.25 * run.watched_data[0, 0]["hq"])
    with pytest.raises(ValueError, match="darker has no shade; it has factor"):
        NativeTraining(config(degradation={"kind": "toy", "shade": 1}, ladder=ladder), faces, tmp_path)


def test_the_ladder_of_a_configuration_makes_the_targets(faces, tmp_path):
    plain, grey = (
        NativeTraining(config(ladder={"originals": 0, "fade": fade}), faces, tmp_path / str(fade)).data[0, 0]["hq"]
        for fade in (0.0, 1.0)
    )
    assert (grey.amax(0) - grey.amin(0)).mean() < (plain.amax(0) - plain.amin(0)).mean()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sede": 1}, "unknown setting sede; TrainConfig knows"),
        ({"stages": {}}, "does not describe stages 1, 2 and so on"),
        ({"stages": {1: {}}}, "StageConfig: missing .* 'rate'"),
    ],
)
def test_a_wrong_configuration_is_said_in_one_line(tmp_path, change, words):
    import yaml

    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(EXAMPLE.read_text()) | change))
    with pytest.raises(ValueError, match=words):
        TrainConfig.load(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": {"adversarial_form": 3}}, "unknown option adversarial_form; this stage knows adversarial_from, "),
        (
            {"weights": {"l1": 1, "leash": 0, "perceptal": 1}},
            "unknown loss term leash, perceptal; this stage knows l1, perceptual, commitment, adversarial, discr",
        ),
    ],
)
def test_unknown_names_in_a_stage_are_refused(faces, tmp_path, change, words):
    settings = config()
    wrong = replace(settings.stages["stage1"], **change)
    with pytest.raises(ValueError, match=words):
        NativeTraining(replace(settings, stages=settings.stages | {"stage1": wrong}), faces, tmp_path).run_stage(
            "stage1"
        )


def test_a_mistake_in_a_later_stage_is_found_before_the_first_one_trains(faces, tmp_path):
    settings = config()
    wrong = replace(settings.stages["stage3"], weights={"leash": 0.05})
    training = NativeTraining(replace(settings, stages=settings.stages | {"stage3": wrong}), faces, tmp_path)
    with pytest.raises(ValueError, match="unknown loss term leash; this stage knows quality, kl"):
        training.run()
    assert not (tmp_path / "stage1").exists()


def test_a_checkpoint_of_another_version_is_refused_in_one_line(faces, tmp_path):
    (tmp_path / "stage1").mkdir()
    torch.save({"step": 2, "players": {}}, tmp_path / "stage1" / "state.pt")
    with pytest.raises(ValueError, match=r"state.pt was written by another version of iqp_adapter; train in another"):
        NativeTraining(config(), faces, tmp_path).run_stage("stage1")
