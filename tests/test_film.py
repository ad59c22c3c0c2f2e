"""Films end to end: what is kept, one decision a track, runs that go on, and nothing overwritten."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import time
import weakref
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from film_pieces import SIZE, Moving, picture, read_film, write_film
from photo_standins import Brightness, Dial, Echo, Negative
from typer.testing import CliRunner

from iqp_adapter.cli import app
from iqp_adapter.film import flow, reading, restore_film
from iqp_adapter.film import restore as module
from iqp_adapter.film.flow import Shown
from iqp_adapter.film.looking import every
from iqp_adapter.film.reading import frames
from iqp_adapter.film.steady import REACH
from iqp_adapter.photo.outcomes import Outcome, PhotoReport
from iqp_adapter.store.leases import Leases

PICTURES = [picture(number) for number in range(20)]
GREY = [np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)] * 6


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_film(tmp_path / "film.mp4", PICTURES)


def restore(film: Path, out: Path, model: Any = None, **options: Any) -> PhotoReport:
    return restore_film(film, out, model or Negative(64), **{"detector": Moving(), "force": True, **options})


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# -- what is kept


def test_sound_length_and_times_are_the_films(film, tmp_path):
    report = restore(film, tmp_path / "out.mp4")
    before, after = read_film(film), read_film(tmp_path / "out.mp4")
    assert after.times == before.times
    assert after.sound == before.sound and len(after.sound) > 20_000
    assert (after.seconds, after.rate) == (before.seconds, before.rate)
    assert report.status == "restored" and report.restored == 1
    assert left(tmp_path) == {"film.mp4", "out.mp4"}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_frames_that_last_for_different_times_keep_them(tmp_path, suffix):
    times = np.cumsum([0, *np.random.default_rng(0).integers(1, 6, 18) * 128, 2560]).tolist()
    film = write_film(tmp_path / f"film{suffix}", PICTURES, times=times, sound=None)
    restore(film, tmp_path / f"out{suffix}")
    before, after = read_film(film), read_film(tmp_path / f"out{suffix}")
    assert after.times == before.times
    assert after.seconds == pytest.approx(before.seconds, abs=1.5e-3)


def test_only_the_face_is_changed(film, tmp_path):
    restore(film, tmp_path / "out.mp4")
    before, after = (np.array(read_film(path).pictures, float) for path in (film, tmp_path / "out.mp4"))
    change = np.abs(after - before).mean((0, 3))
    assert change[40:120, 60:110].mean() > 40  # the negative of the face
    assert change[:, 220:].mean() < 2 and change[150:, :10].mean() < 3


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_a_turned_film_is_restored_upright_and_stays_turned(tmp_path, rotation):
    turned = [np.ascontiguousarray(np.rot90(each, -rotation // 90)) for each in PICTURES]
    film = write_film(tmp_path / "film.mp4", turned, rotation=rotation)
    report = restore(film, tmp_path / "out.mp4")
    before, after = read_film(film), read_film(tmp_path / "out.mp4")
    assert report.restored == 1 and (report.width, report.height) == SIZE
    assert after.rotation == before.rotation == rotation or abs(rotation) == 180
    change = np.rot90(np.abs(np.array(after.pictures, float) - before.pictures).mean((0, 3)), rotation // 90)
    assert change[40:120, 60:110].mean() > 40 > 2 > change[:, 220:].mean()


def test_full_range_deep_colours_and_wide_pixels_stay(tmp_path):
    kinds = {
        "full": {"full": True, "format": "yuvj420p", "wide": True},
        "deep": {"format": "yuv420p10le", "codec": "libx265"},
    }
    for name, kind in kinds.items():
        film = write_film(tmp_path / f"{name}.mp4", PICTURES, **kind)
        restore(film, tmp_path / f"{name}.out.mp4", Echo(64))
        before, after = read_film(film), read_film(tmp_path / f"{name}.out.mp4")
        assert (after.full, after.bits) == (before.full, before.bits) == (name == "full", 10 if name == "deep" else 8)
        assert after.aspect == before.aspect == (Fraction(4, 3) if name == "full" else None)
        assert after.tag == {"full": "avc1", "deep": "hvc1"}[name]
        assert np.abs(np.array(after.pictures, float).mean((0, 1, 2)) - np.mean(before.pictures, (0, 1, 2))).max() < 0.5


def test_a_film_may_be_silent_odd_and_enlarged(tmp_path):
    film = write_film(tmp_path / "film.mkv", PICTURES[:8], sound=None)
    restore(film, tmp_path / "large.mkv", upscale=2)
    assert read_film(tmp_path / "large.mkv").pictures[0].shape == (2 * SIZE[1], 2 * SIZE[0], 3)
    odd = write_film(tmp_path / "odd.mkv", [each[:-1, :-1] for each in PICTURES[:8]], sound=None, format="yuv444p")
    restore(odd, tmp_path / "odd.out.mkv")
    assert read_film(tmp_path / "odd.out.mkv").pictures[0].shape == (SIZE[1] - 1, SIZE[0] - 1, 3)


def test_films_of_camcorders_whose_index_leads_behind_their_end_are_whole(tmp_path):
    film = write_film(tmp_path / "film.mts", PICTURES, sound="mp2")
    assert restore(film, tmp_path / "out.mkv").restored == 1
    before, after = read_film(film), read_film(tmp_path / "out.mkv")
    assert np.subtract(after.times, after.times[0]) == pytest.approx(
        np.subtract(before.times, before.times[0]), abs=1e-3
    )
    assert len(after.sound) == len(before.sound)


def test_a_film_that_shows_other_frames_when_it_is_read_again_is_refused(film, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "frames", lambda *of: (frame for frame in islice(frames(*of), 1, None)))
    with pytest.raises(ValueError, match=r"film.mp4 is damaged: frame \d+ differs when it is read again; copy"):
        restore(film, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_titles_and_chapters_are_kept(film, tmp_path):
    titled = tmp_path / "titled.mp4"
    with av.open(str(film)) as source, av.open(str(titled), "w") as target:
        copies = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        target.metadata["title"] = "Apollo"
        unit = Fraction(1, 1000)
        target.set_chapters([{"id": 0, "start": 0, "end": 500, "time_base": unit, "metadata": {"title": "one"}}])
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                target.mux(packet)
    restore(titled, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as result:
        assert result.metadata["title"] == "Apollo"
        assert [chapter["metadata"]["title"] for chapter in result.chapters()] == ["one"]


# -- decisions


def test_each_face_is_asked_for_at_one_quality(tmp_path):
    rng = np.random.default_rng(0)
    soft = [
        (each + rng.normal(0, 2 + 6 * (number % 2), each.shape)).clip(0, 255).astype(np.uint8)
        for number, each in enumerate(PICTURES)
    ]
    film, model = write_film(tmp_path / "film.mp4", soft, sound=None), Dial(64)
    report = restore(film, tmp_path / "out.mp4", model, quality="match", batch=4)
    levels = [asked["quality"] for asked in model.asked]
    assert len(set(levels[:15])) == 5  # three samples, each at five levels
    assert set(levels[15:]) == {report.faces[0].quality}
    assert len(levels) == 15 + 20 // 4


def test_a_face_is_left_alone_in_all_frames_or_in_none(film, tmp_path):
    options = {"scorers": [Brightness()], "quality": 1.0}
    model = type("Scored", (Negative,), {"score_scale": Brightness.scale})(64)
    report = restore(film, tmp_path / "out.mp4", model, skip_if=0.1, **options)
    assert [face.outcome for face in report.faces] == [Outcome.GOOD] and report.status == "unchanged"
    assert not model.batches
    before, after = (np.array(read_film(path).pictures, float) for path in (film, tmp_path / "out.mp4"))
    assert np.abs(after - before).mean() < 1.5


def test_the_detector_looks_at_few_frames_and_at_both_sides_of_a_cut(tmp_path):
    film = write_film(tmp_path / "film.mp4", [*PICTURES, *GREY, *PICTURES], sound=None)
    detector = Moving()
    report = restore(film, tmp_path / "out.mp4", detector=detector)
    assert every(25) == 3
    assert detector.looks == 2 * (7 + 1) + 2 + 1
    assert [face.note for face in report.faces] == [
        "seen from 0.0 to 0.8 s, decided once",
        "seen from 1.0 to 1.8 s, decided once",
    ]
    pictures = read_film(tmp_path / "out.mp4").pictures
    for number in (0, 19, 26, 45):  # to the frame
        clean = [*PICTURES, *GREY, *PICTURES][number].astype(float)
        assert np.abs(pictures[number] - clean)[60:100, 60:100].mean() > 40
    assert np.abs(np.array(pictures[20:26], float) - 90).mean() < 3


def test_faces_of_a_film_with_errors_do_not_shake(film, tmp_path, monkeypatch):
    boxes: list[np.ndarray] = []
    cut = flow._cut

    def seen(*arguments: Any) -> Shown:
        found = cut(*arguments)
        boxes.extend(face.matrix for face in found.faces.values())
        return found

    monkeypatch.setattr(flow, "_cut", seen)
    restore(film, tmp_path / "out.mp4", detector=Moving(error=1.5))
    matrices = np.array(boxes[-20:])
    places = matrices[:, 0, 2] / matrices[:, 0, 0]  # to the left by a pixel a frame
    assert np.abs(np.diff(places, 2)).max() < 0.25


# -- options and errors


@pytest.mark.parametrize(
    ("options", "words"), [({"aligned": True}, "aligned"), ({"min_identity": 0.5}, "min_identity")]
)
def test_options_of_photos_alone_are_refused(film, tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        restore(film, tmp_path / "out.mp4", embedder=lambda faces: faces.flatten(1), **options)
    assert left(tmp_path) == {"film.mp4"}


def test_what_is_no_film_or_cannot_be_written_is_said_at_once(film, tmp_path):
    (tmp_path / "no.mp4").write_bytes(b"no film")
    with pytest.raises(OSError, match="no.mp4: "):
        restore(tmp_path / "no.mp4", tmp_path / "out.mp4")
    with pytest.raises(ValueError, match=r"films are written as .m4v, .mkv"):
        restore(film, tmp_path / "out.avi")
    old = write_film(tmp_path / "old.mkv", PICTURES[:3], sound="wavpack")
    with pytest.raises(ValueError, match=r"takes no wavpack; name a .mkv file"):
        restore(old, tmp_path / "out.m4v")
    assert left(tmp_path) == {"film.mp4", "no.mp4", "old.mkv"}


def test_sound_that_is_refused_when_a_file_begins_is_named_before_any_work(tmp_path):
    film = write_film(tmp_path / "film.webm", PICTURES[:3], codec="libvpx", sound="libopus")
    with pytest.raises(ValueError, match=r"out.mov: this kind of file takes no opus; name a .mkv file"):
        restore(film, tmp_path / "out.mov")
    assert left(tmp_path) == {"film.webm"}


@pytest.mark.parametrize(("trc", "params", "words"), [(16, "", r"in HDR \(PQ\)"), (1, "tff=1", "interlaced")])
def test_hdr_and_interlaced_films_are_refused(tmp_path, trc, params, words):
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=25, options={"x264-params": params})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.color_trc = trc
        for number in range(3):
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    with pytest.raises(ValueError, match=words):
        restore(path, tmp_path / "out.mp4")


def test_a_film_that_cannot_be_read_on_is_said_to_be_damaged(tmp_path):
    film = write_film(tmp_path / "film.mp4", PICTURES[:8], sound=None)
    content = bytearray(film.read_bytes())
    with av.open(str(film)) as source:
        place = [packet.pos for packet in source.demux(video=0) if packet.size][5]
    content[place : place + 400] = bytes(400)
    film.write_bytes(content)
    with pytest.raises(OSError, match=r"film.mp4: .*; it is damaged; 'ffmpeg -i FILM .*' leaves out what cannot be"):
        restore(film, tmp_path / "out.mkv")


def test_without_the_extra_it_is_named(film, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(ImportError, match=r"pip install 'iqp_adapter\[film\]'"):
        restore(film, tmp_path / "out.mp4")


# -- runs


class Dying(Negative):
    """Dies when it has restored so many faces."""

    def __init__(self, faces: int) -> None:
        super().__init__(64)
        self.left = faces

    def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
        self.left -= len(lq)
        if self.left < 0:
            raise KeyboardInterrupt
        return super().restore(lq, **asked)

    def fingerprint(self, quality: Any = None) -> str:
        return "the same"


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_SECONDS", Fraction(4, 25))


def test_a_killed_run_goes_on_with_the_part_that_it_was_at(tmp_path, short_parts):
    film = write_film(tmp_path / "film.mp4", [picture(number) for number in range(40)])
    whole, out, detector = tmp_path / "whole.mp4", tmp_path / "out.mp4", Moving()
    restore(film, whole, Dying(1000), batch=2)
    with pytest.raises(KeyboardInterrupt):
        restore(film, out, Dying(3 + 30), batch=2, detector=detector)
    looks, done = detector.looks, len(list((tmp_path / ".out.mp4.iqp-film").glob("part-*.nut")))
    assert done == (30 - REACH) // 4 and not out.exists()
    model = Dying(1000)
    restore(film, out, model, batch=2, detector=detector)
    assert detector.looks == looks
    assert sum(model.batches) == 40 - (4 * done - 2 * REACH)  # not the three by which the track was decided
    assert out.read_bytes() == whole.read_bytes()
    assert left(tmp_path) == {"film.mp4", "out.mp4", "whole.mp4"}


@pytest.mark.parametrize("step", ["rename", "rmtree"])
def test_a_run_that_was_killed_when_all_was_done_leaves_nothing(film, tmp_path, monkeypatch, step):
    out, whole = tmp_path / "out.mp4", tmp_path / "whole.mp4"
    restore(film, whole)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*{"rename": (Path, "rename"), "rmtree": (shutil, "rmtree")}[step], _interrupted)
        restore(film, out)
    assert out.read_bytes() == whole.read_bytes() and len(left(tmp_path)) == 4
    if step == "rename":
        report = restore(film, out)
        assert report.status == "complete" and report.restored == 1 and report.output == str(out)
    else:
        monkeypatch.setattr("iqp_adapter.store.temporary._is_alive", lambda process: False)
        with pytest.raises(FileExistsError, match="name a new file"):
            restore(film, out)
    assert out.read_bytes() == whole.read_bytes()
    assert left(tmp_path) == {"film.mp4", "out.mp4", "whole.mp4"}


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


class Tired(Moving):
    """A detector that is interrupted once."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last

    def __call__(self, rgb: np.ndarray) -> Any:
        found = super().__call__(rgb)
        if self.looks == self.last:
            raise KeyboardInterrupt
        return found


