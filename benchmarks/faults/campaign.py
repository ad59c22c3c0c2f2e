"""Attacks the commands: kills at random moments, damaged pictures, weights, configurations and exports, bad servers.

    python -m benchmarks.faults.campaign --work WORK

Counts go to `results/faults.json`: nothing may be lost, half-written or wrong, no trace may be shown, nothing may hang.
It runs in parts (`--part "kills of bench"`); the result keeps the other parts.
Needs a system that forks, such as Linux.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

os.environ.setdefault("OMP_NUM_THREADS", "1")  # forked children compute, so that the parent must have no threads

import typer  # noqa: E402
from rich.progress import Progress  # noqa: E402

from benchmarks.common.results import RESULTS, provenance, write_json  # noqa: E402
from benchmarks.faults import (  # noqa: E402
    configurations,
    exported,
    film_kills,
    films,
    kills,
    pictures,
    plugins,
    servers,
    sharing,
    weights,
)

Part = Callable[[Path, int, int, int], Iterator[Counter[str]]]
"""Folder, kills, damaged files, seed -> counts, each time more of them are known."""

PARTS: dict[str, Part] = {
    "kills of restore": lambda folder, killed, damaged, seed: kills.campaign(
        kills.restoring(kills.photos_in(folder / "photos", 5)), killed, folder, seed
    ),
    "kills of workers on one output": lambda folder, killed, damaged, seed: sharing.campaign(
        sharing.sharing(folder / "photos"), killed, folder, seed
    ),
    "kills of train": lambda folder, killed, damaged, seed: kills.campaign(
        kills.training(kills.faces_in(folder / "faces", 4), folder / "train.yaml"), killed, folder, seed
    ),
    "kills of bench": lambda folder, killed, damaged, seed: kills.campaign(
        kills.benchmarking(kills.faces_in(folder / "faces", 4)), killed, folder, seed
    ),
    "kills of films": lambda folder, killed, damaged, seed: film_kills.campaign(killed, folder, seed),
    "kills of films on many machines": lambda folder, killed, damaged, seed: film_kills.campaign(
        killed, folder, seed, machines=True
    ),
    "damaged pictures": lambda folder, killed, damaged, seed: pictures.campaign(damaged, folder, seed),
    "damaged films": lambda folder, killed, damaged, seed: films.campaign(damaged, folder, seed),
    "damaged weights and configurations": lambda folder, killed, damaged, seed: weights.campaign(damaged, folder, seed),
    "settings of training": lambda folder, killed, damaged, seed: configurations.campaign(damaged, folder, seed),
    "faulty plug-ins": lambda folder, killed, damaged, seed: plugins.campaign(damaged, folder, seed),
    "faults of servers": lambda folder, killed, damaged, seed: servers.campaign(folder),
    "exported folders": lambda folder, killed, damaged, seed: exported.campaign(damaged, killed // 10, folder, seed),
}

MUST_BE_NONE = (
    "lost",
    "half-written",
    "wrong",
    "twice",
    "traces",
    "hangs",
    "unnamed",
    "left over",
    "failed afterwards",
    "crashes",
)


def main(
    part: Annotated[list[str] | None, typer.Option(help=f"One or more of: {', '.join(PARTS)}.")] = None,
    killed: Annotated[int, typer.Option(help="Kills of each command.")] = 100,
    damaged: Annotated[int, typer.Option(help="Damaged files of each kind.")] = 200,
    seed: int = 0,
    work: Annotated[Path, typer.Option(help="Folder for what the attack leaves.")] = Path("attack"),
    out: Annotated[Path, typer.Option("-o", "--out", help="File of the result.")] = RESULTS / "faults.json",
) -> None:
    """Attacks, shows and writes the counts; exit status 1 where something was lost, wrong, traced or hung."""
    _import_everything()
    work.mkdir(parents=True, exist_ok=True)
    for name in part or PARTS:
        folder = Path(tempfile.mkdtemp(dir=work))
        counted: Counter[str] = Counter()
        with Progress(auto_refresh=False) as progress:  # which would be a thread, and locked in a fork
            bar = progress.add_task(name, total=killed if name.startswith("kills") else damaged)
            for counted in PARTS[name](folder, killed, damaged, seed):
                progress.update(bar, completed=counted["kills"] + counted["files"], refresh=True)
        _record(out, name, counted, seed)
    if any(json.loads(out.read_text())["total"].values()):
        raise typer.Exit(1)


def _record(out: Path, name: str, counted: Counter[str], seed: int) -> None:
    """Adds a part to the result; the other parts stay."""
    parts = json.loads(out.read_text())["parts"] if out.exists() else {}
    parts[name] = {what: number for what, number in counted.items() if number} | {"run": provenance(seed)}
    total = {fault: sum(one.get(fault, 0) for one in parts.values()) for fault in MUST_BE_NONE}
    write_json(out, {"total": total, "parts": parts})
    typer.echo(f"{name}: {', '.join(f'{number} {what}' for what, number in counted.items() if number)}")


def _import_everything() -> None:
    """Once, in the parent."""
    import iqp_adapter
    from iqp_adapter import film, photo
    from iqp_adapter.bench import page, run
    from iqp_adapter.training import native_training

    assert all((iqp_adapter.load, film.restore_film, photo.restore_files, page, run, native_training))


if __name__ == "__main__":
    typer.run(main)
