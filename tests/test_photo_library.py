"""Libraries: folders of folders keep their shape, and every file that is left out is named or counted."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photo_runs import face
from photo_standins import FACE, Echo, Negative
from PIL import Image
from typer.testing import CliRunner

from iqp_adapter.cli import app
from iqp_adapter.photo import restore_files
from iqp_adapter.photo.journal import RECORD
from iqp_adapter.photo.sources import Library, find_listed, find_photos, read_list


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Two levels of folders with four photos, of which two have the same name."""
    root = tmp_path / "library"
    for name in ("a.png", "2019/a.png", "2019/May/b.jpg", "2020/c.tif"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face()).save(root / name)
    return root


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def places(found: Library) -> set[str]:
    return {place.as_posix() for place in found.photos.values()}


def left_out(found: Library, root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): why for path, why in found.left_out.items()}


PHOTOS = {"a.png", "2019/a.png", "2019/May/b.jpg", "2020/c.tif"}

# -- what is found


def test_a_folder_keeps_its_shape(library: Path) -> None:
    found = find_photos([library])
    assert places(found) == PHOTOS and not found.left_out and not found.counted and not found.unread
    assert all((library / place) == source for source, place in found.photos.items())
    assert list(found.photos) == sorted(found.photos)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**/*.png", {"a.png", "2019/a.png"}),
        ("*", {"a.png"}),
        ("2019/*", {"a.png"}),
        ("20*/*", {"2019/a.png", "2020/c.tif"}),
        ("**/*", PHOTOS),
    ],
)
def test_a_glob_keeps_the_tree_below_its_first_wildcard(library: Path, pattern: str, expected: set[str]) -> None:
    found = find_photos([library / pattern])
    assert places(found) == expected and not found.unread


def test_a_relative_glob_keeps_the_tree(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(library)
    assert places(find_photos(["**/*"])) == places(find_photos(["."])) == PHOTOS


def test_a_file_that_is_named_may_have_any_suffix(library: Path) -> None:
    (library / "a.png").rename(library / "a.photo")
    assert find_photos([library / "a.photo"]).photos == {library / "a.photo": Path("a.photo")}
    assert left_out(find_photos([library]), library) == {"a.photo": "no picture"}


def test_what_leads_to_no_photo_is_told(library: Path) -> None:
    (library / "empty").mkdir()
    found = find_photos([library, library / "empty", library / "x*", library / "nowhere.png", library])
    assert places(found) == PHOTOS
    assert [line.partition("; ")[0] for line in found.unread] == [
        f"no image at {library / name}" for name in ("empty", "x*", "nowhere.png")
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("2019/film.MOV", "a film; restore it by itself: iqp restore FILM -o RESULT"),
        ("raw.CR3", "a raw photo; develop it first, as TIFF or JPEG"),
        ("2019/May/moving.gif", "a picture that may move; save the one to use as PNG"),
        ("old.psd", "a kind of picture that is not read; save it as PNG or JPEG"),
        ("letter.pdf", "no picture"),
        ("README", "no picture"),
    ],
)
def test_every_other_file_is_named_with_a_reason(library: Path, name: str, why: str) -> None:
    (library / name).touch()
    found = find_photos([library])
    assert left_out(found, library) == {name: why} and places(found) == PHOTOS
    assert list(found.lines()) == [f"{library / name}: {why}"]
    assert list(find_photos([library / "**/*"]).lines()) == [f"{library / name}: {why}"]


def test_hidden_files_sidecars_and_thumbnails_are_counted(library: Path) -> None:
    for name in (".DS_Store", "2019/._a.png", "a.xmp", "a.png.json", "2019/IMG.AAE", "Thumbs.db", "2019/desktop.ini"):
        (library / name).touch()
    for name in (".git", "@eaDir", "2019/.thumbnails"):
        (library / name).mkdir()
        Image.fromarray(face()).save(library / name / "x.png")
    found = find_photos([library])
    assert places(found) == PHOTOS and not found.left_out
    assert list(found.lines()) == ["4 hidden, 3 sidecars, 3 thumbnails"]


