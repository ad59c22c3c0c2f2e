"""Several runs on one output: each photo is restored once, what a dead run was at is taken over, options do not mix."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import SoftFileLease
from photo_runs import contents, shifted_faces, start, statuses
from photo_runs import run as run_as_photos
from photo_standins import Negative

from iqp_adapter.photo.journal import RECORD
from iqp_adapter.photo.outcomes import PhotoReport
from iqp_adapter.store import leases as module
from iqp_adapter.store.leases import Leases

LEASES = ".iqp-restore.leases"


def run(folder: Path, out: Path, model: Any = None, **options: Any) -> list[PhotoReport]:
    return run_as_photos(folder, out, model, aligned=True, **options)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return shifted_faces(tmp_path / "photos", 12)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases end after a second."""
    monkeypatch.setattr(module, "LIFETIME", 1.0)
    monkeypatch.setattr(module, "_TOUCHED", 0.2)


class Counting(Negative):
    """Takes its time, and counts the faces that it restores."""

    def __init__(self, seconds: float = 0.02) -> None:
        super().__init__()
        self.seconds = seconds

    def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
        time.sleep(self.seconds)
        return super().restore(lq, **asked)

    def fingerprint(self, quality: Any = None) -> str:
        return "counting"


def names_in(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()}


# -- photos


def test_runs_at_once_restore_each_photo_once_and_all_report_it(photos: Path, out: Path, tmp_path: Path) -> None:
    models = [Counting() for _ in range(3)]

    def one(number: int) -> list[PhotoReport]:
        return run(photos, out, models[number], batch=2, report=tmp_path / f"{number}.json")

    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(one, range(3)))
    assert sum(sum(model.batches) for model in models) == 12
    assert sum(sum(model.batches) > 0 for model in models) > 1
    for number, found in enumerate(reports):
        assert Counter(one.status for one in found).keys() <= {"restored", "complete"}
        assert {Path(one.source).name for one in found} == {path.name for path in photos.iterdir()}
        assert all(one.restored == 1 for one in found)
        assert len(json.loads((tmp_path / f"{number}.json").read_text())["photos"]) == 12
    assert Counter(one.status for found in reports for one in found)["restored"] == 12
    assert names_in(out) == {path.name for path in photos.iterdir()} | {RECORD}


def test_a_run_that_is_left_waiting_keeps_its_photos(photos: Path, out: Path) -> None:
    waiting = start(photos, out, Counting(), aligned=True, batch=1)
    next(waiting)
    others: list[PhotoReport] = []
    second = threading.Thread(target=lambda: others.extend(run(photos, out, Counting())))
    second.start()
    second.join(2)
    assert second.is_alive()
    reports = [*waiting]
    second.join(30)
    assert not second.is_alive() and "failed" not in statuses(others).values()
    assert Counter(statuses(others).values())["restored"] + Counter(statuses(reports).values())["restored"] == 11
    assert LEASES not in names_in(out)


def test_a_run_that_stops_gives_its_photos_back(photos: Path, out: Path) -> None:
    first = start(photos, out, Counting(), aligned=True, batch=1)
    next(first)
    first.close()
    assert names_in(out) == {"00.png", RECORD}
    assert Counter(statuses(run(photos, out, Counting())).values()) == {"complete": 1, "restored": 11}


def test_a_photo_that_one_run_fails_on_is_tried_by_the_others(photos: Path, out: Path) -> None:
    (photos / "05.png").write_text("no picture")
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda _: run(photos, out, Counting(), batch=1), range(2)))
    assert [statuses(found)["05.png"] for found in reports] == ["failed", "failed"]
    assert all(len(found) == 12 for found in reports) and LEASES not in names_in(out)


@pytest.mark.parametrize("change", ["option", "weights"])
def test_runs_with_other_options_are_refused_and_nothing_is_mixed(photos: Path, out: Path, change: str) -> None:
    class Other(Counting):
        def fingerprint(self, quality: Any = None) -> str:
            return "other"

    first = start(photos, out, Counting(), aligned=True, batch=1)
    next(first)
    other = Other() if change == "weights" else Counting()
    options = {} if change == "weights" else {"quality": 0.5}
    with pytest.raises(BlockingIOError, match="written by a run with other options or weights .process .*; wait for"):
        run(photos, out, other, **options)
    assert not other.batches
    assert set(statuses(list(first)).values()) == {"restored"}
    assert set(statuses(run(photos, out, other, **options)).values()) == {"restored"}


