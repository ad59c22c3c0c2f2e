"""Where checkpoints come from and go to: built in, a folder, or the Hub, played by a server on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import hub_faults
import pytest
import torch
from hub_server import CLOSED, Hub, run, serving

from iqp_adapter.store import checkpoint, hub


@pytest.fixture
def weights(tmp_path) -> Path:
    checkpoint.save(tmp_path / "weights" / "iqpfr-small", {"a": torch.ones(3)}, {"size": "small"})
    checkpoint.save(tmp_path / "weights" / "other", {"a": torch.ones(3)}, {})
    (tmp_path / "weights" / "iqpfr-unfinished").mkdir()
    return tmp_path / "weights"


def test_a_built_in_name_goes_before_a_folder(weights, monkeypatch):
    monkeypatch.setattr(hub, "BUILTIN", weights)
    monkeypatch.chdir(weights)
    Path("small").mkdir()
    assert hub.resolve("small", prefix="iqpfr-") == weights / "iqpfr-small"
    assert hub.resolve(Path("small"), prefix="iqpfr-") == Path("small")
    assert hub.resolve("./small", prefix="iqpfr-") == Path("small")
    assert hub.resolve(str(weights / "other")) == weights / "other"


@pytest.mark.parametrize(
    "name",
    ["smal", "other", "a/b/c", "../x", "https://hub/a/b", "owner/na me", Path("owner/name"), "x" * 5000, "a\0b"]
    + ["owner/" + "x" * 300, "owner/a--b", "owner/.x", "owner/x.git", "öwner/name", "a/b c", "/etc/passwd", "-a/b"],
)
def test_a_name_that_is_nothing_is_said_with_what_there_is(weights, monkeypatch, name):
    monkeypatch.setattr(hub, "BUILTIN", weights)
    monkeypatch.chdir(weights.parent)
    with pytest.raises(
        ValueError, match=r"^no checkpoint '.*'; built in: small; else give a folder or a Hub id"
    ) as caught:
        hub.resolve(name, prefix="iqpfr-")
    assert "\n" not in str(caught.value)


def test_every_checkpoint_of_the_package_loads():
    for name in hub.builtin():
        _, state = checkpoint.load(hub.resolve(name))
        assert all(value.isfinite().all() for value in state.values())


@pytest.fixture
def server(weights) -> Iterator[Hub]:
    with serving() as hub:
        small = {file.name: file.read_bytes() for file in (weights / "iqpfr-small").iterdir()}
        hub.repositories = {"me/small": small, "me/empty": {"README.md": b"soon"}}
        yield hub


FETCH = """
import sys
from iqp_adapter.store import checkpoint, hub
for request in sys.argv[1:]:
    name, _, revision = request.partition("@")
    try:
        folder = hub.resolve(name, revision=revision or None)
        print(folder, checkpoint.load(folder))
    except (OSError, ValueError) as error:
        print(f"{type(error).__name__}: {error}")
"""


def fetch(endpoint: str, home: Path, *requests: str, **settings: str) -> list[str]:
    done = run(FETCH, endpoint, home, *requests, **settings)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_what_was_fetched_is_there_without_the_hub(server, tmp_path):
    home = tmp_path / "home"
    server.cut["me/small/model.safetensors"] = 1
    first = fetch(server.url, home, "me/small")
    assert first[0].startswith(str(home)) and "{'size': 'small'}" in first[0]
    assert not server.cut["me/small/model.safetensors"], "the first transfer broke off"
    assert fetch(CLOSED, home, "me/small") == first
    [blob] = home.rglob("snapshots/*/model.safetensors")
    blob.resolve().write_bytes(blob.read_bytes()[:-1])
    [said] = fetch(CLOSED, home, "me/small", HF_HUB_OFFLINE="1")
    assert "model.safetensors is damaged" in said


def test_what_the_hub_does_not_have_is_said_in_one_line(server, tmp_path):
    assert fetch(server.url, tmp_path / "home", "me/smal", "me/small@v9", "me/empty") == [
        f"OSError: cannot fetch 'me/smal': {server.url} has no such repository, or a private one; check the id, or "
        "run 'hf auth login'",
        "OSError: cannot fetch 'me/small': it has no revision 'v9'; leave it out for the newest",
        "OSError: cannot fetch 'me/empty': it has no model.safetensors, so it is no checkpoint of iqp_adapter",
    ]


@pytest.mark.parametrize(
    ("settings", "hint"),
    [({}, "try again with a network"), ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set, unset it")],
)
def test_no_hub_is_said_with_id_cache_and_what_to_try(tmp_path, settings, hint):
    [said] = fetch(CLOSED, tmp_path / "home", "me/small", **settings)
    assert said.startswith(f"OSError: cannot fetch 'me/small': {CLOSED} was not reached (")
    assert f"the cache {tmp_path / 'home' / 'hub'} has no copy; {hint}, set HF_ENDPOINT to a mirror" in said


USE = """
import sys
import torch
from tiny_hosts import TINY_HOSTS
import iqp_adapter as iqp