def test_links_are_followed_to_files_alone(library: Path, tmp_path: Path) -> None:
    (library / "again.png").symlink_to(library / "2019" / "a.png")
    (library / "broken.png").symlink_to(tmp_path / "nowhere")
    (library / "itself.png").symlink_to(library / "itself.png")
    (library / "2019" / "up").symlink_to(library)
    found = find_photos([library])
    assert places(found) == PHOTOS | {"again.png"}
    assert left_out(found, library) == {
        "broken.png": "a link that leads nowhere",
        "itself.png": "a link that leads nowhere",
        "2019/up": "a link to a folder; to take that, name it itself",
    }
    (tmp_path / "link").symlink_to(library)
    assert places(find_photos([tmp_path / "link"])) == PHOTOS | {"again.png"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_what_is_no_file_is_not_opened(library: Path) -> None:
    os.mkfifo(library / "pipe.png")
    assert left_out(find_photos([library]), library) == {"pipe.png": "no file"}


def test_results_are_no_photos(library: Path) -> None:
    for name in ("out", "2019/earlier"):
        (library / name).mkdir()
        Image.fromarray(face()).save(library / name / "a.png")
    (library / "2019/earlier" / RECORD).touch()
    found = find_photos([library], library / "2019" / ".." / "out")
    assert places(found) == PHOTOS
    assert left_out(found, library) == {
        "out": "the folder of results",
        "2019/earlier": "results of an earlier run; to take them, name the folder itself",
    }
    assert places(find_photos([library / "2019/earlier"])) == {"a.png"}


def test_a_folder_that_cannot_be_listed_is_named(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refusing(path: Any) -> Any:
        if Path(path).name == "2020":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = find_photos([library, library / "2020"])
    assert left_out(found, library) == {"2020": "cannot be listed (Permission denied)"}
    assert places(found) == PHOTOS - {"2020/c.tif"}
    assert found.unread == [f"{library / '2020'}: Permission denied"]


# -- lists


def test_a_list_keeps_the_tree(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(library / name) for name in (*PHOTOS, "2019", "nowhere.png")]
    found = find_listed(names, library)
    assert places(found) == PHOTOS and left_out(found, library) == {"2019": "a folder; list the photos in it"}
    assert found.unread == [f"{library / 'nowhere.png'}: no such file"]
    monkeypatch.chdir(library)
    assert places(find_listed(["2019/../a.png", "./2019/a.png"])) == {"a.png", "2019/a.png"}


def test_a_listed_photo_outside_of_the_folder_is_refused(library: Path) -> None:
    with pytest.raises(ValueError, match="a.png is not inside of .*2019; name the folder that holds all photos"):
        find_listed([str(library / "a.png")], library / "2019")


@pytest.mark.parametrize("content", [b"a b.png\nc.png", b"a b.png\r\nc.png\r\n", b"a b.png\0c.png\0"])
def test_a_list_has_a_name_a_line_or_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    (tmp_path / "list").write_bytes(content)
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(content)))
    assert read_list(str(tmp_path / "list")) == read_list("-") == ["a b.png", "c.png"]


# -- results


def restored(library: Path, out: Path, model: Any = None, **options: Any) -> Iterator[Any]:
    found = find_photos([library], out)
    return restore_files(found.photos, out, model or Negative(), detector=FACE, aligned=True, **options)


def test_results_keep_the_shape_and_runs_go_on(library: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert [report.status for report in restored(library, out, compare=True)] == ["restored"] * 4
    assert files(out) == PHOTOS | {f"{name}.compare.png" for name in PHOTOS} | {RECORD}
    model = Negative()
    assert [report.status for report in restored(library, out, model, compare=True)] == ["complete"] * 4
    assert not model.batches
    (out / "2019" / "a.png").unlink()
    assert sorted(report.status for report in restored(library, out, compare=True)) == ["complete"] * 3 + ["restored"]


def test_a_result_stays_one_only_in_its_own_folder(library: Path, tmp_path: Path) -> None:
    """Equal bytes under the same name in another folder are a stranger's."""
    out = tmp_path / "out"
    list(restored(library / "2019", out))
    (out / "May" / "a.png").write_bytes((out / "a.png").read_bytes())
    Image.fromarray(face()).save(library / "2019" / "May" / "a.png")
    assert sorted(report.status for report in restored(library / "2019", out)) == ["complete", "complete", "failed"]


@pytest.mark.parametrize("out", [".", "2019/..", "../link"])
def test_the_library_as_output_is_refused(library: Path, out: str) -> None:
    (library.parent / "link").symlink_to(library)
    before = {name: (library / name).read_bytes() for name in files(library)}
    with pytest.raises(ValueError, match="would be overwritten by its own result"):
        list(restored(library, library / out))
    assert {name: (library / name).read_bytes() for name in files(library)} == before


def test_a_file_in_the_place_of_a_folder_stays(library: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "2019").write_text("mine")
    reports = {Path(report.source).relative_to(library).as_posix(): report for report in restored(library, out)}
    assert {name for name, report in reports.items() if report.status == "failed"} == {"2019/a.png", "2019/May/b.jpg"}
    assert "2019" in reports["2019/a.png"].note and (out / "2019").read_text() == "mine"


@pytest.mark.parametrize("place", ["/tmp/a.png", "../a.png"])
def test_no_result_lies_outside(library: Path, tmp_path: Path, place: str) -> None:
    with pytest.raises(ValueError, match="outside of .*out; give a place below it"):
        list(restore_files({library / "a.png": Path(place)}, tmp_path / "out", Negative()))


def test_what_moves_is_left_out_and_costs_nothing(library: Path, tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(face(), 9 * step, 1)) for step in range(3)]
    frames[0].save(library / "moving.webp", save_all=True, append_images=frames[1:])
    frames[0].save(library / "moving.png", save_all=True, append_images=frames[1:])
    reports = {Path(report.source).name: report for report in restored(library, tmp_path / "out")}
    for name in ("moving.webp", "moving.png"):
        assert reports[name].status == "left out" and not reports[name].failures
        assert reports[name].note == f"{library / name}: holds more than one picture; save the one to use by itself"
        assert not (tmp_path / "out" / name).exists()


