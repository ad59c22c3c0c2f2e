"""Runs over files and the command: nothing overwritten or half-written, bad files named, interrupted runs resumed."""

from __future__ import annotations

import json
import os
import shutil
import stat
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from photo_runs import NOBODY, contents, run, three_photos
from photo_standins import FACE, Brightness, Echo, Negative, Scored, photo
from PIL import Image, ImageFilter
from typer.testing import CliRunner

from iqp_adapter.cli import restore as command
from iqp_adapter.photo import restore_files
from iqp_adapter.photo.demo import degraded_astronaut
from iqp_adapter.photo.detectors import detector as named_detector
from iqp_adapter.photo.identity import DlibIdentity
from iqp_adapter.photo.journal import RECORD
from iqp_adapter.store.files import list_images


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with three photos, of three kinds."""
    return three_photos(tmp_path / "photos", photo())


# -- results


def test_a_folder_is_restored_into_another(photos: Path, tmp_path: Path) -> None:
    before = contents(photos)
    reports = run(photos, tmp_path / "out")
    assert [(Path(report.source).name, report.status, report.restored) for report in reports] == [
        ("a.png", "restored", 1),
        ("b.jpg", "restored", 1),
        ("c.tif", "restored", 1),
    ]
    assert contents(photos) == before
    assert set(contents(tmp_path / "out")) == {"a.png", "b.jpg", "c.tif", RECORD}
    with Image.open(tmp_path / "out" / "c.tif") as grey:
        assert grey.mode == "L" and grey.format == "TIFF"


def test_files_in_which_nothing_changed_are_copied_byte_for_byte(photos: Path, tmp_path: Path) -> None:
    reports = run(photos, tmp_path / "out", detector=NOBODY)
    assert {report.status for report in reports} == {"unchanged"}
    written = contents(tmp_path / "out")
    del written[RECORD]
    assert written == contents(photos)


def test_one_photo_may_become_a_file_of_another_kind(photos: Path, tmp_path: Path) -> None:
    [report] = restore_files([photos / "a.png"], tmp_path / "new" / "z.webp", Negative(), detector=NOBODY)
    assert report.status == "unchanged"
    with Image.open(tmp_path / "new" / "z.webp") as image:
        assert image.format == "WEBP"
    assert set(contents(tmp_path / "new")) == {"z.webp"}


def test_permissions_are_those_of_the_source(photos: Path, tmp_path: Path) -> None:
    (photos / "a.png").chmod(0o640)
    run(photos, tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out" / "a.png").stat().st_mode) == 0o640


def test_before_and_after_are_shown_side_by_side(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", compare=True)
    both = np.asarray(Image.open(tmp_path / "out" / "a.png.compare.png"))
    after = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert np.array_equal(both[:, :512], photo()) and np.array_equal(both[:, -512:], after)


def test_the_report_is_json_and_may_be_written_again(photos: Path, tmp_path: Path) -> None:
    for _ in range(2):
        run(photos, tmp_path / "out", Scored(), scorers=[Brightness()], report=tmp_path / "r.json")
        content = json.loads((tmp_path / "r.json").read_text())
        assert len(content["photos"]) == 3 and content["settings"]["quality"] == "best"
        assert set(content["photos"][0]["faces"][0]["scores"]["brightness"]) >= {"before", "after"}


def test_a_report_does_not_overwrite_another_file(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"mine": 1}')
    with pytest.raises(FileExistsError, match="is no report of `iqp restore`"):
        run(photos, tmp_path / "out", report=tmp_path / "r.json")
    assert (tmp_path / "r.json").read_text() == '{"mine": 1}'


# -- nothing of the user's is overwritten


def test_a_foreign_file_in_the_output_stays_and_is_named(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.jpg").write_text("mine")
    reports = run(photos, tmp_path / "out")
    notes = {Path(report.source).name: report.note for report in reports if report.status == "failed"}
    assert len(reports) == 3 and set(notes) == {"b.jpg"}
    assert "b.jpg exists and is no unchanged result" in notes["b.jpg"]
    assert (tmp_path / "out" / "b.jpg").read_text() == "mine"


def test_a_result_that_was_edited_since_is_not_overwritten(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "out")
    (tmp_path / "out" / "a.png").write_text("edited")
    reports = run(photos, tmp_path / "out", quality=0.5)
    assert {Path(report.source).name: report.status for report in reports}["a.png"] == "failed"
    assert (tmp_path / "out" / "a.png").read_text() == "edited"


@pytest.mark.parametrize("link", ["same", "symlink", "relative"])
def test_the_input_as_output_is_refused(photos: Path, tmp_path: Path, link: str) -> None:
    before = contents(photos)
    out = photos
    if link == "symlink":
        out = tmp_path / "elsewhere"
        out.symlink_to(photos)
    if link == "relative":
        out = photos / ".." / "photos"
    with pytest.raises(ValueError, match="would be overwritten by its own result"):
        run(photos, out)
    with pytest.raises(ValueError, match="would be overwritten by its own result"):
        list(restore_files([photos / "a.png"], out / "a.png", Negative(), detector=FACE))
    assert contents(photos) == before


def test_two_results_of_one_name_are_refused(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "more")
    sources = list_images([photos, tmp_path / "more"])
    with pytest.raises(ValueError, match="would both become"):
        list(restore_files(sources, tmp_path / "out", Negative(), detector=FACE))
    assert not (tmp_path / "out").exists()


# -- resuming


def test_a_second_run_does_nothing_and_reports_the_same(photos: Path, tmp_path: Path) -> None:
    first = run(photos, tmp_path / "out")
    written = contents(tmp_path / "out")
    model = Negative()
    second = run(photos, tmp_path / "out", model)
    assert model.batches == [] and contents(tmp_path / "out") == written
    assert [report.status for report in second] == ["complete"] * 3
    assert [report.faces for report in second] == [report.faces for report in first]


def test_an_interrupted_run_goes_on_where_it_stopped(photos: Path, tmp_path: Path) -> None:
    class Interrupted(Negative):
        def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().restore(lq, **asked)

    with pytest.raises(KeyboardInterrupt):
        run(photos, tmp_path / "out", Interrupted(), batch=1, report=tmp_path / "r.json")
    assert set(contents(tmp_path / "out")) == {"a.png", "b.jpg", RECORD}
    assert len(json.loads((tmp_path / "r.json").read_text())["photos"]) == 2
    model = Interrupted()
    reports = run(photos, tmp_path / "out", model, batch=1)
    assert sorted(report.status for report in reports) == ["complete", "complete", "restored"]
    assert model.batches == [1]


@pytest.mark.parametrize("moment", ["before the record", "after the record"])
def test_a_run_killed_while_writing_is_made_whole(photos: Path, tmp_path: Path, moment: str) -> None:
    """As by a power cut in the last write: a temporary file is left, and half a line of the record, or a whole one."""
    out = tmp_path / "out"
    run(photos, out)
    whole = contents(out)
    record = (out / RECORD).read_text()
    (out / "c.tif").rename(out / ".c.tif.x1y2.partial")
    if moment == "before the record":
        (out / RECORD).write_text(record[: record.rindex("\n") + 40])
    reports = run(photos, out)
    assert sorted(report.status for report in reports) == ["complete", "complete", "restored"]
    assert {name: data for name, data in contents(out).items() if name[0] != "."} == {
        name: data for name, data in whole.items() if name[0] != "."
    }
    assert [report.status for report in run(photos, out)] == ["complete"] * 3


@pytest.mark.parametrize("change", ["option", "source", "weights"])
def test_other_settings_or_sources_are_done_again(photos: Path, tmp_path: Path, change: str) -> None:
    class Weighted(Negative):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(value))  # without a dimension, like BatchNorm's counters

    run(photos, tmp_path / "out", Weighted(1.0))
    if change == "source":
        Image.fromarray(photo()[::-1]).save(photos / "a.png")
    reports = run(
        photos,
        tmp_path / "out",
        Weighted(2.0 if change == "weights" else 1.0),
        **({"upscale": 2} if change == "option" else {}),
    )
    expected = {"source": {"a.png"}}.get(change, {"a.png", "b.jpg", "c.tif"})
    assert {Path(report.source).name for report in reports if report.status == "restored"} == expected


def test_the_size_of_the_batch_is_no_other_setting(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", batch=2)
    assert {report.status for report in run(photos, tmp_path / "out", batch=8)} == {"complete"}


# -- bad input


def test_bad_files_are_named_and_the_rest_goes_on(photos: Path, tmp_path: Path) -> None:
    (photos / "aa.jpg").write_text("not an image")
    (photos / "ab.png").write_bytes((photos / "a.png").read_bytes()[:5000])
    Image.new("RGB", (1, 1)).save(photos / "dot.png")
    reports = run(photos, tmp_path / "out", detector=lambda rgb: (FACE if len(rgb) > 1 else NOBODY)(rgb))
    status = {Path(report.source).name: report.status for report in reports}
    assert status == {
        "a.png": "restored",
        "aa.jpg": "failed",
        "ab.png": "failed",
        "b.jpg": "restored",
        "c.tif": "restored",
        "dot.png": "unchanged",
    }
    assert set(contents(tmp_path / "out")) == {"a.png", "b.jpg", "c.tif", "dot.png", RECORD}
    assert all("\n" not in report.note and report.source in report.note for report in reports if report.note)


def test_a_full_disk_leaves_nothing_half_written(photos: Path, tmp_path: Path, full_disk: Any) -> None:
    run(photos, tmp_path / "roomy")
    sizes = {name: len(data) for name, data in contents(tmp_path / "roomy").items() if name != RECORD}
    largest = max(sizes, key=sizes.__getitem__)
    with full_disk(sizes[largest] - 1):
        reports = run(photos, tmp_path / "out")
    notes = {Path(report.source).name: report.note for report in reports if report.status == "failed"}
    assert set(notes) == {largest} and "File too large" in notes[largest] and "\n" not in notes[largest]
    assert set(contents(tmp_path / "out")) == {*sizes, RECORD} - {largest}
    assert [report.status for report in run(photos, tmp_path / "out")].count("restored") == 1


def test_an_upscale_too_large_is_named(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iqp_adapter.photo.pipeline.MAX_PIXELS", 1_000_000)
    reports = run(photos, tmp_path / "out", upscale=2)
    assert {report.status for report in reports} == {"failed"}
    assert "1 megapixels after upscale 2" in reports[0].note


# -- the command

app = typer.Typer()
app.command()(command.restore)


@pytest.fixture
def iqp(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command with a stand-in for the model."""
    monkeypatch.setattr("iqp_adapter.loader.load", lambda source, **options: Echo())
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_restores_a_folder_and_says_so(iqp: Any, photos: Path, tmp_path: Path) -> None:
    result = iqp(photos, "-o", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "restored 3 faces in 3 of 3 photos" in result.output


def test_the_command_lists_failures_and_ends_with_1(iqp: Any, photos: Path, tmp_path: Path) -> None:
    (photos / "z.jpg").write_text("no")
    result = iqp(photos, tmp_path / "nowhere", "-o", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 1
    assert f"failed: {photos / 'z.jpg'}: not a picture that can be read" in result.output
    assert f"failed: no image at {tmp_path / 'nowhere'}" in result.output
    assert "Traceback" not in result.output
    assert (tmp_path / "out" / "a.png").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_the_command_names_an_unreadable_folder(iqp: Any, photos: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(0)
    result = iqp(photos, closed, "-o", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 1 and f"failed: {closed}: Permission denied" in result.output


def test_the_command_names_a_folder_that_the_system_will_not_list(
    iqp: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, listed = tmp_path / "closed", os.scandir
    closed.mkdir()

    def refusing(path: Any) -> Any:
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refusing)
    result = iqp(photos, closed, "-o", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 1 and f"failed: {closed}: Permission denied" in result.output
    assert (tmp_path / "out" / "a.png").exists()


def test_the_demo_needs_nothing(iqp: Any, tmp_path: Path) -> None:
    for _ in range(2):
        result = iqp("--demo", "-o", tmp_path / "demo", "--device", "cpu")
        assert result.exit_code == 0, result.output
    names = {str(path.relative_to(tmp_path / "demo")) for path in (tmp_path / "demo").rglob("*.png")}
    assert names == {"degraded/astronaut.png", "astronaut.png", "astronaut.png.compare.png"}


def test_the_demo_photo_is_the_astronaut_made_worse_as_said() -> None:
    soft = Image.fromarray(photo()).filter(ImageFilter.GaussianBlur(1)).resize((205, 205), Image.Resampling.BOX)
    noisy, stored = np.asarray(soft) + np.random.default_rng(0).normal(0, 4, (205, 205, 3)), BytesIO()
    Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8)).save(stored, "JPEG", quality=60)
    made = np.asarray(Image.open(stored).resize((512, 512), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(degraded_astronaut() - made).mean() < 1  # versions of the JPEG library round otherwise
    assert 5 < np.abs(degraded_astronaut() - photo().astype(int)).mean() < 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to restore"),
        (["--quality", "high", "--demo"], "quality is 'high'; use a number in [0, 1]"),
        (["--faces", "biggest", "--demo"], "--faces is 'biggest'"),
        (["--faces", "inf", "--demo"], "--faces is 'inf', expected all, largest, or an index"),
        (["--faces", "0.9", "--demo"], "--faces is '0.9', expected all, largest, or an index"),
        (["--faces", "-1", "--demo"], "faces is -1, expected"),
        (["--scale", "inf", "--demo"], "scale is inf, expected a finite number"),
        (["--fidelity", "nan", "--demo"], "fidelity is nan, expected a finite number"),
        (["--skip-if", "nan", "--demo"], "skip_if is nan"),
        pytest.param(
            ["--min-identity", "nan", "--demo"],
            "min_identity is nan",
            marks=pytest.mark.skipif(not DlibIdentity.is_installed(), reason="needs the extra identity"),
        ),
        (["--quality", "nan", "--demo"], "quality is 'nan'"),
    ],
)
def test_wrong_arguments_are_one_line(iqp: Any, arguments: list[str], message: str, tmp_path: Path) -> None:
    result = iqp(*arguments, "-o", tmp_path / "out", "--device", "cpu")
    assert isinstance(result.exception, ValueError) and message in str(result.exception)


def test_an_unknown_detector_is_one_line() -> None:
    with pytest.raises(ValueError, match="^unknown detector 'eyes'"):
        named_detector("eyes", "cpu")


class Overflowing(Negative):
    """Whose numbers overflow, as long as it is asked to."""

    overflows = True

    def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
        return super().restore(lq, **asked) / (0.0 if self.overflows else 1.0)


def test_a_photo_whose_face_failed_is_copied_and_tried_again(photos: Path, tmp_path: Path) -> None:
    model = Overflowing()
    first = run(photos, tmp_path / "out", model)
    assert [report.status for report in first] == ["unchanged"] * 3
    assert all("face 0: the model gave no numbers" in report.failures[0] for report in first)
    assert (tmp_path / "out" / "a.png").read_bytes() == (photos / "a.png").read_bytes()
    model.overflows = False
    assert [report.status for report in run(photos, tmp_path / "out", model)] == ["restored"] * 3
    assert [report.status for report in run(photos, tmp_path / "out", model)] == ["complete"] * 3


def test_a_photo_whose_search_failed_is_no_result(photos: Path, tmp_path: Path) -> None:
    def picky(rgb: np.ndarray) -> Any:
        if (rgb[..., 0] == rgb[..., 1]).all():
            raise RuntimeError("only for colours")
        return FACE(rgb)

    reports = run(photos, tmp_path / "out", detector=picky)
    assert [report.status for report in reports] == ["restored", "restored", "failed"]
    assert reports[2].note == f"{photos / 'c.tif'}: looking for faces failed: RuntimeError: only for colours"
    assert not (tmp_path / "out" / "c.tif").exists()


def test_a_failed_face_is_said_at_the_end(iqp: Any, photos: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("iqp_adapter.loader.load", lambda *_, **__: Overflowing())
    result = iqp(photos / "a.png", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "a.png, face 0: the model gave no numbers" in " ".join(result.output.split())


def test_a_face_without_a_score_is_restored_and_noted(iqp: Any, cases: Path, tmp_path: Path) -> None:
    report = tmp_path / "R.json"
    result = iqp(cases / "10-black-frame", "-o", tmp_path / "out", "--aligned", "--report", report, "--device", "cpu")
    assert result.exit_code == 0, result.output
    told = json.loads(report.read_text())["photos"]
    assert [photo["status"] for photo in told] == ["restored"] * 4 and len(list((tmp_path / "out").glob("f?.png"))) == 4
    assert "no piqe before: ValueError: " in told[2]["faces"][0]["note"] and not told[0]["faces"][0]["note"]
    assert "note: " in result.output


def test_a_photo_without_a_face_says_what_to_try(iqp: Any, tmp_path: Path) -> None:
    Image.new("RGB", (80, 80), (90, 120, 90)).save(tmp_path / "wall.png")
    result = iqp(tmp_path / "wall.png", "-o", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert (
        "no face found: " in said and "try --detector retinaface, or cut it out as a square and add --aligned" in said
    )
