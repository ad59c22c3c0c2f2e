"""What servers, proxies and networks do instead of sending a file, by name; for `hub_server` and its tests."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import NamedTuple

from hub_server import Handler, run, serving

CONTENT = bytes(range(256)) * 400

Fault = Callable[[Handler, bytes, dict[str, str]], None]
"""Answers a request for a content, whose usual headers are given."""

LASTS = 100
"""Seconds that a slow answer takes at most, so that a test's server ends."""


def status(code: int, **headers: str) -> Fault:
    def answer(handler: Handler, content: bytes, usual: dict[str, str]) -> None:
        handler.send(
            code, {"Content-Length": "0"} | {key.replace("_", "-"): value for key, value in headers.items()}, b""
        )

    return answer


def sends(body: bytes | None = None, without: tuple[str, ...] = (), **changes: str) -> Fault:
    """An answer of status 200 with other headers, or another body, after which the connection ends."""

    def answer(handler: Handler, content: bytes, usual: dict[str, str]) -> None:
        headers = {key: value for key, value in usual.items() if key not in without}
        handler.close_connection = True
        handler.send(
            200,
            headers | {key.replace("_", "-"): value for key, value in changes.items()},
            content if body is None else body,
        )

    return answer


def raw(*pieces: bytes, pause: float = 0.0, again: bool = False) -> Fault:
    """Bytes as they are, one piece after the other."""

    def answer(handler: Handler, content: bytes, usual: dict[str, str]) -> None:
        end, handler.close_connection = time.monotonic() + LASTS, True
        for piece in pieces:
            write(handler, piece)
            time.sleep(pause)
        while again and time.monotonic() < end:
            write(handler, pieces[-1])
            time.sleep(pause)

    return answer


def write(handler: Handler, piece: bytes) -> None:
    handler.wfile.write(piece)
    handler.wfile.flush()


def drips(handler: Handler, content: bytes, usual: dict[str, str]) -> None:
    handler.close_connection = True
    handler.send(200, usual, b"")
    for place in range(2 * LASTS):
        write(handler, content[place : place + 1])
        time.sleep(0.5)