def test_a_run_that_was_killed_while_looking_goes_on(film, tmp_path, monkeypatch):
    monkeypatch.setattr("iqp_adapter.film.looked.LOOKS", 3)
    detector = Tired(5)
    with pytest.raises(KeyboardInterrupt):
        restore(film, tmp_path / "out.mp4", detector=detector)
    restore(film, tmp_path / "out.mp4", detector=detector)
    assert detector.looks == 5 + 8 - 3
    restore(film, tmp_path / "whole.mp4")
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


@pytest.mark.parametrize("damage", [b"", b"[", b"[{}]", b"[3]", b'[{"boxes": "x", "scores": []}]'])
def test_damaged_looks_are_one_line_and_removed_they_are_made_again(film, tmp_path, monkeypatch, damage):
    monkeypatch.setattr("iqp_adapter.film.looked.LOOKS", 3)
    restore(film, tmp_path / "whole.mp4")
    detector = Tired(7)
    with pytest.raises(KeyboardInterrupt):
        restore(film, tmp_path / "out.mp4", detector=detector)
    [looks] = tmp_path.rglob("looks-00001.json")
    looks.write_bytes(damage)
    with pytest.raises(ValueError, match=r"looks-00001.json is damaged \(.*\); remove it, and the film is looked at"):
        restore(film, tmp_path / "out.mp4", detector=detector)
    looks.unlink()
    restore(film, tmp_path / "out.mp4", detector=detector)
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_nothing_is_overwritten_and_runs_are_not_mixed(film, tmp_path, short_parts):
    out = tmp_path / "out.mp4"
    out.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="exists; name a new file"):
        restore(film, out)
    with pytest.raises(FileExistsError):
        restore(film, film)
    assert out.read_bytes() == b"mine"
    out.unlink()
    with pytest.raises(KeyboardInterrupt):
        restore(film, out, Dying(10), batch=2)
    with pytest.raises(FileExistsError, match="other options, weights or another source"):
        restore(film, out, Dying(100), batch=2, quality=0.5)
    with Leases(tmp_path / ".out.mp4.leases", "other"), pytest.raises(BlockingIOError, match="other options"):
        restore(film, out, Dying(100), batch=2)


