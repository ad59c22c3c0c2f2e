"""Photos spread by Ray: done as by one process, nothing lost and nothing twice, mistakes in one line."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from photo_runs import contents, face, shifted_faces, statuses
from photo_runs import run as run_here
from photo_standins import Negative
from PIL import Image
from typer.testing import CliRunner

from iqp_adapter import Scorer, cluster
from iqp_adapter.cli import app
from iqp_adapter.cluster import spread as module
from iqp_adapter.photo.journal import RECORD
from iqp_adapter.photo.outcomes import PhotoReport
from iqp_adapter.scoring.score_cache import ScoreCache
from iqp_adapter.scoring.score_files import score_files
from iqp_adapter.store.files import list_images

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra ray")


class Noted(Negative):
    """Takes its time, and notes which machine is at a face, and which process."""

    def __init__(self, log: Path | None = None, seconds: float = 0.0) -> None:
        super().__init__()
        self.log, self.seconds = log, seconds

    def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{_node()} {os.getpid()}\n")
        time.sleep(self.seconds)
        return super().restore(lq, **asked)

    def fingerprint(self, quality: Any = None) -> str:
        return "noted"


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


def parts(log: Path | None = None, seconds: float = 0.0) -> dict[str, Any]:
    return {"model": Noted(log, seconds)}


def broken(error: Exception) -> dict[str, Any]:
    raise error


class UntravelledError(Exception):
    """Cannot be made from its words alone."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = shifted_faces(tmp_path / "photos", 6)
    (folder / "99.png").write_text("no picture")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for Ray: two actors in this process, which take turns; all that travels is pickled."""

    def spread(rows: Sequence[Any], make: Any, address: str, *_: Any) -> Iterator[Any]:
        actors = [module._Actor(pickle.loads(pickle.dumps(make)), os.getcwd()) for _ in range(2)]
        for number, row in enumerate(rows):
            for answer in actors[number % 2]({"row": [json.dumps(row)]}):
                if answer["error"][0]:
                    raise pickle.loads(answer["error"][0])
                yield json.loads(answer["row"][0])

    monkeypatch.setattr("iqp_adapter.cluster.restore.spread", spread)
    monkeypatch.setattr("iqp_adapter.cluster.score.spread", spread)


def spread_over(
    folder: Path, out: Path, make: Callable[[], Any] = parts, ray: str = "local", **options: Any
) -> Generator[PhotoReport, None, None]:
    return cluster.restore_files(list_images([folder]), out, make, ray=ray, aligned=True, **options)


# -- without Ray


def test_actors_do_what_one_process_does(photos: Path, out: Path, tmp_path: Path, in_process: None) -> None:
    reports = list(spread_over(photos, out, report=tmp_path / "r.json", batch=2))
    here = run_here(photos, tmp_path / "here", Noted(), aligned=True, report=tmp_path / "h.json", batch=2)
    assert statuses(reports) == statuses(here) and Counter(statuses(here).values()) == {"restored": 6, "failed": 1}
    assert [one.failures for one in reports if one.status == "failed"] == [here[-1].failures]
    results, same = contents(out), contents(tmp_path / "here")
    assert {name: results[name] for name in results.keys() - {RECORD}} == {
        name: same[name] for name in same.keys() - {RECORD}
    }
    told, same_told = (json.loads((tmp_path / name).read_text()) for name in ("r.json", "h.json"))
    assert told["settings"] | {"detector": ""} == same_told["settings"] | {"detector": ""}
    assert len(told["photos"]) == 7


def test_a_second_run_finds_all_complete(photos: Path, out: Path, in_process: None) -> None:
    list(spread_over(photos, out))
    before = contents(out)
    assert Counter(one.status for one in spread_over(photos, out)) == {"complete": 6, "failed": 1}
    assert contents(out) == before


def test_a_run_that_saw_nothing_leaves_the_report_of_an_earlier_one(
    photos: Path, out: Path, tmp_path: Path, in_process: None
) -> None:
    report = tmp_path / "r.json"
    list(spread_over(photos, out, report=report))
    before = report.read_bytes()
    with pytest.raises(ValueError, match="^bad weights; give others$"):
        list(spread_over(photos, out, partial(broken, ValueError("bad weights; give others")), report=report))
    assert report.read_bytes() == before


def test_names_count_from_the_callers_folder(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: None
) -> None:
    monkeypatch.chdir(tmp_path)
    reports = list(spread_over(Path("photos"), Path("out")))
    assert {Path(one.source).parent for one in reports} == {photos}
    assert {Path(one.output).parent for one in reports} == {tmp_path / "out"}


def test_an_actor_works_in_the_callers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    actor = module._Actor(lambda: lambda rows: iter([os.getcwd()]), str(tmp_path))
    assert [answer["row"] for answer in actor({"row": []})] == [[json.dumps(str(tmp_path))]]
    module._Actor(lambda: lambda rows: iter([]), str(tmp_path / "missing"))


def test_scores_are_those_of_one_process_and_are_kept_here(photos: Path, tmp_path: Path, in_process: None) -> None:
    files = list_images([photos])
    with ScoreCache(tmp_path / "here") as cache:
        here = list(score_files(files, [Scorer("piqe")], cache))
    with ScoreCache(tmp_path / "kept") as cache:
        assert list(cluster.score_files(files, made, cache, ray="local")) == here
        assert list(cache.all().values()) == [{one.content: one.scores["piqe"] for one in here if one.scores}]
        assert len(here[0].scores) == 1 and here[-1].error
        again = partial(broken_piqe, "must not be asked for what is known")
        assert list(cluster.score_files(files[:-1], again, cache, ray="local")) == here[:-1]


def made() -> list[Scorer]:
    return [Scorer("piqe")]


def broken_piqe(why: str) -> list[Scorer]:
    scorer = Scorer("piqe")
    scorer.__class__ = type("Broken", (Scorer,), {"__call__": lambda *_: pytest.fail(why)})
    return [scorer]


@pytest.mark.parametrize(
    ("error", "comes"),
    [(OSError(28, "disk full"), OSError), (UntravelledError("a", "b"), RuntimeError), (TypeError("no"), TypeError)],
)
def test_an_error_travels_with_its_words(error: Exception, comes: type[Exception]) -> None:
    actor = module._Actor(partial(broken, error), os.getcwd())
    [answer] = actor({"row": ["1"]})
    found = pickle.loads(answer["error"][0])
    assert type(found) is comes and str(error) in str(found)


def nodes(*machines: dict[str, float], alive: bool = True) -> list[dict[str, Any]]:
    return [{"Alive": alive, "Resources": machine} for machine in machines]


@pytest.mark.parametrize(
    ("machines", "asked", "size"),
    [
        (nodes({"CPU": 8}), (None, True), (1, 8, 0)),
        (nodes({"CPU": 8}, {"CPU": 4}), (None, True), (2, 4, 0)),
        (nodes({"CPU": 8}), (3, True), (3, 2, 0)),
        (nodes({"CPU": 2}), (5, True), (5, 1, 0)),
        (nodes({"CPU": 8}, {}), (None, True), (1, 8, 0)),
        (nodes({"CPU": 8}) + nodes({"CPU": 2}, alive=False), (None, True), (1, 8, 0)),
        (nodes({"CPU": 2}, {"CPU": 16, "GPU": 4}), (None, True), (4, 4, 1)),
        (nodes({"CPU": 2}, {"CPU": 16, "GPU": 4}), (None, False), (2, 2, 0)),
        (nodes({"CPU": 16, "GPU": 4}), (2, True), (2, 4, 1)),
    ],
)
def test_there_is_one_actor_for_each_device(machines: Any, asked: Any, size: Any) -> None:
    assert module._size(machines, *asked) == size


def test_no_actor_and_no_machine_are_refused() -> None:
    with pytest.raises(ValueError, match="actors is 0; give 1 or more"):
        module._size(nodes({"CPU": 8}), 0, True)
    with pytest.raises(ValueError, match="no machine of the cluster has a processor"):
        module._size(nodes({}), None, True)


# -- the commands


def invoke(*words: Any) -> Any:
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.mark.parametrize("command", ["restore", "score"])
def test_a_missing_package_is_named(
    command: str, photos: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["-o", out] if command == "restore" else ["--cache", tmp_path / "cache"]
    done = invoke(command, photos, *words, "--ray", "local")
    assert done.exit_code == 2
    assert done.stderr.strip().splitlines()[-1] == (
        "iqp: work on Ray needs a further package: pip install 'iqp_adapter[ray]'"
    )


def test_an_address_of_another_form_is_refused(photos: Path, out: Path) -> None:
    for address in ("anywhere", "ray://head:10001", "head:port", ""):
        with pytest.raises(ValueError, match=f"the address of Ray is '{address}'; give local, auto or HOST:PORT"):
            next(spread_over(photos, out, ray=address))


@needs_ray
def test_an_address_without_a_cluster_is_known_at_once(photos: Path, out: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(ConnectionError, match=f"no Ray cluster answers at {address} .*; start one by `ray start"):
        next(spread_over(photos, out, ray=address))
    assert time.monotonic() - started < 30


def test_films_take_no_ray(tmp_path: Path) -> None:
    film = tmp_path / "a.mp4"
    film.touch()
    done = invoke("restore", film, "--ray", "local")
    assert done.exit_code == 2 and "--ray are for photos; leave them out for a film" in done.stderr


def test_a_mistake_is_found_before_ray_starts(photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = invoke("restore", photos, "-o", out, "--ray", "local", "--model", "nothing.pth")
    assert done.exit_code == 2 and "nothing.pth" in done.stderr and "Ray" not in done.stderr


def test_a_dry_run_needs_no_ray(photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = invoke("restore", photos, "-o", out, "--ray", "local", "--dry-run")
    assert done.exit_code == 0 and "7 photos" in done.stdout and not out.exists()


def test_the_command_restores_by_actors(photos: Path, out: Path, tmp_path: Path, in_process: None) -> None:
    words = ["--aligned", "--quality", "0.5"]
    done = invoke("restore", photos, "-o", out, "--ray", "local", *words)
    here = invoke("restore", photos, "-o", tmp_path / "here", *words)
    assert done.exit_code == here.exit_code == 1  # one is no picture
    assert done.stdout.replace(str(out), str(tmp_path / "here")) == here.stdout and done.stderr == here.stderr
    results, same = contents(out), contents(tmp_path / "here")
    assert results.keys() == same.keys()
    digests = [
        json.loads((folder / RECORD).read_text().splitlines()[-1])["settings"] for folder in (out, tmp_path / "here")
    ]
    assert digests[0] == digests[1]


def test_the_command_scores_by_actors(photos: Path, tmp_path: Path, in_process: None) -> None:
    words = ["score", photos, "-m", "piqe"]
    done = invoke(*words, "--cache", tmp_path / "a", "--csv", tmp_path / "a.csv", "--ray", "local")
    here = invoke(*words, "--cache", tmp_path / "b", "--csv", tmp_path / "b.csv")
    assert done.exit_code == here.exit_code == 1 and done.stdout == here.stdout
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


# -- with Ray


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch, root: Path) -> Iterator[Any]:
    """A cluster of two machines, as far as Ray knows, whose actors find the modules of the tests."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{root / 'tests'}")
    reached = SimpleNamespace(create_connection=lambda *_: socket.socket())  # tests reach no address but 127.0.0.1
    monkeypatch.setattr(module, "socket", reached)
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def log_of(path: Path) -> list[tuple[str, str]]:
    return [tuple(line.split()) for line in path.read_text().splitlines()] if path.exists() else []  # type: ignore[misc]


