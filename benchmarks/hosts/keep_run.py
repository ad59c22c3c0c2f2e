"""Copies what the runs of a small host made: weights in half precision, and the records of every stage.

python -m benchmarks.hosts.keep_run --run RUN --host codeformer -o KEPT

KEPT can stand in for RUN in `benchmarks.hosts.compare` and `benchmarks.hosts.optimisation`. Of the hosts that were
trained further without an adapter only the records are copied. Grids of samples are not copied: they show the faces of
the training set.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common.records import copy_records
from benchmarks.hosts.adapt import vqgan_of
from benchmarks.hosts.compare import recipes_in
from benchmarks.hosts.recipes import Adapted
from benchmarks.hosts.small import load_host
from iqp_adapter.store import checkpoint


def main(
    run: Annotated[Path, typer.Option(help="folder of the host's run")],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the copies")],
    host: str = "codeformer",
) -> None:
    copy_records(run, out)
    shutil.copy(run / "score_scale.json", out / "score_scale.json")
    state = load_host(host, run).half().state_dict()
    checkpoint.save(out / host / "model", state, {"host": host, "licence": "CC BY 4.0"})
    for trained in recipes_in(run).values():
        for folder in trained.models if isinstance(trained.recipe, Adapted) else ():
            copy_weights(folder, out / folder.relative_to(run))
    if (vqgan := vqgan_of(run)) is not None:
        copy_weights(vqgan.parent, out / vqgan.parent.relative_to(run))


def copy_weights(model: Path, out: Path) -> None:
    """The same weights in half precision, with the same config."""
    config, state = checkpoint.load(model)
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    checkpoint.save(out, halves, config)


if __name__ == "__main__":
    typer.run(main)
