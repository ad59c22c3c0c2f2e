"""Published weight files: found here, or fetched from a mirror or their authors, whatever the network does."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import CLOSED, Hub, run, serving
from typer.testing import CliRunner

from iqp_adapter.cli import app
from iqp_adapter.hosts import registry
from iqp_adapter.store import fetch as fetching
from iqp_adapter.store.fetch import WeightFile, fetch

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "net.pth"


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No pause, no proxy, no folder of the user's, and a cache of this test's own."""
    from huggingface_hub import close_session, constants

    monkeypatch.setattr(fetching, "PAUSE", 0)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(fetching.FOLDER, raising=False)
    close_session()
    yield
    close_session()


@pytest.fixture
def server() -> Iterator[Hub]:
    with serving() as hub:
        yield hub


@pytest.fixture
def file(server: Hub) -> WeightFile:
    server.files[f"/release/{NAME}"] = CONTENT
    return WeightFile(f"{server.url}/release/{NAME}", "MIT", SHA256)


def refused(call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    with pytest.raises(OSError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_comes_once_whole_and_with_its_licence(server, file, tmp_path, caplog):
    caplog.set_level(logging.INFO, "iqp_adapter")
    seen: list[tuple[int, int | None]] = []
    path = fetch(file, tmp_path / "new", lambda *progress: seen.append(progress))
    assert path == tmp_path / "new" / NAME and path.read_bytes() == CONTENT
    assert seen == sorted(seen) and seen[-1] == (len(CONTENT), len(CONTENT)) and len(seen) > 2
    assert fetch(file, tmp_path / "new") == path
    assert server.asked_for(NAME) == [("GET", "")]
    assert [record.getMessage() for record in caplog.records] == [f"fetched {NAME} from {file.url}; its licence: MIT"]
    assert {left.name for left in path.parent.iterdir()} <= {NAME, f".{NAME}.lock"}


def test_without_a_folder_it_goes_to_the_cache(file, tmp_path):
    assert fetch(file) == tmp_path / "home" / "iqp_adapter" / NAME == fetching.find(file)


def test_what_is_here_is_not_fetched(server, file, tmp_path, monkeypatch):
    given, offline = tmp_path / "given", tmp_path / "offline"
    offline.mkdir()
    (offline / NAME).write_bytes(CONTENT)
    monkeypatch.setenv(fetching.FOLDER, str(offline))
    assert fetch(file) == offline / NAME
    assert fetch(file, given) == given / NAME and (given / NAME).read_bytes() == CONTENT
    (offline / NAME).write_bytes(b"another")
    assert fetch(file, given) == given / NAME
    assert not server.asked


def test_a_file_of_the_users_that_is_another_one_is_named_and_left(server, file, tmp_path):
    (tmp_path / NAME).write_bytes(b"mine")
    mine = hashlib.sha256(b"mine").hexdigest()
    with pytest.raises(
        ValueError, match=rf"sha256 of {tmp_path / NAME} \(move it away, or .*\) is {mine}, expected {SHA256}"
    ):
        fetch(file, tmp_path)
    assert (tmp_path / NAME).read_bytes() == b"mine" and not server.asked


def test_a_transfer_that_breaks_off_goes_on_as_long_as_something_comes(server, file, tmp_path):
    breaks, totals = 2 * fetching.TRIES, set()
    server.cut[f"/release/{NAME}"] = breaks
    assert fetch(file, tmp_path, lambda done, total: totals.add(total)).read_bytes() == CONTENT
    half = len(CONTENT) // 2
    asked = server.asked_for(NAME)
    assert asked[:3] == [("GET", ""), ("GET", f"bytes={half}-"), ("GET", f"bytes={half * 3 // 2}-")]
    assert len(asked) == breaks + 1 and totals == {len(CONTENT)}


def test_what_has_come_is_kept_for_the_next_time(server, file, tmp_path):
    server.cut[f"/release/{NAME}"] = 1000
    said = refused(fetch, file, tmp_path)
    assert f"{file.url} was not reached, or broke off, {fetching.TRIES} times (" in said
    assert not (tmp_path / NAME).exists()
    there = (tmp_path / f"{NAME}.part").stat().st_size
    assert there > len(CONTENT) // 2
    server.cut.clear()
    server.asked.clear()
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert server.asked_for(NAME) == [("GET", f"bytes={there}-")]


def test_a_server_that_knows_no_ranges_sends_all_again(server, file, tmp_path):
    server.whole = True
    server.cut[f"/release/{NAME}"] = 1
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked_for(NAME)] == ["", f"bytes={len(CONTENT) // 2}-"]


def test_a_part_that_is_whole_is_taken(server, file, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert server.asked_for(NAME) == [("GET", f"bytes={len(CONTENT)}-")]


@pytest.mark.parametrize("before", [b"", b"of another file"])
def test_a_file_that_is_another_one_is_dropped(server, file, tmp_path, before):
    server.files[f"/release/{NAME}"] = b"something else altogether"
    (tmp_path / f"{NAME}.part").write_bytes(before)
    found = hashlib.sha256(before + b"something else altogether"[len(before) :]).hexdigest()
    said = refused(fetch, file, tmp_path)
    assert f"the sha256 of {file.url} is {found}, expected {SHA256}: it is damaged or another file" in said
    assert not list(tmp_path.glob(f"{NAME}*"))


def test_what_nobody_vouches_for_is_said_with_its_hash(server, file, tmp_path, caplog):
    unknown = WeightFile(file.url, "MIT")
    (tmp_path / f"{NAME}.part").write_bytes(b"of an unknown file")
    assert fetch(unknown, tmp_path).read_bytes() == CONTENT
    assert f"no sha256 of {NAME} is known, so it is not verified; this one has {SHA256}" in caplog.text
    assert server.asked_for(NAME) == [("GET", "")]


def test_a_redirect_is_followed_with_its_range(server, file, tmp_path):
    server.moved["/old"] = f"/release/{NAME}"
    (tmp_path / "old.part").write_bytes(CONTENT[:1000])
    assert fetch(WeightFile(f"{server.url}/old", "MIT", SHA256), tmp_path).read_bytes() == CONTENT
    assert server.asked_for(NAME) == [("GET", "bytes=1000-")]


def test_what_can_not_be_fetched_is_said_in_one_line(server, tmp_path):
    said = refused(fetch, WeightFile(f"{server.url}/gone.pth", "MIT"), tmp_path)
    assert said == (
        f"no gone.pth in {tmp_path}, {fetching.cache()}, and it cannot be fetched: {server.url}/gone.pth answered 404 "
        "Not Found; check the name; try again, or put it into a folder and set IQP_WEIGHTS to that"
    )
    said = refused(fetch, WeightFile(f"{CLOSED}/gone.pth", "MIT"), tmp_path)
    assert f"{CLOSED}/gone.pth was not reached, or broke off, {fetching.TRIES} times (ConnectError: " in said
    assert not list(tmp_path.glob("gone*"))


def test_two_that_want_it_at_once_fetch_it_once(server, file, tmp_path):
    threads = [threading.Thread(target=fetch, args=(file, tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.asked_for(NAME) == [("GET", "")]


FETCH = """
import json, logging, sys
from iqp_adapter.store.fetch import WeightFile, fetch
logging.basicConfig(level=logging.ERROR, stream=sys.stdout, format="log: %(message)s")
logging.getLogger("iqp_adapter").setLevel(logging.INFO)
for request in sys.argv[1:]:
    try:
        print(fetch(WeightFile(**json.loads(request))))
    except (OSError, ValueError) as error:
        print(f"{type(error).__name__}: {error}")
"""


def fetched(endpoint: str, home: Path, *files: WeightFile, **settings: str) -> list[str]:
    """What the files' turns say, in a process of its own; by default each file's path or error."""
    requests = [json.dumps(vars(file)) for file in files]
    done = run(FETCH, endpoint, home, *requests, **settings)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def mirrored(server: Hub, **repositories: bytes) -> WeightFile:
    server.repositories["datasets/me/weights"] = {f"some/{name}.pth": body for name, body in repositories.items()}
    server.files[f"/release/{NAME}"] = CONTENT
    return WeightFile(f"{server.url}/release/{NAME}", "MIT", SHA256, "datasets/me/weights/some/copy.pth")


def test_a_mirror_on_the_hub_goes_before_the_authors(server, tmp_path):
    file, home = mirrored(server, copy=CONTENT), tmp_path / "first"
    server.moved["/datasets/me/weights/resolve/main/some/copy.pth"] = "/datasets/me/weights/resolve/main/some/moved.pth"
    server.repositories["datasets/me/weights"]["some/moved.pth"] = CONTENT
    server.cut["datasets/me/weights/some/moved.pth"] = 1
    *_, log, path = fetched(server.url, home, file)
    assert log == f"log: fetched {NAME} from {file.mirror}; its licence: MIT"
    assert Path(path).is_relative_to(home / "hub") and Path(path).read_bytes() == CONTENT
    assert not server.asked_for("/release/")
    asked = [method for method, _ in server.asked_for("moved.pth")]
    assert asked == ["HEAD", "HEAD", "GET", "GET"], "the first one broke off"
    server.asked.clear()
    assert fetched(server.url, home, file)[-1] == path
    assert fetched(CLOSED, home, file, HF_HUB_OFFLINE="1")[-1] == path
    assert not server.asked


def test_a_mirror_that_has_another_file_is_passed_by(server, tmp_path):
    file = mirrored(server, copy=b"no")
    other = hashlib.sha256(b"no").hexdigest()
    log, licence, path, again = fetched(server.url, tmp_path / "home", file, file)
    assert log.startswith(f"log: the sha256 of datasets/me/weights/some/copy.pth is {other}, expected {SHA256}")
    assert path == again == str(tmp_path / "home" / "iqp_adapter" / NAME) and Path(path).read_bytes() == CONTENT


def test_neither_mirror_nor_authors(server, tmp_path):
    file = mirrored(server)
    del server.files[f"/release/{NAME}"]
    nobody = WeightFile(file.url, "MIT", SHA256, "nobody/nothing/copy.pth")
    said = [line for line in fetched(server.url, tmp_path / "home", file, nobody) if not line.startswith("log: ")]
    for line, reason in zip(
        said, ("it has no file 'some/copy.pth'", "has no such repository, or a private one"), strict=True
    ):
        assert line.startswith(f"OSError: no {NAME} in {tmp_path / 'home' / 'iqp_adapter'}, and it cannot be fetched: ")
        assert (
            reason in line
            and f"{file.url} answered 404 Not Found; check the name; try again, or put it into a folder" in line
        )


def test_offline_nothing_is_asked(server, tmp_path):
    file = mirrored(server, copy=CONTENT)
    folder = tmp_path / "mine"
    said = fetched(server.url, tmp_path / "home", file, HF_HUB_OFFLINE="1", IQP_WEIGHTS=str(folder))[-1]
    assert said.startswith(f"OSError: no {NAME} in {folder}, {tmp_path / 'home' / 'iqp_adapter'}, and it cannot be")
    assert "HF_HUB_OFFLINE is set, unset it" in said
    assert f"{file.url} was not asked, since HF_HUB_OFFLINE is set" in said and "set IQP_WEIGHTS to that" in said
    folder.mkdir()
    (folder / NAME).write_bytes(CONTENT)
    assert fetched(server.url, tmp_path / "home", file, HF_HUB_OFFLINE="1", IQP_WEIGHTS=str(folder)) == [
        str(folder / NAME)
    ]
    assert not server.asked


@pytest.mark.parametrize("place", ["folder", "cache"])
def test_a_damaged_file_is_fetched_again_when_that_is_asked_for(server, file, tmp_path, place):
    folder = tmp_path / "mine" if place == "folder" else None
    path = fetch(file, folder)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match="or fetch it again by 'iqp fetch --force'"):
        fetch(file, folder)
    server.files.clear()
    refused(fetch, file, folder, force_download=True)
    assert path.read_bytes() == CONTENT[:-1], "what is there goes only when the new one has come"
    server.files[f"/release/{NAME}"] = CONTENT
    assert fetch(file, folder, force_download=True) == path == fetch(file, folder) and path.read_bytes() == CONTENT


def test_a_damaged_copy_is_replaced_by_the_mirrors_as_well(server, file, tmp_path, monkeypatch):
    (tmp_path / "good").write_bytes(CONTENT)
    monkeypatch.setattr(fetching.hub, "fetch_file", lambda address, **options: tmp_path / "good")
    mirrored = WeightFile(file.url, "MIT", SHA256, "me/weights/copy.pth")
    fetching.cache().mkdir(parents=True)
    (fetching.cache() / NAME).write_bytes(b"damaged")
    assert fetch(mirrored, force_download=True) == fetching.cache() / NAME == fetch(mirrored) and not server.asked


def test_a_slow_transfer_is_given_up_whatever_the_attempts(server, file, tmp_path, monkeypatch):
    clock = iter(range(0, 100_000, 40))
    monkeypatch.setattr(fetching.time, "monotonic", lambda: next(clock))
    server.cut[f"/release/{NAME}"] = 1000
    monkeypatch.setattr(fetching, "SLOWEST", 10 * len(CONTENT))
    assert f"{file.url} is too slow: " in refused(fetch, file, tmp_path)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Content-Type": "text/html; charset=utf-8"}, "gives a web page and no file; is it the login page"),
        ({"Content-Encoding": "gzip"}, "gives a packed file"),
    ],
)
def test_a_page_is_no_file(server, file, tmp_path, headers, words):
    def fault(handler, path):
        handler.send(200, {"Content-Length": str(len(CONTENT)), **headers}, CONTENT)
        return True

    server.fault = fault
    assert words in refused(fetch, WeightFile(file.url, "MIT"), tmp_path)
    assert not list(tmp_path.glob(f"{NAME}*"))


def test_a_full_disk_is_said(file, tmp_path, monkeypatch):
    import errno

    def full(self, mode="r"):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "open", full)
    assert "No space left on device" in refused(fetch, file, tmp_path)


@pytest.fixture
def two(server, file, monkeypatch):
    """A name that can be fetched and one that cannot."""
    files = {"good": file, "gone": WeightFile(f"{server.url}/gone.pth", "none stated")}
    monkeypatch.setattr(registry, "published", lambda: files)


def iqp(*words: object) -> Any:
    return CliRunner().invoke(app, ["fetch", *map(str, words)], env={"COLUMNS": "200"})


def test_the_command_fetches_what_is_named(two, tmp_path):
    shown = iqp("good", "-o", tmp_path)
    assert shown.exit_code == 0 and (tmp_path / NAME).read_bytes() == CONTENT
    assert all(word in shown.output for word in ("good", "MIT", "1.0 MB", " verified", NAME))


def test_the_command_fetches_all_that_it_can(two, tmp_path):
    shown = iqp("--all", tmp_path / "weights")
    assert shown.exit_code == 1 and (tmp_path / "weights" / NAME).read_bytes() == CONTENT
    assert " verified" in shown.output and "not fetched: gone: no gone.pth in" in shown.output


def test_the_command_lists_what_there_is_and_what_is_here(two, server):
    fetch(published_file("good"))
    shown = iqp("--list").output
    server.asked.clear()
    assert "none stated" in shown and "gone.pth, not here" in shown and "not known" in shown and "1.0 MB" in shown
    assert not server.asked


def test_the_command_says_which_hosts_can_be_built(monkeypatch):
    monkeypatch.setitem(sys.modules, "gpen_model", None)
    rows = {row.split()[1]: row for row in iqp("--list").output.splitlines() if row.startswith("│ ")}
    assert "give an instance" in rows["gpen-512"] and " here " in rows["vqfr"]


def test_the_command_warns_of_what_cannot_be_built(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gpen_model", None)
    monkeypatch.setattr("iqp_adapter.cli.fetch._fetched", lambda name, file, folder, force: tmp_path)
    shown = iqp("gpen-512", "-o", tmp_path)
    assert "note: the class of gpen is in gpen_model (put the folder face_model of https://" in shown.output
    assert shown.exit_code == 0


def published_file(name: str) -> WeightFile:
    return registry.published()[name]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["goof"], "iqp: no weight file 'goof'; there are gone, good"),
        ([], "iqp: name what to fetch, or take --all DIR; --list shows what there is"),
        (["good", "--all", "x"], "iqp: name what to fetch, or take --all DIR; --list shows what there is"),
        (["--all", "x", "-o", "y"], "iqp: --all DIR says where to already; leave --output out"),
    ],
)
def test_what_the_command_does_not_take(two, words, said):
    shown = iqp(*words)
    assert (shown.exit_code, shown.output.strip()) == (2, said)


def test_every_published_file_can_be_told_from_the_others():
    files = registry.published()
    assert len({file.filename for file in files.values()}) == len(files)
    assert all(file.sha256 is None or len(file.sha256) == 64 for file in files.values())
    assert all(file.licence for file in files.values())