@pytest.mark.slow
def test_a_machine_is_killed_nothing_is_lost_and_nothing_twice(
    photos: Path, out: Path, tmp_path: Path, two_nodes: Any
) -> None:
    for number in range(6, 40):
        Image.fromarray(np.roll(face(), number, 1)).save(photos / f"{number:02}.png")
    second, log, report = two_nodes.add_node(num_cpus=1), tmp_path / "log", tmp_path / "r.json"
    two_nodes.wait_for_nodes()
    runs = spread_over(photos, out, partial(parts, log, 0.3), two_nodes.address, report=report, batch=1)
    reports = [next(runs)]
    waiting = time.monotonic() + 120
    while Counter(node for node, _ in log_of(log))[second.node_id] < 3:
        assert time.monotonic() < waiting, "the second machine does nothing"
        time.sleep(0.05)
    two_nodes.remove_node(second, allow_graceful=False)
    killed_after = len(log_of(log))
    reports += runs
    assert killed_after < 38  # there was something left to do
    assert statuses(reports) == {f"{number:02}.png": "restored" for number in range(40)} | {"99.png": "failed"} or (
        Counter(statuses(reports).values()).keys() <= {"restored", "complete", "failed"}
    )
    assert len(reports) == len(statuses(reports)) == 41 and statuses(reports)["99.png"] == "failed"
    results = [json.loads(line)["output"] for line in (out / RECORD).read_text().splitlines() if line]
    assert Counter(results) == {f"{number:02}.png": 1 for number in range(40)}
    assert contents(out).keys() == {*results, RECORD}
    assert len(json.loads(report.read_text())["photos"]) == 41
    same = run_here(photos, tmp_path / "here", Noted(), aligned=True, batch=1)
    assert len(same) == 41
    assert all((out / name).read_bytes() == (tmp_path / "here" / name).read_bytes() for name in results)


