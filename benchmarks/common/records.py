"""Copies the records of a training run: environment, log, times and curves of every stage, no weights; adds its hours.

python -m benchmarks.common.records --run RUN -o RECORDS

Grids of samples are not copied: they show the faces of the training set.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common.results import write_json
from iqp_adapter.training.record import Record

RECORD = ("log.jsonl", "times.jsonl", "curves.png", "environment.json")


def copy_records(run: Path, out: Path) -> None:
    """The records of every stage below a folder, each in its place, and the hours of each stage as `hours.json`."""
    for log in run.rglob("log.jsonl"):
        folder = out / log.parent.relative_to(run)
        folder.mkdir(parents=True, exist_ok=True)
        for file in (log.parent / name for name in RECORD):
            if file.exists():  # a log beside the stages has no more
                shutil.copy(file, folder)
    write_json(out / "hours.json", hours_of(run))


def hours_of(run: Path) -> dict[str, float]:
    """How long every stage below a folder took, by its place there; what is no stage has no times."""
    seconds = {log.parent: Record(log.parent).seconds() for log in sorted(run.rglob("log.jsonl"))}
    return {str(stage.relative_to(run)): taken / 3600 for stage, taken in seconds.items() if taken}


def main(
    run: Annotated[Path, typer.Option(help="folder of the run")],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the records")],
) -> None:
    copy_records(run, out)


if __name__ == "__main__":
    typer.run(main)
