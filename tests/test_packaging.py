"""The library works however it is installed, and finds the host files each time. Nothing is downloaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.slow

LOOK = """
import json
from importlib import resources
import iqp_adapter
from iqp_adapter.hosts.registry import hosts
hosts = {name: spec.source for name, spec in hosts().items()}
root, folders = resources.files("iqp_adapter"), ("", "weights", "bench/page")
inside = [path.name for folder in folders for path in (root / folder).iterdir()]
print(json.dumps({"file": iqp_adapter.__file__, "hosts": hosts, "inside": inside}))
"""
HOST = """
'''A host for tests.'''
from iqp_adapter import HostSpec
HOST = HostSpec(name="{0}", source="by {0}", licence="", has=("toy",), sites=list, restore=list, resolution=len)
"""
PARTS = (
    "setup.py",
    "setup.cfg",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CITATION.cff",
)
PARTS += ("CONTRIBUTING.md", ".ci", "iqp_adapter", "adapters", "examples", "tests")


def run(*command: object, cwd: Path, **settings: str) -> str:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | settings
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(root, tmp_path_factory) -> Path:
    """A copy of the source tree, with one host file more: building writes into it."""
    folder = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in PARTS:
        if (root / part).is_dir():
            shutil.copytree(root / part, folder / part, ignore=ignored)
        else:
            shutil.copy(root / part, folder)
    (folder / "adapters" / "toyhost.py").write_text(HOST.format("toyhost"))
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    return built(source, tmp_path_factory.mktemp("wheel"))


def built(source: Path, folder: Path, **settings: str) -> Path:
    """A wheel of a source tree."""
    options = ("--no-deps", "--no-build-isolation", "-w", folder)
    run(sys.executable, "-m", "pip", "wheel", source, *options, cwd=source, **settings)
    shutil.rmtree(source / "build", ignore_errors=True)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def published(source, tmp_path_factory) -> tuple[Path, Path]:
    """The wheels of iqp_adapter_core and of iqp_adapter that are published together."""
    folder = tmp_path_factory.mktemp("published")
    core = built(source, folder / "core", IQP_DISTRIBUTION="core")
    run(sys.executable, ".ci/full.py", core, folder / "project", cwd=source)
    return core, built(folder / "project", folder / "full")


@pytest.fixture
def environment(tmp_path) -> Path:
    """A fresh environment that borrows the dependencies of this one, so that none is downloaded: its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    scheme = json.loads(
        run(python, "-c", "import json, sysconfig; print(json.dumps(sysconfig.get_paths()))", cwd=tmp_path)
    )
    (Path(scheme["purelib"]) / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return python


def install(python: Path, *what: object) -> None:
    options = ("--no-deps", "--no-index", "--no-build-isolation")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, *what, cwd=python.parent)


def look(python: Path, cwd: Path, home: Path, **settings: str) -> None:
    """Asks the library in an environment what it finds; `home` is where it should lie."""
    seen = json.loads(run(python, "-c", LOOK, cwd=cwd, **settings))
    assert Path(seen["file"]).is_relative_to(home)
    expected = {path.stem for path in (Path(__file__).parents[1] / "adapters").glob("*.py")} | {"toyhost"}
    assert set(seen["hosts"]) == expected and seen["hosts"]["toyhost"] == "by toyhost"
    assert {"py.typed", "iqp-lite-1", "iqp-colour-1"} | {"page.css", "page.js", "template.html"} <= set(seen["inside"])


def test_wheel(source, wheel, environment, tmp_path):
    install(environment, wheel)
    look(environment, cwd=tmp_path, home=environment.parents[1])
    look(environment, cwd=source, home=source)
    assert run(environment.parent / "iqp", "--version", cwd=tmp_path).startswith("iqp ")
    assert "train" in run(environment.parent / "iqp", "--help", cwd=tmp_path)