def test_runs_for_single_files_do_not_meet(photos: Path, out: Path) -> None:
    from iqp_adapter.photo import restore_files

    one = restore_files([photos / "00.png"], out / "a.png", Negative(), aligned=True)
    other = restore_files([photos / "00.png"], out / "b.png", Negative(), aligned=True, quality=0.5)
    next(one), next(other)
    assert [*one, *other] == [] and names_in(out) == {"a.png", "b.png"}


def test_a_run_that_lost_a_photo_while_it_stood_still_does_not_write_it(
    photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def holds(self: Leases, name: str) -> bool:
        asked.append(name)
        return asked.count(name) > 1 or name != "03.png"

    monkeypatch.setattr(Leases, "holds", holds)
    model = Counting()
    reports = run(photos, out, model)
    assert asked.count("03.png") == 2 and sum(model.batches) == 13
    assert Path(reports[-1].source).name == "03.png" and set(statuses(reports).values()) == {"restored"}


# -- processes

WORKER = """
import os, sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_photo_sharing import Counting, run
class Slow(Counting):
    def restore(self, lq, **asked):
        for _ in lq:
            os.write(1, b"x")
        return super().restore(lq, **asked)
Path({ready!r}).touch()
done = run(Path({photos!r}), Path({out!r}), Slow({seconds}), batch=2)
assert len(done) == 12 and not any(one.status == "failed" for one in done), done
"""


@pytest.fixture
def worker(photos: Path, out: Path, root: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts processes that restore the photos and write an x for each face."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(seconds: float) -> subprocess.Popen[bytes]:
        ready = tmp_path / f"ready-{len(started)}"
        code = WORKER.format(tests=str(root / "tests"), ready=str(ready), photos=str(photos), out=str(out),
                             seconds=seconds)  # fmt: skip
        started.append(subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE))
        while not ready.exists() and started[-1].poll() is None:
            time.sleep(0.02)
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_what_a_killed_process_was_at_is_taken_over_at_once(photos: Path, out: Path, worker: Any) -> None:
    killed = worker(60)
    while not list((out / LEASES).glob("*.lock")) or killed.stdout.read(1) != b"x":
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGSTOP)
    assert len(list((out / LEASES).iterdir())) > 2  # its run and its photos
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    started = time.monotonic()
    assert set(statuses(run(photos, out, Counting())).values()) == {"restored"}
    assert time.monotonic() - started < module.LIFETIME / 3
    assert names_in(out) == {path.name for path in photos.iterdir()} | {RECORD}


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_two_processes_share_and_outlive_a_third(photos: Path, out: Path, worker: Any) -> None:
    third, *others = worker(60), worker(0.1), worker(0.1)
    while third.poll() is None and not list(out.glob("0*.png")):
        time.sleep(0.02)
    third.kill()
    third.wait()
    written = [process.communicate()[0] for process in others]
    assert [process.returncode for process in others] == [0, 0]
    assert len(b"".join(written)) == 12
    assert names_in(out) == {path.name for path in photos.iterdir()} | {RECORD}


# -- leases


def as_of_another_machine(path: Path, duration: float = 1.0) -> None:
    """A lease whose holder is nowhere to be asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"filelock/2\npid=1\nhost=elsewhere\nmode=lease\ntoken={'0' * 32}\nduration={duration}\n")


def lease_of(folder: Path, name: str) -> Path:
    """Where the lease of a thing lies."""
    with Leases(folder, "w") as asked:
        assert asked.take(name)
        [path] = [path for path in folder.glob("*.lock") if not path.name.startswith("run-")]
    return path


def test_a_thing_is_taken_once(tmp_path: Path) -> None:
    with Leases(tmp_path / "l", "w") as one, Leases(tmp_path / "l", "w") as other:
        assert one.take("a") and one.holds("a") and not other.take("a") and other.take("b")
        one.release("a")
        assert other.take("a") and not one.take("a")
    assert not (tmp_path / "l").exists()


def test_a_lease_from_another_machine_ends_when_it_is_touched_no_more(tmp_path: Path, short: None) -> None:
    path = lease_of(tmp_path / "l", "a")
    as_of_another_machine(path)
    with Leases(tmp_path / "l", "w") as leases:
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            assert not leases.take("a")
            os.utime(path)
            time.sleep(0.2)
        taken = time.monotonic() + 10
        while not leases.take("a"):
            assert time.monotonic() < taken
            time.sleep(0.1)
    assert not (tmp_path / "l").exists()


@pytest.mark.parametrize("is_alive", [False, True])
def test_a_lease_that_looks_old_is_watched_before_it_is_taken_over(tmp_path: Path, short: None, is_alive: bool) -> None:
    """The holder's clock may be slow."""
    path = lease_of(tmp_path / "l", "a")
    as_of_another_machine(path)
    with Leases(tmp_path / "l", "w") as leases:
        assert not leases.take_over("a")
        os.utime(path, (100, 100))
        ended = threading.Event()

        def touch() -> None:
            for second in range(100):
                os.utime(path, (100 + second, 100 + second))
                if ended.wait(0.1):
                    return

        with ThreadPoolExecutor(1) as pool:
            if is_alive:
                pool.submit(touch)
            assert leases.take_over("a") is not is_alive
            ended.set()


