"""Where weights come from: built in, a folder, or the Hub, played by a small server on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from iqp_adapter import checkpoint, hub

COMMIT = "c" * 40


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
    "name", ["smal", "other", "a/b/c", "../x", "https://hub/a/b", "owner/na me", Path("owner/name")]
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


class Hub(BaseHTTPRequestHandler):
    """Answers as the Hub does, for models with one revision each."""

    models: dict[str, dict[str, bytes]] = {}

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.wfile.write(self.answer())

    def answer(self) -> bytes:
        """/api/models/OWNER/MODEL/revision/NAME and .../tree/COMMIT tell, /OWNER/MODEL/resolve/COMMIT/FILE gives."""
        path = self.path.split("?")[0].removeprefix("/api/models").strip("/").split("/")
        owner, model, action, revision, name = (path + [""] * 5)[:5]
        files = self.models.get(f"{owner}/{model}")
        if files is None:
            return self.reply(404, {"X-Error-Code": "RepoNotFound"})
        if revision not in ("main", COMMIT):
            return self.reply(404, {"X-Error-Code": "RevisionNotFound"})
        if action == "resolve":
            content = files[name]
            return self.reply(200, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'}, content)
        listing = [{"rfilename": name, "path": name, "type": "file", "size": 1, "oid": "0"} for name in files]
        about = {"id": f"{owner}/{model}", "sha": COMMIT, "siblings": listing}
        return self.reply(200, {}, json.dumps(listing if action == "tree" else about).encode())

    def reply(self, status: int, headers: dict[str, str], content: bytes = b"") -> bytes:
        self.send_response(status)
        for key, value in (headers | {"X-Repo-Commit": COMMIT, "Content-Length": str(len(content))}).items():
            self.send_header(key, value)
        self.end_headers()
        return content

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(weights) -> Iterator[ThreadingHTTPServer]:
    small = {file.name: file.read_bytes() for file in (weights / "iqpfr-small").iterdir()}
    Hub.models = {"me/small": small, "me/empty": {"README.md": b"soon"}}
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


FETCH = """
import sys
from iqp_adapter import checkpoint, hub
for request in sys.argv[1:]:
    name, _, revision = request.partition("@")
    try:
        folder = hub.resolve(name, revision=revision or None)
        print(folder, checkpoint.load(folder))
    except (OSError, ValueError) as error:
        print(f"{type(error).__name__}: {error}")
"""


@pytest.fixture
def fetch(root, tmp_path):
    """Fetches in a process of its own, since the Hub's client reads its settings when it is imported."""

    def run(port: int, *requests: str, **settings: str) -> list[str]:
        own = {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(tmp_path / "cache"), "NO_PROXY": "127.0.0.1"}
        env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")} | own | settings
        command = [sys.executable, "-c", FETCH, *requests]
        run = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True, check=True)
        return run.stdout.splitlines()

    return run


def test_what_was_fetched_is_there_without_the_hub(server, fetch, tmp_path):
    first = fetch(server.server_port, "me/small")
    assert first[0].startswith(str(tmp_path / "cache")) and "{'size': 'small'}" in first[0]
    server.shutdown()
    server.server_close()
    assert fetch(server.server_port, "me/small") == first
    [blob] = (tmp_path / "cache").rglob("snapshots/*/model.safetensors")
    blob.resolve().write_bytes(blob.read_bytes()[:-1])
    [said] = fetch(server.server_port, "me/small", HF_HUB_OFFLINE="1")
    assert "model.safetensors is damaged" in said


def test_what_the_hub_does_not_have_is_said_in_one_line(server, fetch):
    port = server.server_port
    assert fetch(port, "me/smal", "me/small@v9", "me/empty") == [
        f"OSError: can not fetch 'me/smal': http://127.0.0.1:{port} has no such model, or it is private; "
        "check the id, or log in by 'hf auth login'",
        "OSError: can not fetch 'me/small': it has no revision 'v9'; leave it out for the newest",
        "OSError: can not fetch 'me/empty': it has no model.safetensors, so it is no checkpoint of iqp_adapter",
    ]


@pytest.mark.parametrize(
    ("settings", "hint"),
    [({}, "try again with a network"), ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set, unset it")],
)
def test_no_hub_is_said_with_id_cache_and_what_to_try(fetch, tmp_path, settings, hint):
    [said] = fetch(9, "me/small", **settings)
    assert said.startswith("OSError: can not fetch 'me/small': http://127.0.0.1:9 was not reached (")
    assert f"the cache {tmp_path / 'cache' / 'hub'} has no copy; {hint}, set HF_ENDPOINT to a mirror" in said
