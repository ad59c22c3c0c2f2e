"""Runs over files that are disturbed: by a user, by a kill, by a full disk, by another run, by a damaged journal."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photo_runs import NOBODY, contents, face, start, statuses, three_photos
from photo_runs import run as run_as_photos
from photo_standins import Echo, Negative
from PIL import Image
from typer.testing import CliRunner

from iqp_adapter.cli import app
from iqp_adapter.core.quality import OWN
from iqp_adapter.photo import GivenFaces
from iqp_adapter.photo.journal import RECORD
from iqp_adapter.photo.outcomes import PhotoReport
from iqp_adapter.photo.plan import ending
from iqp_adapter.store.temporary import temporary_name


def run(folder: Path, out: Path, model: Any = None, **options: Any) -> list[PhotoReport]:
    """A run over aligned faces."""
    return run_as_photos(folder, out, model, aligned=True, **options)


class Meanwhile(Negative):
    """Does something else while it restores for the first time."""

    def __init__(self, then: Callable[[], Any]) -> None:
        super().__init__()
        self.then = then

    def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
        if not self.batches:
            self.then()
        return super().restore(lq, **asked)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with three photos, of three kinds."""
    return three_photos(tmp_path / "photos", face())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


# -- a result is of what was read


def test_a_photo_that_changes_during_the_run_is_done_again(photos: Path, out: Path) -> None:
    model = Meanwhile(lambda: Image.fromarray(face()[::-1]).save(photos / "a.png"))
    reports = run(photos, out, model)
    assert statuses(reports) == {"a.png": "failed", "b.jpg": "restored", "c.tif": "restored"}
    assert "a.png changed while it was restored" in reports[0].note
    assert statuses(run(photos, out))["a.png"] == "restored"
    run(photos, out.with_name("afresh"))
    assert (out / "a.png").read_bytes() == (out.with_name("afresh") / "a.png").read_bytes()