def test_what_a_run_on_a_machine_that_stopped_was_at_is_taken_over(film, tmp_path, monkeypatch):
    monkeypatch.setattr("iqp_adapter.store.leases.LIFETIME", 1.0)
    monkeypatch.setattr("iqp_adapter.store.leases._TOUCHED", 0.2)
    out, leases = tmp_path / "out.mp4", tmp_path / ".out.mp4.leases"
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    with Leases(leases, "w") as held:
        assert held.take(out.name)
        shutil.copytree(leases, tmp_path / "left", ignore=shutil.ignore_patterns("run-*"))
    (tmp_path / "left").rename(leases)
    monkeypatch.setattr("socket.gethostname", lambda: "this")
    with pytest.raises(BlockingIOError, match="if its machine stopped"):
        restore(film, out)
    for path in leases.iterdir():
        os.utime(path, (100, 100))
    assert restore(film, out).restored == 1
    assert left(tmp_path) == {"film.mp4", "out.mp4"}


def test_a_face_that_fails_stops_the_run_and_the_same_command_goes_on(film, tmp_path):
    class Failing(Dying):
        name = "Dying"

        def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
            self.left -= len(lq)
            return lq * float("nan") if self.left < 0 else 1 - lq

    with pytest.raises(ValueError, match=r"frame \d+: the model gave no numbers .* the same command goes on"):
        restore(film, tmp_path / "out.mp4", Failing(10))
    assert restore(film, tmp_path / "out.mp4", Dying(1000)).restored == 1


