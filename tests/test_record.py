"""The visible side of a run: log, curves, grids, and the identity of data and machine."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.common.records import copy_records
from iqp_adapter.pictures.plots import save_plot
from iqp_adapter.provenance import dataset_hash, environment
from iqp_adapter.training.dataset import FaceFolder
from iqp_adapter.training.record import Record, moving_average, write_environment
from iqp_adapter.training.resuming import identity


def filled(folder, steps: int = 100) -> Record:
    record = Record(folder)
    for step in range(1, steps + 1):
        seldom = {"psnr": 20} if step == 50 else {}
        record.row(step, {"l1": 1 / step, "gan": np.float32(-0.5), "stage": "one"} | seldom)
    return record


def test_rows_are_json_lines_and_numbers_json_can_hold(tmp_path):
    record = Record(tmp_path / "run")
    record.row(1, {"l1": 1 / 3, "loss": float("nan"), "codes": torch.tensor(7)})
    record.row(2, {"l1": float("inf"), "stage": "two"})
    lines = [json.loads(line, parse_constant=pytest.fail) for line in record.log.read_text().splitlines()]
    assert lines == record.rows()
    assert lines == [{"step": 1, "l1": 0.333333, "loss": None, "codes": 7}, {"step": 2, "l1": None, "stage": "two"}]


def test_a_log_is_continued_and_resuming_drops_later_rows(tmp_path):
    filled(tmp_path, 10)
    Record(tmp_path).row(11, {"l1": 0})
    assert [row["step"] for row in Record(tmp_path).rows()] == list(range(1, 12))
    resumed = Record(tmp_path, resume_at=4)
    resumed.row(5, {"l1": 0.5})
    assert [row["step"] for row in resumed.rows()] == [1, 2, 3, 4, 5]
    assert resumed.rows()[4] == {"step": 5, "l1": 0.5}


def test_times_are_summed_without_steps_that_were_lost(tmp_path):
    record = Record(tmp_path)
    assert record.seconds() == 0
    for step in (10, 20, 30):
        record.took(step, step / 10)
    with record.times.open("a") as file:
        file.write('{"step": 40, "sec')
    assert Record(tmp_path).seconds() == 6
    record = Record(tmp_path, resume_at=20)
    record.took(30, 0.5)
    assert record.seconds() == 3.5


@pytest.mark.parametrize("torn", [b'{"step": 3, "l1": 0.', b'{"step": 3, "l1": "\xc3'])
def test_a_row_torn_by_a_crash_is_dropped(tmp_path, torn):
    log = filled(tmp_path, 2).log
    with log.open("ab") as file:
        file.write(torn)
    record = Record(tmp_path)
    record.row(3, {"l1": 0.25})
    assert [row["step"] for row in record.rows()] == [1, 2, 3]


def test_curves_draw_every_number(tmp_path):
    record = filled(tmp_path)
    path = record.curves()
    with Image.open(path) as picture:
        width, height = picture.size
        assert width > 3 * 400 and np.asarray(picture.convert("L")).std() > 5
    record.row(101, {"another": 1.0})  # a fourth panel begins a second line
    with Image.open(record.curves()) as picture:
        assert picture.height > 1.5 * height
    assert sorted(file.name for file in tmp_path.iterdir()) == ["curves.png", "log.jsonl"]


def test_a_plot_of_few_colours_looks_as_matplotlib_draws_it(tmp_path):
    figure = Figure(figsize=(4, 3))
    axes = figure.add_subplot()
    for shift in range(8):
        axes.plot([0, 1], [shift, 1], label=f"line {shift}")
    axes.legend()
    figure.savefig(tmp_path / "full.png", dpi=100)
    few = save_plot(figure, tmp_path / "new" / "few.png", dpi=100)
    with Image.open(tmp_path / "full.png") as full, Image.open(few) as picture:
        assert picture.mode == "P" and picture.size == full.size == (400, 300)
        difference = np.asarray(picture.convert("RGB"), float) - np.asarray(full.convert("RGB"), float)
    assert np.abs(difference).mean() < 0.2 and np.quantile(np.abs(difference), 0.999) < 20
    assert few.stat().st_size < 0.6 * (tmp_path / "full.png").stat().st_size


def test_curves_of_nothing_and_of_gaps(tmp_path):
    record = Record(tmp_path)
    assert record.curves().exists()
    for step in range(200):
        record.row(step, {"gan": None if step < 100 else 1.0})
    assert record.curves().exists()


def test_records_of_a_run_are_copied_with_hours_and_logs_beside_its_stages(tmp_path):
    stage, beside = filled(tmp_path / "run" / "stage1"), filled(tmp_path / "run" / "dev")
    stage.curves()
    stage.took(100, 1800)
    (stage.folder / "step_000100.png").write_bytes(b"faces")
    copy_records(tmp_path / "run", tmp_path / "out")
    copied = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert copied == {"stage1/log.jsonl", "stage1/times.jsonl", "stage1/curves.png", "dev/log.jsonl", "hours.json"}
    assert json.loads((tmp_path / "out" / "hours.json").read_text()) == {"stage1": 0.5}
    assert (tmp_path / "out" / "dev" / "log.jsonl").read_bytes() == beside.log.read_bytes()


def test_moving_average():
    values = np.array([np.nan, 4.0, 2.0, np.nan, 6.0, 0.0])
    np.testing.assert_allclose(moving_average(values, 2), [np.nan, 4, 3, 3, 4.5, 2.25])
    np.testing.assert_array_equal(moving_average(np.full(500, 9.1), 10), np.full(500, 9.1))


def test_grid_shows_the_pixels_beside_their_labels(tmp_path):
    rows = [torch.rand(3, 3, 32, 32), torch.rand(3, 3, 32, 32) + 2]
    with Image.open(Record(tmp_path).grid("step_10", rows, ["lq", "restored"])) as picture:
        pixels = np.asarray(picture)
    margin = pixels.shape[1] - 3 * 32
    assert margin > 10 and pixels.shape[0] == 32 + 4 + 32
    expected = (rows[0][1] * 255).round().byte().permute(1, 2, 0).numpy()  # (3, H, W) -> (H, W, 3)
    np.testing.assert_array_equal(pixels[:32, margin + 32 : margin + 64], expected)
    assert (pixels[36:, margin:] == 255).all()
    assert (pixels[:32, :margin] < 128).any()  # the label


def test_grid_wants_a_label_for_each_row(tmp_path):
    with pytest.raises(ValueError, match="1 rows and 2 labels"):
        Record(tmp_path).grid("x", [torch.zeros(1, 3, 8, 8)], ["a", "b"])


def test_dataset_hash_is_of_contents_only(tmp_path):
    for name, colours in {"one": ("red", "green"), "two": ("green", "red"), "three": ("red", "blue")}.items():
        (tmp_path / name).mkdir()
        for place, colour in enumerate(colours):
            Image.new("RGB", (8, 8), colour).save(tmp_path / name / f"{place}.png")
    assert dataset_hash(tmp_path / "one") == dataset_hash(tmp_path / "two") != dataset_hash(tmp_path / "three")
    assert len(dataset_hash(tmp_path / "one")) == 64


@dataclass
class Config:
    seed: int = 5
    rate: float = 1e-3


@dataclass
class Stage:
    steps: int = 7


def test_environment_has_a_part_for_every_start(tmp_path):
    (tmp_path / "data").mkdir()
    Image.new("RGB", (16, 16), "red").save(tmp_path / "data" / "x.png")
    data = identity(FaceFolder(tmp_path / "data", 8))

    def parts(step: int, rate: float = 1e-3):
        return json.loads(write_environment(tmp_path, Config(rate=rate), Stage(), data, step).read_text())["parts"]

    [written] = parts(0)
    assert written["from step"] == 0 and written["config"] == {"seed": 5, "rate": 1e-3}
    assert written["stage"] == {"steps": 7}
    assert written["data"]["pictures"] == 1 and written["data"]["sha256"] == dataset_hash(tmp_path / "data")
    assert written["environment"] == json.loads(json.dumps(environment(5)))
    assert written["environment"]["packages"]["torch"] == torch.__version__.split("+")[0]
    assert parts(4, 1e-4)[0] == written
    assert [(part["from step"], part["config"]["rate"]) for part in parts(3, 2.0)] == [(0, 1e-3), (3, 2.0)]
    assert [part["from step"] for part in parts(0)] == [0]


def test_an_environment_of_an_earlier_version_is_kept(tmp_path):
    (tmp_path / "environment.json").write_text('{"config": {"rate": 7}}')
    write_environment(tmp_path, Config(), Stage(), {}, 5)
    first, second = json.loads((tmp_path / "environment.json").read_text())["parts"]
    assert first == {"config": {"rate": 7}} and second["from step"] == 5


@pytest.mark.parametrize("line", ["{", "[]", '{"l1": 3}', "\udcff", '{"step": "x"}', "[" * 100_000])
def test_a_damaged_line_of_the_log_is_left_out(tmp_path, line):
    log = filled(tmp_path, 2).log
    log.write_bytes(line.encode(errors="surrogateescape") + b"\n" + log.read_bytes())
    assert [row["step"] for row in Record(tmp_path, resume_at=2).rows()] == [1, 2]
