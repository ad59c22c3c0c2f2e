"""Attacks the commands: kills at random moments, damaged pictures, checkpoints and configurations, faults of servers.

    python -m benchmarks.faults.campaign --work WORK

Counts go to `results/faults.json`: nothing may be lost, half-written or wrong, no trace may be shown, nothing may hang.
Needs a system that forks, such as Linux.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated

os.environ.setdefault("OMP_NUM_THREADS", "1")  # forked children compute, so that the parent must have no threads

import typer  # noqa: E402
from rich.progress import Progress  # noqa: E402

from benchmarks.common.results import RESULTS, provenance, write_json  # noqa: E402
from benchmarks.faults import kills, pictures, servers, weights  # noqa: E402

MUST_BE_NONE = ("lost", "half-written", "wrong", "traces", "hangs", "unnamed", "left over", "failed afterwards")


def main(
    killed: Annotated[int, typer.Option(help="Kills over restore, train and bench.")] = 300,
    damaged: Annotated[int, typer.Option(help="Damaged pictures.")] = 200,
    weight_files: Annotated[int, typer.Option(help="Damaged checkpoints and configurations.")] = 200,
    seed: int = 0,
    work: Annotated[
        Path | None, typer.Option(help="Folder for what the attack leaves; by default a temporary one.")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="File of the result.")] = RESULTS / "faults.json",
) -> None:
    """Attacks, shows and writes the counts; exit status 1 where something was lost, wrong, traced or hung."""
    _import_everything()
    folder = Path(tempfile.mkdtemp(dir=work)) if work is None or _made(work) else work
    counts: dict[str, Counter[str]] = {}
    with Progress() as progress:
        bar = progress.add_task("kills", total=killed)
        for name, counted in kills.campaign(_works(folder), killed, folder, seed):
            counts[f"kills of {name}"] = Counter(counted)
            progress.update(bar, completed=sum(part["kills"] for part in counts.values()))
        for name, parts in {
            "damaged pictures": pictures.campaign(damaged, folder, seed),
            "damaged checkpoints and configurations": weights.campaign(weight_files, folder, seed),
        }.items():
            bar = progress.add_task(name, total=damaged if "pictures" in name else weight_files)
            for counted in parts:
                counts[name] = Counter(counted)
                progress.update(bar, completed=counted["files"])
    counts["faults of servers"] = servers.campaign(folder)
    total = {fault: sum(part[fault] for part in counts.values()) for fault in MUST_BE_NONE}
    write_json(out, {"total": total, "parts": counts} | provenance(seed))
    for name, part in counts.items():
        typer.echo(f"{name}: {', '.join(f'{number} {what}' for what, number in part.items() if number)}")
    if any(total.values()):
        raise typer.Exit(1)


def _works(folder: Path) -> list[kills.Work]:
    config = folder / "train.yaml"
    config.write_text(kills.TRAINING)
    photos, faces = kills.photos_in(folder / "photos", 5), kills.faces_in(folder / "faces", 4)
    return [kills.restoring(photos), kills.training(faces, config), kills.benchmarking(faces)]


def _made(folder: Path) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    return True


def _import_everything() -> None:
    """Once, in the parent."""
    import iqp_adapter
    from iqp_adapter import photo
    from iqp_adapter.bench import page, run
    from iqp_adapter.training import native_training

    assert all((iqp_adapter.load, photo.restore_files, page, run, native_training))


if __name__ == "__main__":
    typer.run(main)
