"""Files: what is written is whole or not there, and what is asked for is found or named."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from iqp_adapter.compat import make_importable
from iqp_adapter.store.files import atomic_path, list_images, sha256_of, some_of


def test_atomic_path_puts_the_whole_file_in_place(tmp_path):
    with atomic_path(tmp_path / "a.png") as partial:
        assert partial.parent == tmp_path and partial.suffix == ".png" and partial.name.startswith(".")
        partial.write_text("new")
        assert not (tmp_path / "a.png").exists()
    assert (tmp_path / "a.png").read_text() == "new"
    assert os.listdir(tmp_path) == ["a.png"]


def test_atomic_path_keeps_the_old_file_on_an_error(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"), atomic_path(path) as partial:
        partial.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_atomic_path_keeps_the_old_file_when_killed(root, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = f"""
import os
from iqp_adapter.store.files import atomic_path
with atomic_path({str(path)!r}) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == -9
    assert path.read_text() == "old"


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_atomic_path_gives_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    with atomic_path(tmp_path / "ours") as partial:
        partial.touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_atomic_path_names_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere to write a.txt into; make it first"):  # noqa: SIM117
        with atomic_path(tmp_path / "nowhere" / "a.txt"):
            pass


def test_sha256_of_a_file_longer_than_a_block(tmp_path):
    content = os.urandom((1 << 20) + 7)
    (tmp_path / "a").write_bytes(content)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(content).hexdigest()


@pytest.fixture
def album(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "odd.dat", "deep/c.webp"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ([""], ["a.JPG", "b.png"]),
        (["*.png"], ["b.png"]),
        (["**/*"], ["a.JPG", "b.png", "deep/c.webp"]),
        (["odd.dat"], ["odd.dat"]),
        (["deep", "b.png", ""], ["a.JPG", "b.png", "deep/c.webp"]),
    ],
)
def test_list_images(album, asked, found):
    assert list_images([album / name for name in asked]) == [album / name for name in found]


def test_a_name_with_brackets_is_a_name_first(tmp_path):
    (tmp_path / "me[1].png").touch()
    assert list_images([tmp_path / "me[1].png"]) == [tmp_path / "me[1].png"]


@pytest.mark.parametrize("asked", ["nothing.png", "*.tiff", "empty"])
def test_list_images_names_what_it_does_not_find(album, asked):
    (album / "empty").mkdir()
    with pytest.raises(
        FileNotFoundError, match="no image at .*; give an image, a folder of images or a glob in quotes"
    ):
        list_images([album, album / asked])


def test_list_images_wants_a_list():
    with pytest.raises(TypeError, match="paths is 'a.png', expected a list of paths"):
        list_images("a.png")


def test_old_dependencies_become_importable(root):
    code = """
from importlib.util import find_spec
from iqp_adapter.compat import make_importable
make_importable(), make_importable()
from torchvision.transforms.functional_tensor import rgb_to_grayscale
from pkg_resources import packaging
packaging.version.parse("1.0")
assert find_spec("pkg_resources")
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_what_is_there_is_left_alone(monkeypatch):
    real = object()
    monkeypatch.setitem(sys.modules, "pkg_resources", real)
    make_importable()
    assert sys.modules["pkg_resources"] is real


@pytest.mark.parametrize(
    ("names", "said"), [([], "0"), ("abc", "3 (a, b, c)"), (iter("abcd"), "4 (a, b, c, ...)")], ids=["0", "3", "4"]
)
def test_some_of_many_names(names, said):
    assert some_of(names) == said