tiny = TINY_HOSTS["codeformer-official"]
host = tiny.build()
x = torch.linspace(-1, 1, 3 * tiny.side**2).view(1, 3, tiny.side, tiny.side)

def trained():
    model = iqp.wrap(host, scales=[iqp.ScoreScale("iqp-lite", False, (0.0, 100.0))])
    for block in model.adapters["default"].blocks.values():
        block.gate.data.fill_(1.0)
    return model

def answer(model):
    with torch.no_grad():
        logits = model(x, **tiny.arguments, quality=0.9)[1]
    print(f"{logits.double().sum().item():.17g}")
"""

PUSH = (
    USE
    + """
model = trained()
answer(model)
print(model.push_to_hub("me/thing", private=True, licence="mit", data="faces of consenting people"))
print(model.push_to_hub("me/thing", revision="next", licence="mit"))
"""
)

WRAP = (
    USE
    + """
model = iqp.wrap(host, adapter=sys.argv[1])
answer(model)
print(model.quality, model.adapters["default"].facts)
"""
)

REFUSED = (
    USE
    + """
try:
    trained().push_to_hub("me/thing")
except OSError as error:
    print(f"{type(error).__name__}: {error}")
"""
)


def test_an_adapter_that_was_pushed_is_loaded_elsewhere(server, tmp_path):
    pushed = run(PUSH, server.url, tmp_path / "mine")
    assert pushed.returncode == 0, pushed.stderr
    answer, first, second = pushed.stdout.splitlines()
    files = server.repositories["me/thing"]
    assert sorted(files) == ["README.md", "config.json", "model.safetensors"]
    assert first.startswith(f"{server.url}/me/thing/commit/") and second.startswith(f"{server.url}/me/thing/commit/")
    assert server.large and files["model.safetensors"] in server.large.values(), "weights go to the large file storage"
    assert server.private == {"me/thing"} and server.branches == {"me/thing@next"}
    card = files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: iqp_adapter\nlicense: mit\npipeline_tag: image-to-image\n")
    assert "iqp-lite@" in card and "(Apache-2.0, trained on CC BY 4.0 photos)" in card and "S-Lab License 1.0" in card
    loaded = run(WRAP, server.url, tmp_path / "theirs", "me/thing")
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.splitlines() == [answer, "best {'licence': 'mit'}"]


@pytest.mark.parametrize(
    ("endpoint", "settings", "reason"),
    [
        ("", {}, r"http://.* refuses \(this token may not write\); 'hf auth login' with a token that may write, or"),
        (CLOSED, {}, rf"{CLOSED} was not reached \(\w+\); try again with a network"),
        (CLOSED, {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set, unset it"),
    ],
)
def test_a_push_that_fails_is_said_in_one_line(server, tmp_path, endpoint, settings, reason):
    server.read_only = True
    done = run(REFUSED, endpoint or server.url, tmp_path / "home", **settings)
    [said] = done.stdout.splitlines()
    assert re.match(rf"OSError: cannot push to 'me/thing': {reason}", said), done.stderr


BAD_PROXIES = {
    "socks": {"ALL_PROXY": "socks://me:secret@127.0.0.1:9/"},
    "socks5": {"all_proxy": "socks5://127.0.0.1:9"},
    "no port": {"HTTP_PROXY": "http://127.0.0.1:port"},
    "no address": {"http_proxy": "http://[::1"},
    "a word": {"http_proxy": "garbage"},
    "nobody": {"HTTP_PROXY": CLOSED},
}

REST = sorted(BAD_PROXIES.keys() - {"socks", "socks5"})

LOAD_AND_PUSH = (
    FETCH
    + """
