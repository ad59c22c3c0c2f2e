"""How long the small hosts learned, and whether their loss on dev was still falling at the end.

python -m benchmarks.hosts.host_training --run RUN/gfpgan --run RUN/nafnet

Each run is one of `benchmarks.hosts.train`, in a folder with the host's name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common.results import RESULTS, OutOption, page, provenance, write_json, write_text
from benchmarks.hosts.course import LOG
from iqp_adapter.training.record import Record

HEAD = ["host", "stage", "updates", "pictures each", "minutes", "loss on dev, first", "last", "least", "on"]


def stages_of(run: Path) -> dict[str, Any]:
    """What is recorded of every stage that was judged on dev."""
    folders = sorted(log.parent.parent for log in run.glob(f"*/{LOG}/log.jsonl"))
    return {folder.name: stage_of(folder) for folder in folders}


def stage_of(folder: Path) -> dict[str, Any]:
    last = json.loads((folder / "environment.json").read_text())["parts"][-1]
    machine = last["environment"]
    judged = [{key: row[key] for key in ("step", "loss", "minutes")} for row in Record(folder / LOG).rows()]
    return {"batch": last["stage"]["batch"], "machine": machine["gpu"] or machine["processor"], "dev": judged}


def rows_of(hosts: dict[str, Any]) -> Iterator[list[str]]:
    yield HEAD
    for host, stages in hosts.items():
        for name, stage in stages.items():
            judged = stage["dev"]
            losses, minutes = [row["loss"] for row in judged], sum(row["minutes"] for row in judged)
            numbers = [f"{value:.3f}" for value in (losses[0], losses[-1], min(losses))]
            pace = [str(judged[-1]["step"]), str(stage["batch"]), f"{minutes:.1f}"]
            yield [host, name, *pace, *numbers, stage["machine"]]


def main(
    run: Annotated[list[Path], typer.Option(help="folder of a host's run; may be repeated")],
    out: OutOption = RESULTS / "hosts",
) -> None:
    """Collects, and writes."""
    hosts = {folder.name: stages_of(folder) for folder in run}
    if empty := [name for name, stages in hosts.items() if not stages]:
        raise typer.BadParameter(f"{empty[0]} has no stage that was judged on dev; give a folder of hosts.train")
    write_json(out / "host_training.json", {"hosts": hosts} | provenance(0))
    note = "A stage ends when its loss on dev has not improved for the patience of the run, or when its budget ends."
    write_text(out / "host_training.md", page("How the small hosts learned", note, {"Stages": list(rows_of(hosts))}))


if __name__ == "__main__":
    typer.run(main)
