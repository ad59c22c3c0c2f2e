"""Trackers beside the files of a training run: what reaches them, and that the run stays what it is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, get_available_trackers
from PIL import Image
from skimage.data import astronaut
from training_run import config
from typer.testing import CliRunner

from iqp_adapter.cli import app
from iqp_adapter.training import trackers
from iqp_adapter.training.config import StageConfig
from iqp_adapter.training.native_training import NativeTraining
from iqp_adapter.training.trackers import available, tracked


class Kept(GeneralTracker):
    """Keeps what it is told."""

    name = "kept"
    requires_logging_directory = False

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Any] = []

    @property
    def tracker(self) -> list[Any]:
        return self.told

    def start(self) -> None:
        self.told.append("start")

    def store_init_configuration(self, values: dict) -> None:
        self.told.append(values)

    def log(self, values: dict, step: int | None = None, **options: Any) -> None:
        self.told.append({"step": step} | values)

    def finish(self) -> None:
        self.told.append("finish")


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    for index in range(4):
        Image.fromarray(astronaut()[10 * index : 200 + 10 * index, 100:300]).resize((64, 64)).save(
            folder / f"{index}.png"
        )
    return folder


def trained(faces: Path, run: Path, steps: int, log_with: Any = (), **changes: Any) -> None:
    """Stage 1, of as many steps; the record has a row at every tenth step and at the last one."""
    NativeTraining(config(steps=steps, save_every=1, **changes), faces, run, log_with=log_with).run_stage("stage1")


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "stage1" / "log.jsonl").read_text().splitlines()]


def shown(run: Path, tag: str) -> list[tuple[int, float]]:
    """The steps and values of a curve in TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "stage1" / "trackers" / run.name)).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_a_tracker_gets_settings_and_every_row_of_the_log_and_is_closed(faces, tmp_path):
    kept = Kept()
    trained(faces, tmp_path / "run", 2, [kept])
    first, settings, *told, last = kept.told
    assert (first, last) == ("start", "finish")
    assert settings["rate"] == 1e-3 and settings["options.revive_every"] == 4
    assert all(isinstance(value, (bool, int, float, str)) for value in settings.values())
    assert [[round(value, 4) for value in row.values()] for row in told] == [
        [round(value, 4) for value in row.values()] for row in rows(tmp_path / "run")
    ]
    assert [list(row) for row in told] == [list(row) for row in rows(tmp_path / "run")]


def test_a_run_is_the_same_with_and_without_trackers_and_they_may_change(faces, tmp_path):
    trained(faces, tmp_path / "bare", 2)
    trained(faces, tmp_path / "seen", 1)
    kept = Kept()
    trained(faces, tmp_path / "seen", 2, [kept])
    assert rows(tmp_path / "seen")[-1]["l1"] > 0 and kept.told[0] == "start" and kept.told[1]["step"] == 2
    for name in ("settings.json", "stage1/settings.json"):
        bare, seen = (json.loads((tmp_path / run / name).read_text()) for run in ("bare", "seen"))
        assert bare == seen
    kept.told.clear()
    trained(faces, tmp_path / "seen", 2, [kept])
    assert kept.told == [], "nothing was left to train"


def test_tensorboard_shows_the_rows_and_goes_on_without_doubling_them(faces, tmp_path):
    pytest.importorskip("tensorboard")
    run = tmp_path / "my-run"
    trained(faces, run, 2, ["tensorboard"])
    assert (run / "stage1" / "curves.png").is_file() and (run / "stage1" / "step_000002.png").is_file()
    state = (run / "stage1" / "state.pt").read_bytes()
    trained(faces, run, 4, ["tensorboard"])
    (run / "stage1" / "state.pt").write_bytes(state)  # as a run that was killed before it wrote its checkpoint
    (run / "stage1" / "previous.pt").unlink()
    trained(faces, run, 4, ["tensorboard"])
    logged = [(row["step"], pytest.approx(row["l1"], rel=1e-4)) for row in rows(run) if "l1" in row]
    assert [step for step, _ in logged] == [2, 4] and shown(run, "l1") == logged


def test_the_run_of_a_tracker_is_the_same_when_a_stage_goes_on_and_new_when_it_starts(tmp_path, monkeypatch):
    asked: list[Any] = []
    monkeypatch.setattr(Accelerator, "init_trackers", lambda self, *arguments: asked.append(arguments))
    accelerator = Accelerator(log_with=[Kept()])
    folder = tmp_path / "a run: 1" / "stage2"
    folder.mkdir(parents=True)
    for step in (0, 10, 20, 0):
        with tracked(accelerator, folder, step, StageConfig(30, 2, 1e-3)):
            pass
    assert {project for project, _, _ in asked} == {"a-run-1"}
    assert [settings is None for _, settings, _ in asked] == [False, True, True, False]
    wandb = [options["wandb"] for _, _, options in asked]
    assert wandb[0]["id"] == wandb[1]["id"] == wandb[2]["id"] != wandb[3]["id"]
    assert all(each["name"] == "stage2" and each["resume"] == "allow" for each in wandb)
    trackio = [options["trackio"] for _, _, options in asked]
    assert trackio[0] == trackio[2] == {"name": f"stage2-{wandb[0]['id']}", "resume": "allow"} != trackio[3]
    assert [options["tensorboard"]["purge_step"] for _, _, options in asked] == [1, 11, 21, 1]


def test_a_tracker_is_closed_where_training_fails_and_starts_again_for_the_next_stage(tmp_path):
    kept = Kept()
    accelerator = Accelerator(log_with=[kept])
    (tmp_path / "stage1").mkdir()
    with pytest.raises(FloatingPointError), tracked(accelerator, tmp_path / "stage1", 0, StageConfig(3, 2, 1e-3)):
        raise FloatingPointError
    assert kept.told[-1] == "finish" and accelerator.trackers == []
    accelerator.log({"l1": 1.0}, step=1)
    assert kept.told[-1] == "finish"


def test_only_the_main_process_has_trackers(tmp_path, monkeypatch):
    kept = Kept()
    accelerator = Accelerator(log_with=[kept])
    monkeypatch.setattr(Accelerator, "is_main_process", False)
    with tracked(accelerator, tmp_path / "stage1", 0, StageConfig(3, 2, 1e-3)):
        accelerator.log({"l1": 1.0}, step=1)
    assert kept.told == [] and not (tmp_path / "stage1").exists()


def test_unknown_trackers_and_missing_packages_are_said_in_one_line(monkeypatch):
    with pytest.raises(ValueError, match=r"unknown tracker 'tensorbord'; accelerate knows .*tensorboard.*wandb"):
        available(["tensorbord"])
    monkeypatch.setattr(trackers, "get_available_trackers", lambda: [])
    with pytest.raises(ImportError, match=r"^the tracker wandb needs a package that is missing: pip install wandb$"):
        available(["wandb"])
    assert available([]) is None


def test_the_command_line_takes_trackers_and_says_what_is_missing(faces, tmp_path):
    missing = next(name for name in ("wandb", "clearml", "aim") if name not in map(str, get_available_trackers()))
    example = Path(__file__).parents[1] / "examples" / "native_tiny.yaml"
    words = ["train", "native", "--config", str(example), "--hq", str(faces), "-o", str(tmp_path / "run")]
    done = CliRunner().invoke(app, [*words, "--log-with", "tensorboard", "--log-with", missing])
    assert done.exit_code == 2 and f"pip install {missing}" in done.output and "Traceback" not in done.output
    assert "--log-with" in re.sub(r"\x1b\[[0-9;]*m", "", CliRunner().invoke(app, ["train", "adapter", "--help"]).output)