from iqp_adapter.store import fetch as fetching
from iqp_adapter.store.fetch import WeightFile, fetch
fetching.PAUSE = 0
for attempt in (
    lambda: hub.push(folder, "me/thing"),
    lambda: fetch(WeightFile(f"{sys.argv[2]}/x.pth", "MIT")),
    lambda: hub.fetch_file("me/other/x.pth"),
    lambda: hub.resolve("me/other"),
):
    try:
        print(attempt())
    except OSError as error:
        print(f"OSError: {error}")
"""
)


@pytest.mark.parametrize("name", ["socks", "socks5", *(pytest.param(name, marks=pytest.mark.slow) for name in REST)])
def test_a_proxy_that_cannot_be_used_hides_no_cached_model_and_is_named(server, tmp_path, name):
    home = tmp_path / "home"
    [first] = fetch(server.url, home, "me/small")
    proxy = BAD_PROXIES[name] | {"NO_PROXY": "nowhere.example", "no_proxy": ""}
    asked = len(server.asked)
    if name == "socks":
        assert fetch(server.url, home, "me/small", HF_HUB_OFFLINE="1", **proxy) == [first]
    code = LOAD_AND_PUSH.replace("sys.argv[1:]:", "sys.argv[1:2]:")
    done = run(code, server.url, home, "me/small", "http://localhost:9", **proxy)
    assert done.returncode == 0, done.stderr
    loaded, *failed = done.stdout.splitlines()
    assert loaded == first and len(server.asked) == asked and "secret" not in done.stdout + done.stderr
    assert name not in ("socks", "socks5") or "me/small is used as it is in the cache: " in done.stderr
    [variable] = BAD_PROXIES[name]
    assert len(failed) == 4
    for line in failed:
        assert line.startswith("OSError: ") and f"[{variable} names a proxy: correct or unset it]" in line


AGAIN = """
import sys
from typer.testing import CliRunner
from iqp_adapter.cli import app
for words in sys.argv[1:]:
    shown = CliRunner().invoke(app, ["fetch", *words.split()])
    print(shown.exit_code, shown.output.strip().replace("\\n", " "))
"""


def test_a_damaged_file_of_the_cache_is_named_with_the_command_that_fetches_it_again(server, tmp_path):
    home, command = tmp_path / "home", "iqp fetch --force me/small"
    fetch(server.url, home, "me/small")
    [file] = home.rglob("snapshots/*/model.safetensors")
    content = file.read_bytes()
    for damaged in (content[:-1] + b"x", content[:-1]):
        file.resolve().write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"^{file} is damaged.*; fetch it again by '{command}'$"):
            checkpoint.load(file.parent)
    words = command.removeprefix("iqp fetch ")
    offline = run(AGAIN, CLOSED, home, words)
    assert offline.stdout.startswith("1 not fetched: me/small: cannot fetch 'me/small'"), offline.stderr
    assert file.resolve().read_bytes() == damaged, "what is there goes only when the new one has come"
    done = run(AGAIN, server.url, home, words, "me/small/config.json", "nobody", "a/b/")
    again, other, unknown, odd = done.stdout.splitlines()
    assert again == f"0 me/small: {file.parent}" and other == f"0 me/small/config.json: {file.with_name('config.json')}"
    assert unknown.startswith("2 iqp: no weight file 'nobody'") and odd.startswith("1 not fetched: a/b/: ")
    assert file.read_bytes() == content


@pytest.mark.slow
def test_whatever_a_server_does_the_file_comes_or_one_line_says_why_it_does_not(tmp_path):
    """Every fault when the Hub is asked about a file, when the Hub sends it, and when its authors send it."""
    results = hub_faults.attempts(tmp_path / "home")
    assert len(results) > 100
    bad = [result for result in results if not (result.right or result.refused) or result.seconds > hub_faults.LASTS]
    assert not bad
    told = {(result.kind, result.name.split("/")[-2]): result.said for result in results if "status-" in result.name}
    for status in (401, 403, 404, 500, 503):
        assert f"answered {status} " in told["authors", f"status-{status}"]
    assert "that is a fault of the server; try later" in told["hub", "status-503"]