def half(handler: Handler, content: bytes, usual: dict[str, str]) -> None:
    sends(content[: len(content) // 2])(handler, content, usual)


def other(handler: Handler, content: bytes, usual: dict[str, str]) -> None:
    sends(content[:-1] + b"x")(handler, content, usual)


def packed(handler: Handler, content: bytes, usual: dict[str, str]) -> None:
    body = gzip.compress(content)
    sends(body, Content_Encoding="gzip", Content_Length=str(len(body)))(handler, content, usual)


def silent(handler: Handler, content: bytes, usual: dict[str, str]) -> None:
    handler.close_connection = True
    time.sleep(LASTS)


def reset(handler: Handler, content: bytes, usual: dict[str, str]) -> None:
    handler.close_connection = True
    handler.connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"
LINE = b"HTTP/1.1 200 OK\r\n"
CODES = (400, 401, 403, 404, 405, 408, 409, 410, 418, 429, 451, 500, 501, 502, 503, 504, 507, 511, 599, 700)

FAULTS: dict[str, Fault] = {f"status-{code}": status(code) for code in CODES} | {
    "wait-a-day": status(429, Retry_After="86400"),
    "away-for-a-day": status(503, Retry_After="86400"),
    "login-page": sends(HTML, ("ETag", "X-Repo-Commit"), Content_Type="text/html", Content_Length=str(len(HTML))),
    "empty": sends(b"", Content_Length="0"),
    "half": half,
    "other": other,
    "shorter": sends(Content_Length="100"),
    "longer": sends(Content_Length="9999999"),
    "no-length": sends(without=("Content-Length",)),
    "length-of-letters": sends(Content_Length="abc"),
    "negative-length": sends(Content_Length="-5"),
    "drips": drips,
    "drips-headers": raw(LINE, b"X", pause=0.5, again=True),
    "drips-status": raw(b"H", b"T", b"T", b"P", b"/", pause=0.5, again=True),
    "informs-for-ever": raw(b"HTTP/1.1 103 Early Hints\r\n\r\n", pause=0.2, again=True),
    "silent": silent,
    "reset": reset,
    "hangs-up": raw(b""),
    "hello": raw(b"220 mail.example.org ESMTP\r\n"),
    "binary": raw(bytes(range(256)) * 10),
    "bad-header": raw(LINE + b"\xff\xfe: \x00\r\nno colon\r\n\r\n"),
    "endless-header": raw(LINE + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n"),
    "many-headers": raw(LINE + b"X: y\r\n" * 100_000 + b"\r\n"),
    "bad-chunk": raw(LINE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nxx"),
    "half-a-chunk": raw(LINE + b"Transfer-Encoding: chunked\r\n\r\nff\r\nxx"),
    "loop": lambda handler, content, usual: status(302, Location=handler.path)(handler, content, usual),
    "moved-nowhere": status(302),
    "moved-to-a-closed-port": status(302, Location="http://127.0.0.1:9/x"),
    "moved-to-ftp": status(302, Location="ftp://127.0.0.1/x"),
    "moved-to-rubbish": status(302, Location="http://[::1"),
    "says-packed": sends(Content_Encoding="gzip"),
    "says-odd-packed": sends(Content_Encoding="rot13"),
    "packed": packed,
    "no-etag": sends(without=("ETag",)),
    "no-commit": sends(without=("X-Repo-Commit",)),
    "odd-range": sends(Content_Range="bytes x-y/z"),
}  # fmt: skip


def answer_by_name(handler: Handler, path: str) -> bool:
    """Repositories and files are called as the fault is: "fault-of-HEAD/NAME", "fault-of-GET/NAME"; other paths are not
    for us."""
    found = re.match(r"/fault-of-(HEAD|GET)/([\w-]+)/", path)
    if not found or found[1] != handler.command:
        return False
    usual = {"ETag": '"0123abc"', "X-Repo-Commit": "c" * 40, "Content-Length": str(len(CONTENT))}
    try:
        FAULTS[found[2]](handler, CONTENT, usual)
    except OSError:  # the other side has had enough
        handler.close_connection = True
    return True


_ALL_AT_ONCE = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from iqp_adapter.store import fetch, hub, waiting
from iqp_adapter.store.files import sha256_of

waiting.ANSWER = waiting.BLOCK = 30
fetch.WINDOW, fetch.TIMEOUT, fetch.PAUSE = 20, 20, 0

def ask(request):
    kind, name = request
    start = time.monotonic()
    try:
        if kind == "authors":
            file = fetch.WeightFile(name, "MIT", sys.argv[1])
            said = sha256_of(fetch.fetch(file))
        else:
            said = sha256_of(hub.fetch_file(name))
    except OSError as error:
        said = f"OSError: {error}"
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
    return kind, name, time.monotonic() - start, said

requests = [word.split() for word in sys.argv[2:]]
with ThreadPoolExecutor(len(requests)) as pool:
    print(json.dumps(list(pool.map(ask, requests))))
"""


RIGHT = hashlib.sha256(CONTENT).hexdigest()


class Attempt(NamedTuple):
    """What came of asking for a file: its hash, or an error by its type; of the Hub or of a file's authors."""

    kind: str
    name: str
    seconds: float
    said: str

    @property
    def right(self) -> bool:
        return self.said == RIGHT

    @property
    def refused(self) -> bool:
        """Whether one line of the documented type names the file."""
        return self.said.startswith("OSError: ") and "\n" not in self.said and self.name in self.said


def attempts(home: Path) -> list[Attempt]:
    """Every fault when the Hub is asked about a file, when the Hub sends it, and when its authors send it."""
    with serving() as server:
        server.fault = answer_by_name
        names = [f"fault-of-{method}/{fault}" for method in ("HEAD", "GET") for fault in FAULTS]
        server.repositories = {name: {"net.pth": CONTENT} for name in names}
        requests = [f"hub {name}/net.pth" for name in names]
        requests += [f"authors {server.url}/fault-of-GET/{name}/{name}.pth" for name in FAULTS]
        done = run(_ALL_AT_ONCE, server.url, home, RIGHT, *requests)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return [Attempt(*result) for result in json.loads(done.stdout)]
