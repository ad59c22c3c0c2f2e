"""Hashes of training pictures: a file is read again where it has changed, and damaged hashes are made again."""

from __future__ import annotations

import hashlib
import os
import shutil
import time

import numpy as np
import pytest

from iqp_adapter.training import kept_hashes
from iqp_adapter.training.kept_hashes import content_hashes
from iqp_adapter.training.sources import Folder

OLD = time.time() - 1000


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two files that changed long ago, and a cache of their own."""
    monkeypatch.setattr(kept_hashes, "cache", lambda: tmp_path / "cache")
    (tmp_path / "faces").mkdir()
    for name in ("a.png", "b.png"):
        write(tmp_path / "faces" / name, name.encode())
    monkeypatch.setattr(kept_hashes, "SETTLED", 0)  # these files are new, whatever their times say
    return tmp_path / "faces"


def write(path, content):
    path.write_bytes(content)
    os.utime(path, (OLD, OLD))


@pytest.fixture
def read(monkeypatch):
    """Names of the files that are read."""
    names = []

    def sha256_of(path):
        names.append(path.name)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(kept_hashes, "sha256_of", sha256_of)
    return names


def of(folder):
    return content_hashes(folder, sorted(folder.iterdir()))


def test_files_are_read_once(folder, read):
    first = of(folder)
    assert first == [hashlib.sha256(name.encode()).hexdigest() for name in ("a.png", "b.png")]
    assert of(folder) == first
    assert read == ["a.png", "b.png"]


@pytest.mark.parametrize("content", [b"other", b"x.png"], ids=["another size", "the same size and time"])
def test_a_changed_file_is_read_again(folder, read, content):
    before = of(folder)
    write(folder / "a.png", content)
    after = of(folder)
    assert read == ["a.png", "b.png", "a.png"]
    assert after == [hashlib.sha256(content).hexdigest(), before[1]]


def test_a_file_that_has_just_changed_is_not_kept(folder, read, monkeypatch):
    monkeypatch.setattr(kept_hashes, "SETTLED", 10**12)
    of(folder)
    of(folder)
    assert len(read) == 4


def test_files_that_are_gone_are_forgotten(folder, tmp_path):
    of(folder)
    (folder / "b.png").unlink()
    of(folder)
    [kept] = (tmp_path / "cache" / "hashes").iterdir()
    assert len(np.load(kept)["states"]) == 1


@pytest.mark.parametrize("content", [b"", b"PK no zip", None], ids=["empty", "garbage", "other arrays"])
def test_a_damaged_file_of_hashes_is_made_again(folder, read, caplog, content, tmp_path):
    first = of(folder)
    [kept] = (tmp_path / "cache" / "hashes").iterdir()
    if content is None:
        np.savez(kept, states=np.zeros((1, 31), np.uint8), contents=np.zeros((2, 32), np.uint8))
    else:
        kept.write_bytes(content)
    assert of(folder) == first
    assert "damaged" in caplog.text
    assert len(read) == 4
    of(folder)
    assert len(read) == 4


def test_a_cache_that_cannot_be_written_costs_time_alone(folder, read, caplog, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert of(folder) == of(folder)
    assert len(read) == 4
    assert "cannot be kept" in caplog.text


def test_the_identity_of_a_folder_is_of_contents(folder, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(folder / "a.png", moved / "y.png")
    shutil.copy(folder / "b.png", moved / "x.png")
    assert Folder(folder).sha256() == Folder(moved).sha256()
    shutil.copy(folder / "a.png", moved / "x.png")
    assert Folder(folder).sha256() != Folder(moved).sha256()
