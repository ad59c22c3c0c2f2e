"""Files: what is written is whole or not there, and what is asked for is found or named."""

from __future__ import annotations

import csv
import hashlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from iqp_adapter.compat import make_importable
from iqp_adapter.store.files import atomic_path, left_out, list_images, put_new, sha256_of, some_of, spelt
from iqp_adapter.store.table import write_csv
from iqp_adapter.store.temporary import remove_strays, temporary_name


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


@pytest.mark.parametrize("name", ["b" * 251 + ".png", "照" * 83 + ".png", "x." + "y" * 250, "." + "z" * 254])
def test_atomic_path_takes_every_name_that_a_file_may_have(tmp_path, name):
    with atomic_path(tmp_path / name) as partial:
        partial.write_text("whole")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "whole"}


@pytest.fixture
def killed(root):
    """Leaves what a process that is killed in the middle of writing leaves; gives the names of such files."""

    def leave(folder, name="a.txt"):
        code = f"""
import os
from iqp_adapter.store.files import atomic_path
with atomic_path({str(folder / name)!r}) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), 9)
"""
        subprocess.run([sys.executable, "-c", code], cwd=root)
        return [path.name for path in folder.iterdir() if path.name != name]

    return leave


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path, killed):
    (tmp_path / ".iqp-mine.txt").write_text("the user's")
    left = set(killed(tmp_path)) - {".iqp-mine.txt"}
    assert len(left) == 1
    with atomic_path(tmp_path / "b.txt") as partial:
        assert sorted(os.listdir(tmp_path)) == [".iqp-mine.txt"]
        partial.write_text("whole")
    assert sorted(os.listdir(tmp_path)) == [".iqp-mine.txt", "b.txt"]


def test_what_another_process_is_writing_stays(tmp_path):
    mine = tmp_path / temporary_name("a.png")
    mine.write_text("half")
    remove_strays(tmp_path)
    assert mine.exists()


def test_what_another_machine_left_goes_after_a_day(tmp_path):
    new, old = tmp_path / ".iqp-00000000-7-0123456789ab.png", tmp_path / ".iqp-00000000-8-0123456789ab.png"
    for path in (new, old):
        path.write_text("half")
    os.utime(old, (0, 0))
    remove_strays(tmp_path)
    assert new.exists() and not old.exists()


def test_a_new_file_takes_no_name_that_is_taken(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(FileExistsError, match=r"a\.txt exists"), atomic_path(path, put_new) as partial:  # noqa: PT012
        partial.write_text("ours")
        path.write_text("the user's, in the meantime")
    assert path.read_text() == "the user's, in the meantime" and os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("taken", [False, True])
def test_a_file_system_may_have_no_hard_links(tmp_path, monkeypatch, taken):
    def refuse(*paths):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path, partial = tmp_path / "a.txt", tmp_path / "partial"
    partial.write_text("ours")
    if taken:
        path.write_text("the user's")
        with pytest.raises(FileExistsError):
            put_new(partial, path)
    else:
        put_new(partial, path)
    assert path.read_text() == ("the user's" if taken else "ours") and partial.exists() == taken


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


def test_jpegs_of_every_suffix_are_found(tmp_path):
    for name in ("a.jfif", "b.jpe", "c.JPEG"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images([tmp_path])] == ["a.jfif", "b.jpe", "c.JPEG"]


def test_a_folder_of_folders_is_told_how_to_be_taken(tmp_path):
    (tmp_path / "a[b] c" / "00000").mkdir(parents=True)
    (tmp_path / "a[b] c" / "00000" / "1.png").touch()
    with pytest.raises(FileNotFoundError, match="no image at .*; .* has subfolders with pictures, such as") as refusal:
        list_images([tmp_path / "a[b] c"])
    advice = str(refusal.value).partition("to take those, give ")[2]
    assert [path.name for path in list_images(shlex.split(advice))] == ["1.png"]


def test_what_is_passed_over_is_named(album):
    (album / "Thumbs.db").touch()
    assert left_out([album / "b.png", album / "*.png"]) == []
    [below] = left_out([album])
    assert f"{album} has subfolders with pictures, such as {album / 'deep' / 'c.webp'}" in below
    (album / "d.CR2").touch()
    (album / ".e.cr2").touch()
    for line in (left_out([album])[1], left_out([album / "*"])[0]):
        assert "has files of kinds that are not read: 1 (d.CR2)" in line


def test_nothing_is_said_of_hidden_folders(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "a.png").touch()
    assert left_out([tmp_path]) == []


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1.png", "'=1+1.png"),
        ("@SUM.png", "'@SUM.png"),
        ("+a", "'+a"),
        ("-a", "'-a"),
        ("\ta", "'\ta"),
        (Path("=a.png"), "'=a.png"),
        ("a=b", "a=b"),
        ("-0.5", "-0.5"),
        (-0.5, "-0.5"),
        ("照\udcff", "照\\udcff"),
    ],
)
def test_no_cell_of_a_table_is_a_formula(tmp_path, cell, written):
    write_csv(tmp_path / "t.csv", [["file", None], [cell, 0]])
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == [["file", ""], [written, "0"]]


def test_odd_bytes_of_names_are_spelt_out():
    assert spelt(os.fsdecode(b"a\xff.png")) == "a\\udcff.png" and spelt("照片") == "照片"


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
