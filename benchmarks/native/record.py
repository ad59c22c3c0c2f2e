"""Keeps how a run was made: settings, log and curves of all its stages, without weights.

python -m benchmarks.native.record --run RUN -o benchmarks/results/ablations/runs

Sample grids stay behind: they show the faces of the training set.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

RECORD = ("log.jsonl", "curves.png", "environment.json")


def keep_records(run: Path, kept: Path) -> None:
    """Those of every stage below a folder, each in its place."""
    for log in sorted(run.rglob("log.jsonl")):
        folder = kept / log.parent.relative_to(run)
        folder.mkdir(parents=True, exist_ok=True)
        for name in RECORD:
            shutil.copy(log.parent / name, folder / name)


def main(
    run: Annotated[Path, typer.Option(help="folder of the run")],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the record")],
) -> None:
    keep_records(run, out)


if __name__ == "__main__":
    typer.run(main)