@pytest.mark.slow
@needs_ray
def test_the_command_is_quiet_and_ends_by_ctrl_c(photos: Path, out: Path, root: Path, tmp_path: Path) -> None:
    for number in range(6, 40):
        Image.fromarray(np.roll(face(), number, 1)).save(photos / f"{number:02}.png")
    (photos / "99.png").unlink()
    words = [sys.executable, "-c", "from iqp_adapter.cli import app; app()", "restore", str(photos), "--aligned"]
    words += ["-o", str(out), "--ray", "local"]
    stopped = subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    waiting = time.monotonic() + 120
    while not list(out.glob("*.png")):
        assert time.monotonic() < waiting and stopped.poll() is None, stopped.communicate()
        time.sleep(0.02)
    os.killpg(stopped.pid, signal.SIGINT)
    _, said = stopped.communicate(timeout=60)
    assert (stopped.returncode, said.decode()) == (130, "interrupted; the same command goes on from here\n")
    done = subprocess.run(words, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert "restored 40 faces in 40 of 40 photos" in done.stdout and len(done.stdout.strip().splitlines()) == 1
    assert contents(out).keys() == {path.name for path in photos.iterdir()} | {RECORD}


@pytest.mark.slow
@needs_ray
def test_an_error_in_an_actor_comes_as_it_is(
    photos: Path, out: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{root / 'tests'}")
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="^bad weights; give others$"):
        list(spread_over(photos, out, partial(broken, ValueError("bad weights; give others"))))
    assert signal.getsignal(signal.SIGTERM) is handler