def test_a_dry_run_writes_nothing_and_says_what_would_be_done(library: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = tmp_path / "r.json"
    assert [one.status for one in restored(library, out, dry_run=True, report=report)] == ["planned"] * 4
    assert not out.exists() and not report.exists()
    list(restored(library, tmp_path / "whole"))
    (tmp_path / "whole" / "2019" / "a.png").write_text("edited")
    (tmp_path / "whole" / "2020" / "c.tif").unlink()
    before = files(tmp_path)
    found = {Path(one.output).relative_to(tmp_path / "whole").as_posix(): one for one in
             restored(library, tmp_path / "whole", dry_run=True)}  # fmt: skip
    assert {name: one.status for name, one in found.items()} == {
        "a.png": "complete",
        "2019/a.png": "failed",
        "2019/May/b.jpg": "complete",
        "2020/c.tif": "planned",
    }
    assert "is no unchanged result" in found["2019/a.png"].note and files(tmp_path) == before
    other = restored(library, tmp_path / "whole", dry_run=True, upscale=2)
    assert sorted(one.status for one in other) == ["failed", "planned", "planned", "planned"]


# -- the command


@pytest.fixture
def iqp(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs `iqp restore` with a stand-in for the model."""
    monkeypatch.setattr("iqp_adapter.loader.load", lambda source, **options: Echo())

    def command(*words: Any, given: str | None = None) -> Any:
        words = ("restore", "--device", "cpu", "--aligned", *words)
        return CliRunner().invoke(app, [str(word) for word in words], input=given)

    return command


def test_the_command_restores_a_tree_and_names_what_it_leaves_out(iqp: Any, library: Path, tmp_path: Path) -> None:
    (library / "2019" / "film.mov").touch()
    (library / ".hidden").touch()
    frame = Image.fromarray(face())
    frame.save(library / "moving.webp", save_all=True, append_images=[Image.fromarray(face()[::-1])])
    result = iqp(library, "-o", library / "out")
    assert result.exit_code == 0, result.output
    assert files(library / "out") == PHOTOS | {RECORD}
    for line in (
        f"left out: {library / '2019' / 'film.mov'}: a film; restore it by itself: iqp restore FILM -o RESULT",
        "left out: 1 hidden",
        f"left out: {library / 'moving.webp'}: holds more than one picture; save the one to use by itself",
        "restored 4 faces in 4 of 5 photos",
    ):
        assert line in result.output
    again = iqp(library, "-o", library / "out")
    assert f"left out: {library / 'out'}: the folder of results" in again.output
    assert "5 photos, 4 of them by an earlier run" in again.output


def test_what_is_left_out_is_said_before_the_work(iqp: Any, library: Path, tmp_path: Path) -> None:
    (library / "raw.cr2").touch()
    result = iqp(library, "-o", tmp_path / "out", "--quality", "much")
    assert result.exit_code == 2 and f"left out: {library / 'raw.cr2'}: a raw photo" in result.output


def test_the_command_reads_names(iqp: Any, library: Path, tmp_path: Path) -> None:
    names = f"{library / '2019' / 'a.png'}\n{library / 'a.png'}\n"
    result = iqp(library, "--list", "-", "-o", tmp_path / "out", given=names)
    assert result.exit_code == 0, result.output
    assert files(tmp_path / "out") == {"a.png", "2019/a.png", RECORD}
    (tmp_path / "names").write_text(f"{library / 'nowhere'}\n")
    result = iqp(library, "--list", tmp_path / "names", "-o", tmp_path / "out")
    assert result.exit_code == 1 and f"failed: {library / 'nowhere'}: no such file" in result.output
    for words, message in (
        ((library, library, "--list", "-"), "--list takes one folder"),
        (("--list", "-"), "is not inside of"),
        (("--list", tmp_path / "missing"), "missing"),
    ):
        result = iqp(*words, "-o", tmp_path / "out", given=names)
        assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output


def test_a_dry_run_of_the_command(iqp: Any, library: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = iqp(library, "-o", out, "--dry-run")
    assert result.exit_code == 0 and not out.exists(), result.output
    assert f"to restore: {library / '2019' / 'a.png'} -> {out / '2019' / 'a.png'}" in result.output
    assert "dry run: 4 photos, 0 of them complete already" in result.output
    iqp(library, "-o", out)
    assert f"complete: {library / 'a.png'} -> {out / 'a.png'}" in iqp(library, "-o", out, "--dry-run").output
    refused = iqp("--demo", "--dry-run", "-o", out)
    assert refused.exit_code == 2 and "--demo writes its photo" in refused.output