def test_a_photo_that_changes_while_it_is_read_is_done_again(
    photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iqp_adapter.photo import folder

    read = folder.read_photo

    def changing(path: Path) -> Any:
        found = read(path)
        if path.name == "a.png":
            path.write_bytes((photos / "b.jpg").read_bytes())
        return found

    monkeypatch.setattr(folder, "read_photo", changing)
    assert statuses(run(photos, out))["a.png"] == "failed"


def test_what_is_no_photo_any_more_is_not_copied(photos: Path, out: Path) -> None:
    def nobody(rgb: np.ndarray) -> Any:
        (photos / "a.png").write_text("a text by now")
        return NOBODY(rgb)

    assert statuses(run_as_photos(photos, out, detector=nobody))["a.png"] == "failed"
    assert set(contents(out)) == {"b.jpg", "c.tif", RECORD}


# -- nothing of the user's is lost


@pytest.mark.parametrize("earlier", [False, True])
def test_a_file_that_appears_during_the_run_stays(photos: Path, out: Path, earlier: bool) -> None:
    if earlier:
        run(photos, out)
    reports = run(photos, out, Meanwhile(lambda: (out / "b.jpg").write_text("mine")), quality=0.5)
    assert statuses(reports) == {"a.png": "restored", "b.jpg": "failed", "c.tif": "restored"}
    assert (out / "b.jpg").read_text() == "mine"
    assert not [name for name in contents(out) if name.startswith(".iqp-") and name != RECORD]


@pytest.mark.parametrize("name", ["a.png", RECORD])
def test_nothing_is_written_through_a_link(photos: Path, out: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").write_text("mine")
    out.mkdir()
    (out / name).symlink_to(tmp_path / "mine")
    if name == RECORD:
        with pytest.raises(OSError, match="is a link or no file, so no journal is kept there"):
            run(photos, out)
    else:
        assert statuses(run(photos, out))["a.png"] == "failed"
    assert (out / name).is_symlink() and (tmp_path / "mine").read_text() == "mine"


def test_a_link_to_nowhere_is_no_free_name(photos: Path, out: Path, tmp_path: Path) -> None:
    out.mkdir()
    (out / "a.png").symlink_to(tmp_path / "nowhere")
    assert statuses(run(photos, out))["a.png"] == "failed"
    assert (out / "a.png").is_symlink() and not (tmp_path / "nowhere").exists()


# -- before and after


def test_every_comparison_has_a_name_of_its_own(out: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "a.jpg", "a.compare.png"):
        Image.fromarray(face()).save(folder / name)
    for _ in range(2):
        run(folder, out, compare=True)
        pictures = {name for name in contents(out) if name != RECORD}
        results = {"a.png", "a.jpg", "a.compare.png"}
        assert pictures == results | {f"{name}.compare.png" for name in results}
        assert Image.open(out / "a.compare.png").size == (96, 96)
        assert Image.open(out / "a.jpg.compare.png").size == (200, 96)


def test_a_result_with_the_name_of_a_comparison_is_refused(photos: Path, out: Path) -> None:
    Image.fromarray(face()).save(photos / "a.png.compare.png")
    with pytest.raises(ValueError, match="the comparison of .*a.png.* would both become"):
        run(photos, out, compare=True)
    assert not out.exists()


def test_a_result_does_not_replace_the_comparison_of_an_earlier_run(photos: Path, out: Path, tmp_path: Path) -> None:
    run(photos, out, compare=True)
    comparison = (out / "a.png.compare.png").read_bytes()
    (tmp_path / "more").mkdir()
    Image.fromarray(face()).save(tmp_path / "more" / "a.png.compare.png")
    assert set(statuses(run(tmp_path / "more", out)).values()) == {"failed"}
    assert (out / "a.png.compare.png").read_bytes() == comparison


def test_a_comparison_that_was_deleted_is_made_again(photos: Path, out: Path) -> None:
    run(photos, out, compare=True)
    first = contents(out)
    (out / "b.jpg.compare.png").unlink()
    assert statuses(run(photos, out, compare=True)) == {"a.png": "complete", "b.jpg": "restored", "c.tif": "complete"}
    assert contents(out) | {RECORD: b""} == first | {RECORD: b""}


@pytest.mark.parametrize("stem", ["b" * 251, "照" * 83])
def test_names_may_be_as_long_as_a_file_system_allows(out: Path, tmp_path: Path, stem: str) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(face()).save(tmp_path / "photos" / f"{stem}.png")
    assert set(statuses(run(tmp_path / "photos", out, compare=True)).values()) == {"restored"}
    assert {f"{stem}.png", ending(f"{stem}.png", ".compare.png"), RECORD} == set(contents(out))
    assert set(statuses(run(tmp_path / "photos", out, compare=True)).values()) == {"complete"}


def test_names_that_are_cut_stay_apart() -> None:
    one, other = ending("b" * 250 + "c.png", ".compare.png"), ending("b" * 250 + "d.png", ".compare.png")
    assert one != other and len(one) == len(other) == 255 and ending("a.png", ".compare.png") == "a.png.compare.png"


# -- the report


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere/r.json", "no folder .*nowhere to write r.json into; make it first"),
        ("photos", "photos exists and is no report"),
        ("photos/a.png", "a.png exists and is no report"),
        ("out/a.png", "would both become"),
        ("photos/../out/a.png.compare.png", "would both become"),
        (f"out/{RECORD}", "the journal and the report would both become"),
        ("link.json", "link.json exists and is no report"),
        pytest.param(
            "/proc/self/r.json",
            "/proc/self takes no report",
            marks=pytest.mark.skipif(not os.path.exists("/proc/self"), reason="a folder that takes no file"),
        ),
    ],
)
def test_a_report_that_cannot_be_written_fails_before_any_work(
    photos: Path, out: Path, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "elsewhere.json")
    model = Negative()
    with pytest.raises((OSError, ValueError), match=message):
        run(photos, out, model, compare=True, report=tmp_path / name)
    assert not model.batches and not contents(out)


def test_a_report_may_lie_among_the_results(photos: Path, out: Path) -> None:
    run(photos, out, report=out / "r.json")
    assert len(json.loads((out / "r.json").read_text())["photos"]) == 3