def test_few_frames_are_in_memory_however_long_the_film(tmp_path, monkeypatch):
    film = write_film(tmp_path / "film.mp4", [picture(number % 40) for number in range(80)], sound=None)
    alive, most, cut = weakref.WeakSet(), [0], flow._cut

    def counted(*arguments: Any) -> Shown:
        found = cut(*arguments)
        alive.add(found)
        gc.collect(0)
        most[0] = max(most[0], len(alive))
        return found

    monkeypatch.setattr(flow, "_cut", counted)
    restore(film, tmp_path / "out.mp4", batch=4)
    assert most[0] <= 4 * REACH + 2 + 4 + 2


def test_progress_tells_what_is_done(film, tmp_path):
    told: list[tuple[str, int, int | None]] = []
    restore(film, tmp_path / "out.mp4", progress=lambda *each: told.append(each))
    assert list(dict.fromkeys(doing for doing, _, _ in told)) == ["looking for faces", "deciding", "restoring"]
    assert [each for each in told if each[0] == "restoring"] == [("restoring", n, 20) for n in range(1, 21)]


# -- the command


def test_the_command_restores_films(film, tmp_path, monkeypatch):
    monkeypatch.setattr("iqp_adapter.photo.detectors.detector", lambda *named: Moving())
    out, report = tmp_path / "out.mp4", tmp_path / "report.json"
    words = ["restore", str(film), "-o", str(out), "--device", "cpu", "--engine", "torch", "--report", str(report)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "restored 1 of 1 face," in done.output
    assert json.loads(report.read_text())["photos"][0]["faces"][0]["outcome"] == "restored"
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2 and "exists; name a new file" in again.output


def test_the_command_takes_films_by_themselves(film, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    for words in ([str(tmp_path / "a.png")], ["--dry-run"]):
        done = CliRunner().invoke(app, ["restore", str(film), *words])
        assert done.exit_code == 2 and len(done.output.splitlines()) == 1


def test_the_name_of_a_film_is_no_folder_of_photos(film, tmp_path):
    unnamed, out = film.rename(tmp_path / "film"), tmp_path / "out.mp4"
    done = CliRunner().invoke(app, ["restore", str(unnamed), "-o", str(out)])
    assert done.exit_code == 2 and "films are known by their suffix: .3gp" in " ".join(done.output.split())
    assert not out.exists()


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, "tests")
from fractions import Fraction
from film_pieces import Moving
from test_film import Dying, module, restore

class Slow(Dying):
    name = "Dying"
    def restore(self, lq, **asked):
        time.sleep(0.3)
        return super().restore(lq, **asked)

module.PART_SECONDS = Fraction(4, 25)
restore(Path(sys.argv[1]), Path(sys.argv[2]), Slow(1000), batch=2)
"""


@pytest.mark.slow
def test_what_a_killed_process_leaves_is_gone_on_with_and_cleared(tmp_path, short_parts, root):
    film = write_film(tmp_path / "film.mp4", [picture(number) for number in range(40)])
    out, parts = tmp_path / "out.mp4", tmp_path / ".out.mp4.iqp-film"
    process = subprocess.Popen([sys.executable, "-c", KILLED, film, out], cwd=root)
    while not list(parts.glob("part-*.nut")):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert (tmp_path / ".out.mp4.leases").exists() and not out.exists()
    model = Dying(1000)
    restore(film, out, model, batch=2)
    assert sum(model.batches) < 40 + 3
    assert left(tmp_path) == {"film.mp4", "out.mp4"}
    assert len(read_film(out).times) == 40