def test_a_run_on_another_machine_counts_until_it_is_touched_no_more(tmp_path: Path) -> None:
    path = tmp_path / "l" / "run-other-1.lock"
    as_of_another_machine(path, module.LIFETIME)
    with pytest.raises(BlockingIOError, match=r"\(process 1 on elsewhere\)"), Leases(tmp_path / "l", "w"):
        pass
    assert [path.name for path in (tmp_path / "l").iterdir()] == ["run-other-1.lock"]
    os.utime(path, (time.time() - 2 * module.LIFETIME,) * 2)
    with Leases(tmp_path / "l", "w") as leases:
        assert leases.take("a")
    assert not (tmp_path / "l").exists()


def test_an_empty_lease_ends_too(tmp_path: Path, short: None) -> None:
    """Its holder died between making the file and writing into it."""
    path = lease_of(tmp_path / "l", "a")
    path.parent.mkdir()
    path.touch()
    with Leases(tmp_path / "l", "w") as leases:
        assert not leases.take("a")
        os.utime(path, (time.time() - 5, time.time() - 5))
        assert leases.take("a")
    assert not (tmp_path / "l").exists()


def test_the_last_run_removes_what_killed_ones_left(tmp_path: Path) -> None:
    path = lease_of(tmp_path / "l", "a")
    code = "import os, sys; from iqp_adapter.store.leases import Leases; from pathlib import Path\n"
    code += "with Leases(Path(sys.argv[1]), 'w') as l: l.take('a'); l.take('b'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "l")])
    assert len(list((tmp_path / "l").iterdir())) == 3
    path.with_name(f"{path.name}.break.1.{'0' * 32}").touch()
    path.with_name("b" * 24 + ".lock").touch()
    with Leases(tmp_path / "l", "w") as one:
        with Leases(tmp_path / "l", "w"):
            pass
        assert len(list((tmp_path / "l").iterdir())) >= 4
        assert one.take("a")
    assert not (tmp_path / "l").exists()


def test_one_at_a_time_is_alone(tmp_path: Path) -> None:
    inside: list[int] = []

    def enter(number: int) -> None:
        with Leases(tmp_path / "l", "w") as leases:
            for _ in range(5):
                with leases.alone():
                    inside.append(number)
                    assert len(inside) == 1
                    time.sleep(0.01)
                    inside.clear()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(enter, range(3)))


def test_who_died_alone_on_another_machine_keeps_nobody_out(tmp_path: Path) -> None:
    with Leases(tmp_path / "l", "w") as leases:
        (tmp_path / "l" / "alone.lock").write_text("1\nelsewhere\n")
        entered = threading.Event()

        def enter() -> None:
            with leases.alone():
                entered.set()

        waiting = threading.Thread(target=enter)
        waiting.start()
        assert not entered.wait(0.3)
        os.utime(tmp_path / "l" / "alone.lock", (time.time() - 2 * module.LIFETIME,) * 2)
        assert entered.wait(5)
        waiting.join()
    assert not (tmp_path / "l").exists()


def test_a_lost_lease_is_known(tmp_path: Path, short: None) -> None:
    with Leases(tmp_path / "l", "w") as leases:
        assert leases.take("a")
        [path] = [path for path in (tmp_path / "l").glob("*.lock") if not path.name.startswith("run-")]
        path.unlink()
        other = SoftFileLease(path, lease_duration=1.0)
        other.acquire(timeout=1)
        end = time.monotonic() + 5
        while leases.holds("a") and time.monotonic() < end:
            time.sleep(0.05)
        assert not leases.holds("a")
        leases.release("a")
        assert path.exists()
        other.release()


def test_results_of_a_folder_are_listed_by_one_journal(photos: Path, out: Path) -> None:
    run(photos, out, Counting())
    lines = [json.loads(line) for line in (out / RECORD).read_text().splitlines() if line]
    assert len(lines) == 12 and set(contents(out)) == {path.name for path in photos.iterdir()} | {RECORD}
