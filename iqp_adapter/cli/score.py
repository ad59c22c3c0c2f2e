"""`iqp score`: the scores of image files as a table, CSV and JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .signals import ended
from .terminal import cell, say, say_left_out

if TYPE_CHECKING:
    from ..scoring.score_cache import ScoreCache
    from ..scoring.score_files import FileScores
    from ..scoring.scorer import Scorer


def default_cache() -> Path:
    """A file in the user's folder of caches; where the system knows no home of the user, a place that never opens."""
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.devnull if folder.startswith("~") else folder, "iqp_adapter", "scores.sqlite")


CACHE = default_cache()


def score(
    paths: Annotated[list[str], typer.Argument(help="Images, folders of images, or quoted globs.")],
    metric: Annotated[list[str], typer.Option("-m", "--metric", help="Metric; may be repeated.")] = ["iqp-lite"],  # noqa: B006
    csv_file: Annotated[Path | None, typer.Option("--csv", help="File for a table of the scores.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for the scores and the protocols of the metrics.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or mps; by default the fastest one available.")] = None,
    batch: Annotated[
        int, typer.Option(min=1, help="Number of images that are scored together; fewer, where they are large.")
    ] = 8,
    weights: Annotated[Path | None, typer.Option(help="Local weight file of the metric, if there is only one.")] = None,
    cache: Annotated[Path, typer.Option(help="File that caches scores by image content.")] = CACHE,
) -> None:
    """Score images by no-reference metrics. A second run, or one after an interruption, scores only new images."""
    from ..scoring.scorer import Scorer
    from ..store.files import list_images

    if weights and len(metric) > 1:
        raise ValueError(f"--weights belongs to one metric, got {', '.join(metric)}; score them one after the other")
    _check_outputs([file for file in (csv_file, json_file) if file], cache)
    files = list_images(paths)
    say_left_out(paths)
    scorers = [Scorer(name, device=device, weights=weights) for name in dict.fromkeys(metric)]
    with _opened(cache) as known:
        results = _scored(files, scorers, known, batch)
    _show(results, scorers)
    if csv_file:
        _write_csv(csv_file, results, scorers)
    if json_file:
        _write_json(json_file, results, scorers)
    if any(file.error for file in results):
        raise typer.Exit(1)


def _check_outputs(outputs: list[Path], cache: Path) -> None:
    """Refuses before the work what could not be written after it, or would take the place of another file."""
    if taken := [str(file) for file in outputs if os.path.lexists(file)]:
        raise FileExistsError(f"{' and '.join(taken)} would be overwritten; name another file")
    for file in outputs:
        if not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
            raise OSError(f"{file.parent} is no folder that {file.name} can be written into; make it first")
    if len({file.resolve() for file in (*outputs, cache)}) <= len(outputs):
        raise ValueError("--csv, --json and --cache name one file twice; give each a file of its own")


@contextmanager
def _opened(path: Path) -> Iterator[ScoreCache]:
    """The cache; where the default one does not open, a notice says so, and scores are not kept."""
    from ..scoring.score_cache import ScoreCache

    try:
        cache = ScoreCache(path)
    except OSError as error:
        if path != CACHE:
            raise
        say(f"scores are not kept: {error}", error=True)
        cache = ScoreCache(":memory:")
    with cache:
        yield cache


def _scored(files: list[Path], scorers: list[Scorer], cache: ScoreCache, batch: int) -> list[FileScores]:
    """Scores files under a bar of progress; an interruption says what is left of the work."""
    from rich.progress import Progress

    from ..scoring.score_files import score_files

    results: list[FileScores] = []
    try:
        with Progress(transient=True) as progress:
            for file in progress.track(score_files(files, scorers, cache, batch), len(files), description="scoring"):
                results.append(file)
    except KeyboardInterrupt as stop:
        kept = f"their scores are in {cache.path}, and the same command goes on from there" if cache.keeps else ""
        done = f"interrupted after {len(results)} of {len(files)} images"
        raise ended(stop, f"{done}; {kept or 'scores were not kept'}") from None
    return results


def _show(results: list[FileScores], scorers: list[Scorer]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    down, up = ("(lower is better)", "(higher is better)") if console.options.ascii_only else ("↓", "↑")
    table = Table("file")
    for scorer in scorers:
        table.add_column(f"{scorer.metric} {down if scorer.lower_better else up}", justify="right")
    for file in results:
        if file.scores:
            table.add_row(cell(file.path), *(_number(file, scorer) for scorer in scorers))
    console.print(table)
    for file in results:
        if file.error:
            console.print(cell(f"not scored: {file.path}: {file.error}"), style="red", soft_wrap=True)


def _number(file: FileScores, scorer: Scorer) -> str:
    return f"{file.scores[scorer.metric]:.3f}" if scorer.metric in file.scores else ""


def _write_csv(path: Path, results: list[FileScores], scorers: list[Scorer]) -> None:
    from ..store.files import put_new
    from ..store.table import write_csv

    names = [scorer.metric for scorer in scorers]
    rows = [[file.path, *(file.scores.get(name, "") for name in names), file.error] for file in results]
    write_csv(path, [["file", *names, "error"], *rows], put_new)


def _write_json(path: Path, results: list[FileScores], scorers: list[Scorer]) -> None:
    from ..store.files import atomic_path, put_new

    report = {
        "metrics": {s.metric: {"protocol": s.protocol, "lower_better": s.lower_better} for s in scorers},
        "files": [asdict(file) | {"path": str(file.path)} for file in results],
    }
    with atomic_path(path, put_new) as partial:
        partial.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
