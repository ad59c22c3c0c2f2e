"""`iqp score`: the scores of image files as a table, CSV and JSON."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

DEFAULT_CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "iqp_adapter" / "scores.sqlite"


def score(
    paths: Annotated[list[str], typer.Argument(help="image files, folders or globs")],
    metric: Annotated[list[str], typer.Option("--metric", "-m", help="metric name, repeatable")] = ["iqp-lite"],
    csv_file: Annotated[Path | None, typer.Option("--csv", help="write the table here")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write scores and protocols here")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps; by default the best there is")] = None,
    batch: Annotated[int, typer.Option(min=1, help="images scored together")] = 8,
    weights: Annotated[Path | None, typer.Option(help="local weight file, for a single metric")] = None,
    cache: Annotated[Path, typer.Option(help="file that remembers scores")] = DEFAULT_CACHE,
) -> None:
    """Score images by one or more no-reference metrics; scores are remembered, so a second run is quick."""
    from rich.progress import track

    from iqp_adapter.files import list_images
    from iqp_adapter.score_cache import ScoreCache, score_files
    from iqp_adapter.scorer import Scorer
