"""Puts what the runs of a small host have made into the results: weights in half precision, and how they were made.

python -m benchmarks.hosts.record --run RUN --host codeformer

Of the host that learned on without an adapter only the record is kept. Sample grids stay behind: they show the faces of
the training set.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.hosts.adapt import Variant, load_host, vqgan_of
from benchmarks.hosts.compare import finished
from benchmarks.hosts.small import RESULTS
from benchmarks.native.record import keep_records
from iqp_adapter.store import checkpoint


def main(
    run: Annotated[Path, typer.Option(help="folder of the host's run")],
    host: str = "codeformer",
    out: Annotated[Path, typer.Option("-o", "--out", help="folder of the results")] = RESULTS,
) -> None:
    kept = out / host
    shutil.rmtree(kept, ignore_errors=True)
    keep_records(run, kept)
    shutil.copy(run / "score_scale.json", kept / "score_scale.json")
    checkpoint.save(
        kept / host / "model", load_host(host, run).half().state_dict(), {"host": host, "licence": "CC BY 4.0"}
    )
    for folder in finished(run, Variant.ADAPTER):
        keep_weights(folder, kept / folder.relative_to(run))
    if (vqgan := vqgan_of(run)) is not None:
        keep_weights(vqgan.parent, kept / vqgan.parent.relative_to(run))


def keep_weights(model: Path, kept: Path) -> None:
    """The same weights in half precision, with the same config."""
    config, state = checkpoint.load(model)
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    checkpoint.save(kept, halves, config)


if __name__ == "__main__":
    typer.run(main)
