"""What an install takes on disk: the core and the full set, beside torch and what torch itself needs.

    python -m benchmarks.install_sizes --work WORK
    python -m benchmarks.install_sizes --work WORK --torch "torch --index-url https://download.pytorch.org/whl/cpu"

An environment is made anew in WORK, filled by pip from this checkout, and removed again. It needs a network or pip's
cache, and twice the room that it measures. Stacks of torch that were measured before are kept.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common.results import RESULTS, ROOT, provenance, write_json

RESULT = RESULTS / "install_sizes.json"
MEGABYTE = 2**20

LOOK = """
import json, os, sysconfig
from importlib.metadata import distributions

def held(file):
    return os.stat(file).st_blocks * 512

def files(top):
    return (os.path.join(folder, name) for folder, _, names in os.walk(top) for name in names)

sizes = {}
for found in distributions():
    places = {str(found.locate_file(file)) for file in found.files or ()}
    sizes[f"{found.name} {found.version}"] = sum(held(place) for place in places if os.path.isfile(place))
print(json.dumps({"bytes": sum(map(held, files(sysconfig.get_path("purelib")))), "packages": sizes}))
"""
"""Bytes on disk of an environment's packages, each and together, as `du` counts them."""

Installed = dict[str, Any]


class Environment:
    """A fresh environment in a folder, filled by pip."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        self.python = folder / "bin" / "python"

    def pip(self, *words: object, **settings: str) -> None:
        command = [str(word) for word in (self.python, "-m", "pip", *words, "--quiet")]
        subprocess.run(command, check=True, env=_without_path() | settings)

    def look(self) -> Installed:
        found = subprocess.run([self.python, "-c", LOOK], check=True, env=_without_path(), stdout=subprocess.PIPE)
        return dict(json.loads(found.stdout))


def _without_path() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def beside(after: Installed, before: Installed) -> dict[str, Any]:
    """What was added: number of packages, MB of all and of each, the largest first."""
    added = {name: size for name, size in after["packages"].items() if name not in before["packages"]}
    largest = sorted(added, key=lambda name: (-added[name], name))
    return {
        "packages": len(added),
        "MB": round((after["bytes"] - before["bytes"]) / MEGABYTE),
        "MB of each": {name: round(added[name] / MEGABYTE, 1) for name in largest},
    }


def measured(place: Environment, torch: str, source: Path) -> dict[str, Any]:
    """Torch alone, then the core beside it, then the full set in the core's place."""
    empty = place.look()
    place.pip("install", *torch.split())
    bare = place.look()
    place.pip("install", source, IQP_DISTRIBUTION="core")
    core = place.look()
    place.pip("uninstall", "--yes", "iqp_adapter_core")
    place.pip("install", source, IQP_DISTRIBUTION="")
    full = place.look()
    return {"torch alone": beside(bare, empty), "core": beside(core, bare), "full set": beside(full, bare)}


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the checkout, without what was built in it."""
    with tempfile.TemporaryDirectory() as folder:
        ignored = shutil.ignore_patterns(".git", "build", "*.egg-info", "__pycache__", ".*_cache", "results")
        yield Path(shutil.copytree(ROOT, Path(folder) / "source", ignore=ignored))


def main(
    work: Annotated[Path, typer.Option(help="Folder for the environment.")] = Path("sizes"),
    torch: Annotated[str, typer.Option(help="What pip install is given for torch.")] = "torch",
    out: Annotated[Path, typer.Option("-o", "--out", help="File of the result.")] = RESULT,
) -> None:
    """Measures, prints and writes the sizes."""
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work) as folder, copied() as source:
        found = measured(Environment(Path(folder) / "venv"), torch, source)
        stacks = json.loads(out.read_text()) if out.exists() else {}
        write_json(out, stacks | {torch: found | provenance(0)})
    for name, each in found.items():
        typer.echo(f"{name}: {each['packages']} packages, {each['MB']} MB")


if __name__ == "__main__":
    typer.run(main)