def test_editable_install(source, environment, tmp_path):
    install(environment, "-e", source)
    look(environment, cwd=tmp_path, home=source)
    look(environment, cwd=source, home=source)
    (source / "adapters" / "later.py").write_text(HOST.format("later"))
    try:
        assert '"later": "by later"' in run(environment, "-c", LOOK, cwd=tmp_path)
    finally:
        (source / "adapters" / "later.py").unlink()


def test_no_install(source, environment, tmp_path):
    look(environment, cwd=source, home=source)
    look(environment, cwd=tmp_path, home=source, PYTHONPATH=str(source))


def test_contents_of_the_wheel(source, wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    info = next(name.split("/")[0] for name in names if ".dist-info/" in name)
    assert {name.split("/")[0] for name in names} == {"iqp_adapter", info}
    shipped = {
        path.relative_to(source).as_posix()
        for path in (source / "iqp_adapter").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped - names == {"iqp_adapter/adapters/__init__.py"}
    assert any(name.endswith("LICENSE") for name in names)
    assert "iqp_adapter/adapters/toyhost.py" in names


def contents(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def needs(wheel: Path, extra: str = "") -> set[str]:
    """Names of the packages that a wheel asks for, with one of its extras or without any."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        asked = map(Requirement, message_from_bytes(archive.read(name)).get_all("Requires-Dist"))
        return {each.name for each in asked if each.marker is None or each.marker.evaluate({"extra": extra})}


def test_the_core_has_the_same_code_and_needs_less(wheel, published):
    core, full = published
    assert core.name.startswith("iqp_adapter_core-") and wheel.name.startswith("iqp_adapter-")
    assert contents(core) == contents(wheel)
    assert {"pyiqa", "facexlib", "torchvision"} <= needs(wheel) - needs(core) and "torch" in needs(core)
    assert needs(core, "full") == needs(wheel)
    assert {"av", "scipy"} <= needs(core, "film")


def test_what_is_published_together_overwrites_nothing(published, environment, tmp_path):
    core, full = published
    assert not contents(full)
    assert needs(full) == {"iqp_adapter_core"} == needs(full, "film")
    install(environment, core, full)
    look(environment, cwd=tmp_path, home=environment.parents[1])
    assert run(environment.parent / "iqp", "--version", cwd=tmp_path).startswith("iqp ")
    code = "from importlib.metadata import version; print(version('iqp_adapter') == version('iqp_adapter_core'))"
    assert run(environment, "-c", code, cwd=tmp_path).strip() == "True"


def test_a_source_archive_has_tests_and_examples_and_stays_what_it_is(source, tmp_path):
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    run(sys.executable, "-c", code, cwd=source, IQP_DISTRIBUTION="core")
    [archive] = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path, filter="data")
    [unpacked] = (path for path in tmp_path.iterdir() if path.is_dir())
    for part in (
        "tests/test_packaging.py",
        "examples/README.md",
        "adapters/toyhost.py",
        "CHANGELOG.md",
        "CITATION.cff",
    ):
        assert (unpacked / part).is_file(), part
    assert built(unpacked, tmp_path / "wheel").name.startswith("iqp_adapter_core-")


def test_another_distribution_is_refused(source):
    command = [sys.executable, "setup.py", "--name"]
    done = subprocess.run(
        command, cwd=source, env=os.environ | {"IQP_DISTRIBUTION": "lean"}, capture_output=True, text=True
    )
    assert done.returncode != 0 and "IQP_DISTRIBUTION is 'lean'; set it to core" in done.stderr


def test_pages_of_the_interface_are_made_from_docstrings(root, tmp_path):
    pytest.importorskip("pdoc")
    bin = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    run(str(root / ".ci" / "docs"), str(tmp_path), cwd=tmp_path, PATH=bin)
    page = (tmp_path / "iqp_adapter" / "photo.html").read_text(encoding="utf-8")
    assert "restore_files" in page and "<strong>min_face:</strong>" in page, "arguments are a list"
