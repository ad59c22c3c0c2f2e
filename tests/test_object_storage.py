"""Photos of a bucket, by the lines of `docs/clusters.md`: against a local server that speaks S3.

Needs the extra `ray`, and `pip install "moto[server]" awscli`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from photo_runs import shifted_faces

pytest.importorskip("ray")
pytest.importorskip("moto")
pytestmark = pytest.mark.slow

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def bucket() -> Iterator[dict[str, str]]:
    """The environment in which `aws` finds an empty bucket, `BUCKET`."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    place = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    _run("aws s3 mb s3://bucket", place)
    yield place
    server.stop()


def _run(line: str, place: dict[str, str]) -> str:
    bin = Path(sys.executable).parent
    path = os.pathsep.join((str(bin), place["PATH"]))
    done = subprocess.run(line, shell=True, env=place | {"PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _lines(root: Path, shared: Path) -> list[str]:
    """The documented lines, for this bucket, this folder and this machine."""
    text = (root / "docs/clusters.md").read_text()
    (block,) = (block for block in re.findall(r"```\w*\n(.*?)```", text, re.S) if "aws s3 sync" in block)
    changes = {"BUCKET": "bucket", "/shared": str(shared), "--ray auto": "--ray local --aligned --device cpu"}
    for old, new in changes.items():
        block = block.replace(old, new)
    return block.splitlines()


def _objects(place: dict[str, str], folder: str) -> set[str]:
    return {line.split()[-1] for line in _run(f"aws s3 ls s3://bucket/{folder}/ --recursive", place).splitlines()}


@pytest.mark.skipif(shutil.which("aws", path=str(Path(sys.executable).parent)) is None, reason="needs awscli")
def test_photos_of_a_bucket_come_back_restored(bucket: dict[str, str], root: Path, tmp_path: Path) -> None:
    faces, shared = shifted_faces(tmp_path / "faces", 2), tmp_path / "shared"
    _run(f"aws s3 cp {faces}/00.png s3://bucket/photos/a/00.png", bucket)
    for line in _lines(root, shared):
        _run(line, bucket)
    assert _objects(bucket, "restored") == {"restored/a/00.png"}
    _run(f"aws s3 cp {faces}/01.png s3://bucket/photos/b/01.png", bucket)
    told = [_run(line, bucket) for line in _lines(root, shared)]
    assert _objects(bucket, "restored") == {"restored/a/00.png", "restored/b/01.png"}
    assert "00.png" not in told[0] + told[2], "a file was copied twice"
    _run(f"aws s3 cp s3://bucket/restored/b/01.png {tmp_path}/back.png", bucket)
    assert (tmp_path / "back.png").read_bytes() == (shared / "restored/b/01.png").read_bytes()
    assert (tmp_path / "back.png").read_bytes() != (faces / "01.png").read_bytes()
