"""`iqp score`: the scores of image files as a table, CSV and JSON."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal import cell, say_left_out

if TYPE_CHECKING:
    from ..scoring.score_cache import FileScores
    from ..scoring.scorer import Scorer

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "iqp_adapter" / "scores.sqlite"


def score(
    paths: Annotated[list[str], typer.Argument(help="Images, folders of images, or quoted globs.")],
    metric: Annotated[list[str], typer.Option("-m", "--metric", help="Metric; may be repeated.")] = ["iqp-lite"],  # noqa: B006
    csv_file: Annotated[Path | None, typer.Option("--csv", help="File for a table of the scores.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for the scores and the protocols of the metrics.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or mps; by default the fastest one available.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Number of images that are scored together.")] = 8,
    weights: Annotated[Path | None, typer.Option(help="Local weight file of the metric, if there is only one.")] = None,
    cache: Annotated[Path, typer.Option(help="File that caches scores by image content.")] = CACHE,
) -> None:
    """Score images by no-reference metrics. A second run, or one after an interruption, scores only new images."""
    from rich.progress import Progress

    from ..scoring.score_cache import ScoreCache, score_files
    from ..scoring.scorer import Scorer
    from ..store.files import list_images

    if weights and len(metric) > 1:
        raise ValueError(f"--weights belongs to one metric, got {', '.join(metric)}; score them one after the other")
    taken = [str(file) for file in (csv_file, json_file) if file and file.exists()]
    if taken:
        raise FileExistsError(f"{' and '.join(taken)} would be overwritten; name another file")
    files = list_images(paths)
    say_left_out(paths)
    scorers = [Scorer(name, device=device, weights=weights) for name in dict.fromkeys(metric)]
    with ScoreCache(cache) as known, Progress(transient=True) as progress:
        results = list(progress.track(score_files(files, scorers, known, batch), len(files), description="scoring"))
    _show(results, scorers)
    if csv_file:
        _write_csv(csv_file, results, scorers)
    if json_file:
        _write_json(json_file, results, scorers)
    if any(file.error for file in results):
        raise typer.Exit(1)


def _show(results: list[FileScores], scorers: list[Scorer]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("file")
    for scorer in scorers:
        table.add_column(f"{scorer.metric} {'↓' if scorer.lower_better else '↑'}", justify="right")
    for file in results:
        if file.scores:
            table.add_row(cell(file.path), *(_cell(file, scorer) for scorer in scorers))
    console = Console()
    console.print(table)
    for file in results:
        if file.error:
            console.print(cell(f"not scored: {file.path}: {file.error}"), style="red", soft_wrap=True)


def _cell(file: FileScores, scorer: Scorer) -> str:
    return f"{file.scores[scorer.metric]:.3f}" if scorer.metric in file.scores else ""


def _write_csv(path: Path, results: list[FileScores], scorers: list[Scorer]) -> None:
    from ..store.files import atomic_path

    names = [scorer.metric for scorer in scorers]
    with atomic_path(path) as partial, partial.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", *names, "error"])
        table.writerows([file.path, *(file.scores.get(name, "") for name in names), file.error] for file in results)


def _write_json(path: Path, results: list[FileScores], scorers: list[Scorer]) -> None:
    from ..store.files import atomic_path

    report = {
        "metrics": {s.metric: {"protocol": s.protocol, "lower_better": s.lower_better} for s in scorers},
        "files": [asdict(file) | {"path": str(file.path)} for file in results],
    }
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(report, indent=2) + "\n")