def test_a_file_that_takes_the_name_of_the_report_stays(photos: Path, out: Path, tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    with pytest.raises(FileExistsError, match="is no report"):
        run(photos, out, Meanwhile(lambda: report.write_text("mine")), report=report)
    assert report.read_text() == "mine"


def test_a_report_is_plain_json_whatever_the_names_and_numbers(out: Path, tmp_path: Path) -> None:
    class Nothing:
        metric = "nothing"

        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full((len(images),), float("nan"))

    (tmp_path / "photos").mkdir()
    name = os.fsencode(tmp_path / "photos") + b"/\xe9 \xe7\x85\xa7.png"
    try:
        Image.fromarray(face()).save(os.fsdecode(name))
    except OSError:
        pytest.skip("the file system takes UTF-8 alone")
    for status in ("restored", "complete"):
        assert set(
            statuses(run(tmp_path / "photos", out, scorers=[Nothing()], report=tmp_path / "r.json")).values()
        ) == {status}

        def refuse(number: str) -> None:
            raise AssertionError(f"{number} is no JSON")

        content = json.loads((tmp_path / "r.json").read_bytes().decode("utf-8"), parse_constant=refuse)
        assert content["photos"][0]["source"].endswith("\\udce9 照.png")
        content["photos"][0]["source"].encode("utf-8")


# -- the journal


DAMAGED = [
    b"{",
    b"null",
    b"[1]",
    b'"text"',
    b"\xff\xfe",
    b"{}",
    b'{"output": "a.png"}',
    b'{"output": 7, "sha256": "x"}',
    b'{"output": "a.png", "sha256": ["x"]}',
    b'{"output": "a.png", "sha256": "x", "report": {}}',
    b'{"output": "a.png", "sha256": "x", "settings": "", "source": "", "report": {"faces": 7}}',
    b'{"output": "a.png", "sha256": "x", "settings": "", "source": "", "report": {"faces": [{"outcome": "?"}]}}',
    b'{"output": "a.png", "sha256": "x", "settings": "", "source": "", "report": {"faces": [7]}}',
    b'{"output": "a.png", "sha256": "x", "settings": "", "source": "", "report": null}',
    b"[" * 200_000,
    b'{"output": ' + b"9" * 10_000 + b"}",
    b"x" * 2_000_000,
]


@pytest.mark.parametrize("line", DAMAGED, ids=lambda line: line[:60].decode("latin-1"))
def test_a_damaged_line_of_the_journal_stops_nothing(
    photos: Path, out: Path, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    run(photos, out)
    (out / RECORD).write_bytes(b"\n" + line + b"\n" + (out / RECORD).read_bytes() + line + b"\n")
    with caplog.at_level(logging.WARNING):
        assert set(statuses(run(photos, out)).values()) == {"complete"}
    assert [record.getMessage() for record in caplog.records if RECORD in record.getMessage()] == [
        f"{out / RECORD} has damaged lines, which are skipped; what they stood for is not replaced"
    ]


def test_a_line_that_is_too_long_is_skipped(photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(photos, out)
    (out / RECORD).write_bytes(b'{"output": "' + b"x" * 50_000 + b'"}\n' + (out / RECORD).read_bytes())
    monkeypatch.setattr("iqp_adapter.photo.journal.LONGEST", 8192)
    assert set(statuses(run(photos, out)).values()) == {"complete"}


def test_the_field_types_of_a_line_are_checked(photos: Path, out: Path) -> None:
    run(photos, out)
    whole = [json.loads(line) for line in (out / RECORD).read_text().splitlines() if line]
    for entry in whole:
        entry["report"]["faces"][0]["seconds"] = "long"
    (out / RECORD).write_text("\n".join(map(json.dumps, whole)))
    assert set(statuses(run(photos, out)).values()) == {"failed"}


def test_lines_of_the_version_before_count(photos: Path, out: Path) -> None:
    """They have a line break in front alone, and say nothing of the batch."""
    run(photos, out)
    lines = [json.loads(line) for line in (out / RECORD).read_text().splitlines() if line]
    (out / RECORD).write_text(
        "".join(f"\n{json.dumps({k: v for k, v in line.items() if k != 'batch'})}" for line in lines)
    )
    assert set(statuses(run(photos, out)).values()) == {"complete"}


def test_lines_that_know_no_detail_count(photos: Path, out: Path) -> None:
    """Faces that were left alone for their pixels are looked at again; what was restored is not."""
    run(photos, out)
    without_detail(out)
    assert set(statuses(run(photos, out)).values()) == {"complete"}
    without_detail(out, outcome="too large", skipped="its square is larger than the model")
    assert set(statuses(run(photos, out)).values()) == {"restored"}


def without_detail(out: Path, **changes: str) -> None:
    """Makes the journal's lines those of a version that measured no detail."""
    lines = [json.loads(line) for line in (out / RECORD).read_text().splitlines() if line]
    for line in lines:
        [face] = line["report"]["faces"]
        face.pop("detail", None)
        face.update(changes)
    (out / RECORD).write_text("\n".join(map(json.dumps, lines)) + "\n")


def test_results_are_reported_where_they_are(photos: Path, out: Path, tmp_path: Path) -> None:
    run(photos, out)
    out.rename(tmp_path / "moved")
    reports = run(photos, tmp_path / "moved")
    assert {report.output for report in reports} == {
        str(tmp_path / "moved" / name) for name in ("a.png", "b.jpg", "c.tif")
    }


@pytest.mark.parametrize("earlier", [False, True])
def test_a_kill_before_a_result_takes_its_name_blocks_nothing(
    photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    if earlier:
        run(photos, out)
    with monkeypatch.context() as patch:

        def killed(*paths: Path) -> None:
            raise KeyboardInterrupt

        patch.setattr("iqp_adapter.photo.journal.put_new", killed)
        with pytest.raises(KeyboardInterrupt):
            run(photos, out, Echo())
    assert set(statuses(run(photos, out, Echo())).values()) == {"restored"}


def test_the_journal_says_how_many_faces_were_restored_at_once(photos: Path, out: Path, tmp_path: Path) -> None:
    run(photos, out, batch=3, report=tmp_path / "r.json")
    lines = [json.loads(line) for line in (out / RECORD).read_text().splitlines() if line]
    assert {line["batch"] for line in lines} == {3}
    assert json.loads((tmp_path / "r.json").read_text())["settings"]["batch"] == 3


def test_the_journal_says_how_many_are_restored_at_once_by_default(photos: Path, out: Path, tmp_path: Path) -> None:
    run(photos, out, Negative(512), report=tmp_path / "r.json")
    lines = [json.loads(line) for line in (out / RECORD).read_text().splitlines() if line]
    assert {line["batch"] for line in lines} == {2}
    assert json.loads((tmp_path / "r.json").read_text())["settings"]["batch"] == 2
    assert set(statuses(run(photos, out, Negative(512), batch=8)).values()) == {"complete"}


# -- other runs, and other models, in the meantime


class Weighted(Negative):
    """Has a weight, an own quality, and a setting."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.own: dict[str, Any] = {"fidelity": 0.5}

    @property
    def settings(self) -> dict[str, Any]:
        return self.own


@pytest.mark.parametrize("change", ["weight", "new weight", "setting"])
def test_a_model_that_changes_during_the_run_is_refused(photos: Path, out: Path, change: str) -> None:
    model = Weighted()
    reports = start(photos, out, model, aligned=True, batch=1)
    next(reports)
    with torch.no_grad():
        if change == "weight":
            model.weight.add_(1)
        elif change == "new weight":
            model.weight = torch.nn.Parameter(torch.ones(2))
        else:
            model.own["fidelity"] = 1.0
    with pytest.raises(ValueError, match="Weighted was changed while its results were written; start the run again"):
        list(reports)
    assert set(contents(out)) == {"a.png", RECORD}
    assert set(statuses(run(photos, out, model)).values()) == {"restored"}


def test_another_detector_of_the_same_kind_is_another_setting(photos: Path, out: Path) -> None:
    run_as_photos(photos, out, detector=GivenFaces(boxes=np.array([[20, 20, 70, 80]])))
    again = run_as_photos(photos, out, detector=GivenFaces(boxes=np.array([[20, 20, 70, 80]])))
    other = run_as_photos(photos, out, detector=GivenFaces(boxes=np.array([[20, 20, 70, 81]])))
    assert set(statuses(again).values()) == {"complete"} and set(statuses(other).values()) == {"restored"}


def test_weights_count_by_the_quality_that_is_asked_for(photos: Path, out: Path) -> None:
    """Not by the one that the model has set for itself: without any, its adapters take no part."""

    class Adapted(Weighted):
        def parts(self, quality: Any = OWN) -> list[torch.nn.Module]:
            return [] if quality is OWN else [self]

    model = Adapted()
    run(photos, out, model)
    with torch.no_grad():
        model.weight.add_(1)
    assert set(statuses(run(photos, out, model)).values()) == {"restored"}


def test_a_model_that_only_moved_goes_on(photos: Path, out: Path) -> None:
    model = Weighted()
    reports = start(photos, out, model, aligned=True, batch=1)
    next(reports)
    model.weight.data = model.weight.data.clone()
    assert statuses(list(reports)) == {"b.jpg": "restored", "c.tif": "restored"}


# -- kills and full disks


def test_a_run_removes_what_a_killed_one_left(photos: Path, out: Path) -> None:
    run(photos, out)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine = temporary_name("a.png")
    stray = mine.replace(f"-{os.getpid()}-", f"-{dead.pid}-")
    for name in (mine, stray, ".iqp-holiday.png"):
        (out / name).write_text("half")
    assert set(statuses(run(photos, out)).values()) == {"complete"}
    assert set(contents(out)) == {"a.png", "b.jpg", "c.tif", RECORD, mine, ".iqp-holiday.png"}


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp", "a.tif", "raw.tif", "deep.png"])
def test_a_full_disk_never_counts_as_restored(out: Path, tmp_path: Path, name: str, full_disk: Any) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    if name == "deep.png":
        import cv2

        cv2.imwrite(str(folder / name), pixels[..., ::-1].astype(np.uint16) * 257)
    else:
        Image.fromarray(pixels).save(folder / name, **({"compression": "raw"} if name == "raw.tif" else {}))
    run(folder, tmp_path / "roomy")
    whole = (tmp_path / "roomy" / name).read_bytes()
    for share in (0.02, 0.5, 0.999):
        with full_disk(max(int(share * len(whole)), 4096)):
            [report] = run(folder, out)
        assert report.status == "failed" and str(out / name) in report.note and "\n" not in report.note
        assert set(contents(out)) <= {RECORD}
    assert set(statuses(run(folder, out)).values()) == {"restored"}
    assert (out / name).read_bytes() == whole


def test_a_journal_that_cannot_grow_keeps_the_result_back(photos: Path, out: Path, full_disk: Any) -> None:
    """Results fit, the line of the journal does not."""
    for name in ("b.jpg", "c.tif"):
        (photos / name).unlink()
    out.mkdir()
    (out / RECORD).write_bytes(b"\n" * 200_000)
    with full_disk(200_000):
        [report] = run(photos, out)
    assert report.status == "failed" and RECORD in report.note + str(out / RECORD)
    assert set(contents(out)) == {RECORD}
    assert set(statuses(run(photos, out)).values()) == {"restored"}


# -- the command


@pytest.fixture
def iqp(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs `iqp restore` with a stand-in for the model."""

    def command(*words: Any, model: Any = None) -> Any:
        monkeypatch.setattr("iqp_adapter.loader.load", lambda source, **options: model or Echo())
        return CliRunner().invoke(app, ["restore", "--device", "cpu", *map(str, words)])

    return command


@pytest.mark.parametrize("heard", [signal.SIGTERM, signal.SIGHUP], indirect=True)
def test_a_signal_ends_a_run_like_ctrl_c(
    iqp: Any, photos: Path, out: Path, tmp_path: Path, heard: signal.Signals
) -> None:
    class Ended(Echo):
        def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
            if self.batches:
                os.kill(os.getpid(), heard)
            return super().restore(lq, **asked)

    result = iqp(photos, "-o", out, "--batch", 1, "--report", tmp_path / "r.json", "--aligned", model=Ended())
    assert result.exit_code == 128 + heard and "the same command goes on from here" in result.output
    assert set(contents(out)) == {"a.png", RECORD}
    assert len(json.loads((tmp_path / "r.json").read_text())["photos"]) == 1


def test_names_of_all_kinds_are_printed_harmlessly(iqp: Any, photos: Path, out: Path) -> None:
    (photos / "\x1b[31mred.png").write_text("no picture")
    result = iqp(photos, "-o", out, "--aligned")
    assert result.exit_code == 1 and "\x1b[31m" not in result.output.replace("\x1b[31mfailed", "failed")
    assert "\\x1b[31mred.png: not a picture" in result.output


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_killed_command_loses_nothing(root: Path, out: Path, tmp_path: Path) -> None:
    """`iqp restore` is killed at ten moments, then runs through: every result whole, nothing else there or changed."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(8):
        kind = ("png", "jpg", "tif", "webp")[index % 4]
        Image.fromarray(np.roll(face(), index, 1)).save(folder / f"{index}.{kind}")
    out.mkdir()
    (out / "mine.png").write_text("mine")
    before = contents(folder)
    words = [
        sys.executable,
        "-m",
        "iqp_adapter.cli",
        "restore",
        str(folder),
        "-o",
        str(out),
        "--compare",
        "--device",
        "cpu",
    ]
    words += ["--batch", "2"]
    code = [sys.executable, "-c", f"from iqp_adapter.cli import app; app({words[3:]!r})"]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(code, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    started = time.monotonic()
    whole = tmp_path / "whole"
    whole.mkdir()
    subprocess.run([*code[:2], code[2].replace(str(out), str(whole))], cwd=root, check=True, stdout=subprocess.DEVNULL)
    seconds, draw = time.monotonic() - started, random.Random(0)
    for _ in range(10):
        process = start()
        time.sleep(draw.uniform(0.5, 1.0) * seconds)
        process.kill()
        process.communicate()
        for path in out.iterdir():
            if path.suffix in (".png", ".jpg", ".tif", ".webp") and path.name[0] != "." and path.name != "mine.png":
                Image.open(path).load()
    last = start()
    output, _ = last.communicate()
    assert last.returncode == 0 and b"8 of 8 photos" in output, output
    assert set(contents(out)) == set(contents(whole)) | {"mine.png"}
    assert (out / "mine.png").read_text() == "mine" and contents(folder) == before
