"""Writes the project of the published `iqp_adapter`: no code, the core of the same version and its extra `full`.

    python .ci/full.py dist/iqp_adapter_core-1.2.3-py3-none-any.whl FOLDER

Everything that it says is read from the wheel of the core.
"""

import json
import sys
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

CORE = "iqp_adapter_core"


def read(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


def project(core: Message) -> str:
    needs = {extra: [f"{CORE}[{extra}] == {core['Version']}"] for extra in core.get_all("Provides-Extra")}
    entries = {
        "name": "iqp_adapter",
        "version": core["Version"],
        "description": core["Summary"],
        "readme": "README.md",
        "requires-python": core["Requires-Python"],
        "keywords": core["Keywords"].split(","),
        "classifiers": core.get_all("Classifier"),
        "dependencies": needs["full"],
    }
    lines = ["[build-system]", 'requires = ["setuptools>=64"]', 'build-backend = "setuptools.build_meta"']
    lines += ["[project]", *(f"{key} = {json.dumps(value)}" for key, value in entries.items())]
    urls = [one.split(", ", 1) for one in core.get_all("Project-URL", [])]
    lines += [f"authors = [{{name = {json.dumps(core['Author'])}}}]"]
    lines += ["[project.urls]", *(f"{json.dumps(name)} = {json.dumps(url)}" for name, url in urls)]
    lines += ["[project.optional-dependencies]"]
    lines += [f"{extra} = {json.dumps(needed)}" for extra, needed in needs.items()]
    return "\n".join([*lines, "[tool.setuptools]", "packages = []", ""])


def main(wheel: Path, folder: Path) -> None:
    core = read(wheel)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_bytes(core.get_payload(decode=True))
    (folder / "LICENSE").write_bytes((Path(__file__).parents[1] / "LICENSE").read_bytes())
    (folder / "pyproject.toml").write_text(project(core), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
