"""A server on this machine that speaks the Hub's protocol, for its real client in a process of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Hub:
    """What the server has, how it misbehaves, and what it was asked.

    Args:
        repositories: files by repository ("owner/name", or "datasets/owner/name").
        files: by their path on the server; what authors have published elsewhere.
        cut: paths whose next answers break off in the middle: how many of them.
        moved: path -> where a redirect leads.
        asked: method, path and range of each request.
        tokens: by which files of repositories were asked for, and commits made.
        titles: of the commits.
        large: uploaded contents by sha256, until a commit names them.
        private: repositories that were made so.
        branches: that were made ("owner/name@branch"); they all show the same files.
        read_only: refuses every change.
        whole: ignores the range that is asked for.
        fault: is given each request for a file first, and whether it has answered is what it returns.
    """

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    titles: list[str] = field(default_factory=list)
    large: dict[str, bytes] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    branches: set[str] = field(default_factory=set)
    read_only: bool = False
    whole: bool = False
    fault: Callable[[Handler, str], bool] | None = None
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def commit(self, repository: str) -> str:
        """Another one for other contents."""
        text = repr(sorted(self.repositories[repository].items()))
        return hashlib.sha1(text.encode()).hexdigest()

    def asked_for(self, part: str) -> list[tuple[str, str]]:
        """Method and range of the requests for a path."""
        return [(method, wanted) for method, path, wanted in self.asked if part in path]


class Handler(BaseHTTPRequestHandler):
    """The part of https://huggingface.co that `huggingface_hub` uses to fetch and to push models."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.noted()
        if self.hub.fault and self.hub.fault(self, path):
            return None
        if path in self.hub.moved:
            return self.reply(302, headers={"Location": self.hub.moved[path]})
        if path in self.hub.files:
            return self.file(path, self.hub.files[path])
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path)
        if api:
            return self.about(*api.groups())
        found = re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        return self.resolve(*found.groups()) if found else self.reply(404)

    def do_POST(self) -> None:
        path, body = self.noted(), self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.hub.read_only:
            return self.reply(403, {"error": "this token may not write"})
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return self.reply(200, {"errors": [], "warnings": []})
        if match := re.fullmatch(r"/api/models/(.+)/branch/([^/]+)", path):
            self.hub.branches.add("@".join(match.groups()))
            return self.reply(200)
        if re.fullmatch(r"/api/models/.+/preupload/[^/]+", path):
            return self.preupload(json.loads(body))
        if re.fullmatch(r"/.+\.git/info/lfs/objects/batch", path):
            return self.batch(json.loads(body))
        if match := re.fullmatch(r"/api/models/(.+)/commit/[^/]+", path):
            return self.change(match[1], [json.loads(line) for line in body.splitlines()])
        return self.reply(404)

    def do_PUT(self) -> None:
        oid = self.noted().rpartition("/")[2]
        content = self.rfile.read(int(self.headers["Content-Length"]))
        assert hashlib.sha256(content).hexdigest() == oid
        self.hub.large[oid] = content
        self.reply(200)

    def noted(self) -> str:
        path = self.path.split("?")[0]
        self.hub.asked.append((self.command, path, self.headers.get("Range", "")))
        return path

    def about(self, repository: str, action: str | None, revision: str | None) -> None:
        files = self.hub.repositories.get(repository)
        if files is None:
            return self.reply(404, headers={"X-Error-Code": "RepoNotFound"})
        commit = self.hub.commit(repository)
        if revision not in (None, "main", commit):
            return self.reply(404, headers={"X-Error-Code": "RevisionNotFound"})
        listing = [
            {"rfilename": name, "path": name, "type": "file", "size": len(content), "oid": "0"}
            for name, content in files.items()
        ]
        return self.reply(200, listing if action == "tree" else {"id": repository, "sha": commit, "siblings": listing})

    def resolve(self, repository: str, revision: str, name: str) -> None:
        self.with_token()
        files = self.hub.repositories.get(repository)
        if files is None:
            return self.reply(404, headers={"X-Error-Code": "RepoNotFound"})
        commit = {"X-Repo-Commit": self.hub.commit(repository)}
        if revision not in ("main", commit["X-Repo-Commit"]) and f"{repository}@{revision}" not in self.hub.branches:
            return self.reply(404, headers={"X-Error-Code": "RevisionNotFound"})
        if name not in files:
            return self.reply(404, headers={"X-Error-Code": "EntryNotFound"} | commit)
        return self.file(f"{repository}/{name}", files[name], commit)

    def file(self, path: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        """A file or the rest of it, or a part of that and then nothing."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked and not self.hub.whole else 0
        if start >= len(content) > 0:
            return self.reply(416, headers={"Content-Range": f"bytes */{len(content)}"})
        rest = content[start:]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Content-Length": str(len(rest))} | (
            headers or {}
        )
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        broken = self.command == "GET" and self.hub.cut.get(path, 0) > 0
        if broken:
            self.hub.cut[path] -= 1
            rest, self.close_connection = rest[: len(rest) // 2], True
        self.send(206 if start else 200, headers, rest)

    def create(self, wanted: dict[str, Any]) -> None:
        repository = f"{wanted['organization']}/{wanted['name']}"
        known = repository in self.hub.repositories
        self.hub.repositories.setdefault(repository, {})
        if wanted.get("visibility") == "private" or wanted.get("private"):
            self.hub.private.add(repository)
        self.reply(409 if known else 200, {"url": f"{self.hub.url}/{repository}", "name": repository, "id": "1"})

    def preupload(self, wanted: dict[str, Any]) -> None:
        """Weights go to the large file storage, text into the commit."""
        modes = {True: "lfs", False: "regular"}
        files = [
            {"path": file["path"], "uploadMode": modes[file["path"].endswith(".safetensors")], "shouldIgnore": False}
            for file in wanted["files"]
        ]
        self.reply(200, {"files": files})

    def batch(self, wanted: dict[str, Any]) -> None:
        objects = [
            entry | {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{entry['oid']}"}}}
            for entry in wanted["objects"]
        ]
        self.reply(200, {"transfer": "basic", "objects": objects})

    def with_token(self) -> None:
        self.hub.tokens.add(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def change(self, repository: str, lines: list[dict[str, Any]]) -> None:
        self.with_token()
        files = self.hub.repositories[repository]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "header":
                self.hub.titles.append(value["summary"])
        commit = self.hub.commit(repository)
        self.reply(200, {"commitUrl": f"{self.hub.url}/{repository}/commit/{commit}", "commitOid": commit})

    def reply(self, status: int, content: Any = None, headers: dict[str, str] | None = None) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send(
            status, {"Content-Type": "application/json", "Content-Length": str(len(body))} | (headers or {}), body
        )

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()
    handler = type("HandlerOfOneHub", (Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.port = server.server_port
        server.handle_error = lambda *request: None  # the client has gone
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        server.shutdown()


def run(code: str, endpoint: str, home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own, since the Hub's client reads its settings when it is imported.

    Args:
        endpoint: of the Hub.
        home: folder of its cache.
        arguments: `sys.argv[1:]` of the code.
        settings: further environment variables.
    """
    own = {
        "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", "HF_TOKEN": "hf_test",
        "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
    }  # fmt: skip
    env = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "IQP_"))} | own | settings
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=env, cwd=home.parent, capture_output=True, text=True
    )


CLOSED = "http://127.0.0.1:9"
"""Nobody listens there."""
