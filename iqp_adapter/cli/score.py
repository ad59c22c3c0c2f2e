"""`iqp score`: the scores of image files as a table, CSV and JSON."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from .ray import RAY, wants_gpu
from .signals import ended
from .terminal import STANDARD_OUTPUT, cell, console, progress, put_json, say, say_left_out

if TYPE_CHECKING:
    from ..core.quality import ScoreScale
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
        Path | None, typer.Option("--json", help="File for scores and protocols; - prints them, and no table.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or mps; by default the fastest one available.")] = None,
    batch: Annotated[
        int, typer.Option(min=1, help="Number of images that are scored together; fewer, where they are large.")
    ] = 8,
    weights: Annotated[Path | None, typer.Option(help="Local weight file of the metric, if there is only one.")] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            help="Score scale by which the quality is shown: of the metric, or published, as ffhq/topiq-face."
        ),
    ] = None,
    scales: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with score scales of the members of an ensemble, by their names; two quantiles are minimum "
            "and maximum, and the name of a published scale stands for that."
        ),
    ] = None,
    cache: Annotated[Path, typer.Option(help="File that caches scores by image content.")] = CACHE,
    ray: Annotated[str | None, typer.Option(metavar="WHERE", help=RAY)] = None,
) -> None:
    """Score images by no-reference metrics, or by an ensemble of them such as "mean(niqe, piqe)".

    A "minmax-mean(niqe, piqe)" scales its members by minimum and maximum, a "mean(niqe, piqe)" by quantiles.

    A second run, or one after an interruption, scores only new images.
    """
    from ..core.metrics import canonical
    from ..scoring.score_files import score_files
    from ..store.files import list_images

    if weights and len(metric) > 1:
        raise ValueError(f"--weights belongs to one metric, got {', '.join(metric)}; score them one after the other")
    _check_outputs([file for file in (csv_file, json_file) if file and file != STANDARD_OUTPUT], cache)
    files = list_images(paths)
    say_left_out(paths)
    names = list(dict.fromkeys(map(canonical, metric)))
    make = partial(_scorers, names, weights, _members_scales(names, scales))
    scorers = make(device if ray is None else "cpu")
    graded = _graded(scorers, scale)
    with _opened(cache) as known:
        if ray is None:
            coming = score_files(files, scorers, known, batch)
        else:
            from .. import cluster

            spread = partial(cluster.score_files, ray=ray, gpu=wants_gpu(device))
            coming = spread(files, partial(make, device), known, batch)
        results = sorted(_scored(files, coming, known), key=lambda file: file.path)
    _say_stale(results, scorers)
    if json_file != STANDARD_OUTPUT:
        _show(results, scorers, graded)
    if csv_file:
        _write_csv(csv_file, results, scorers, graded)
    if json_file:
        put_json(json_file, _report(results, scorers, graded))
    if any(file.error for file in results):
        raise typer.Exit(1)


def _scorers(
    names: list[str], weights: Path | None, scales: dict[str, dict[str, ScoreScale]], device: str | None
) -> list[Scorer]:
    from ..scoring.scorer import Scorer

    return [Scorer(name, device=device, weights=weights, scales=scales[name]) for name in names]


def _check_outputs(outputs: list[Path], cache: Path) -> None:
    """Refuses before the work what could not be written after it, or would take the place of another file."""
    if taken := [str(file) for file in outputs if os.path.lexists(file)]:
        raise FileExistsError(f"{' and '.join(taken)} would be overwritten; name another file")
    for file in outputs:
        if not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
            raise OSError(f"{file.parent} is no folder that {file.name} can be written into; make it first")
    if len({file.resolve() for file in (*outputs, cache)}) <= len(outputs):
        raise ValueError("--csv, --json and --cache name one file twice; give each a file of its own")


def _members_scales(names: list[str], file: Path | None) -> dict[str, dict[str, ScoreScale]]:
    """What a file of scales says of the members of each metric."""
    from ..core.metrics import members
    from ..scoring.scales import scales_of_members

    if file and not any(map(members, names)):
        raise ValueError(f"--scales is for ensembles, like 'mean(niqe, piqe)', and {', '.join(names)} is none")
    return {name: scales_of_members(name, file) if file else {} for name in names}


class Grade(NamedTuple):
    """The score scale by which the quality of one metric is shown, and its name."""

    name: str
    scale: ScoreScale

    def quality(self, score: float) -> float:
        import torch

        return float(self.scale.quality(torch.tensor(score, dtype=torch.float64)))


def _graded(scorers: list[Scorer], wanted: str | None) -> dict[str, Grade]:
    """The scale of every metric that has some: the wanted one, else its default."""
    if wanted is not None:
        _refuse_unknown(wanted, scorers)
    names = {scorer.metric: wanted if wanted in scorer.scales else scorer.default_scale for scorer in scorers}
    return {one.metric: Grade(name, one.scales[name]) for one in scorers if (name := names[one.metric])}


def _refuse_unknown(wanted: str, scorers: list[Scorer]) -> None:
    """A published scale is of one metric; the name of a set of pictures is one for every metric with scales."""
    from ..scoring.scales import PUBLISHED, named_scale

    if wanted.startswith(PUBLISHED):
        if not any(wanted in scorer.scales for scorer in scorers):
            named_scale(wanted, scorers[0].metric)
        return
    having = [scorer for scorer in scorers if scorer.default_scale]
    if not having:
        raise ValueError(f"--scale {wanted!r}: {', '.join(s.metric for s in scorers)} has no scales; leave it out")
    for scorer in having:
        if wanted not in scorer.scales:
            raise ValueError(f"unknown --scale {wanted!r}; {scorer.metric} has {', '.join(scorer.scales)}")


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


def _scored(files: list[Path], coming: Iterable[FileScores], cache: ScoreCache) -> list[FileScores]:
    """Scores files under a bar of progress; an interruption says what is left of the work."""

    results: list[FileScores] = []
    try:
        with progress(transient=True) as bar:
            for file in bar.track(coming, len(files), description="scoring"):
                results.append(file)
    except KeyboardInterrupt as stop:
        kept = f"their scores are in {cache.path}, and the same command goes on from there" if cache.keeps else ""
        done = f"interrupted after {len(results)} of {len(files)} images"
        raise ended(stop, f"{done}; {kept or 'scores were not kept'}") from None
    return results


def _say_stale(results: list[FileScores], scorers: list[Scorer]) -> None:
    for scorer in scorers:
        if stale := sum(scorer.metric in file.stale for file in results):
            earlier = " or ".join(scorer.earlier)
            say(
                f"{stale} of {len(results)} images had stale scores in the cache, by {earlier}, not comparable with "
                f"{scorer.metric}; they are scored again",
                error=True,
            )


def _show(results: list[FileScores], scorers: list[Scorer], graded: dict[str, Grade]) -> None:
    from rich.table import Table

    screen = console()
    down, up = ("(lower is better)", "(higher is better)") if screen.options.ascii_only else ("↓", "↑")
    table = Table("file")
    for scorer in scorers:
        table.add_column(f"{scorer.metric} {down if scorer.lower_better else up}", justify="right")
        if grade := graded.get(scorer.metric):
            table.add_column(cell(f"quality by '{grade.name}'"), justify="right")
    for file in results:
        if file.scores:
            numbers = [number for scorer in scorers for number in _numbers(file, scorer.metric, graded)]
            table.add_row(cell(file.path), *("" if number is None else f"{number:.3f}" for number in numbers))
    screen.print(table)
    for file in results:
        if file.error:
            screen.print(cell(f"not scored: {file.path}: {file.error}"), style="red", soft_wrap=True)


def _numbers(file: FileScores, metric: str, graded: dict[str, Grade]) -> list[float | None]:
    """The score of a file, and its quality where the metric has a scale; None where there is no score."""
    score = file.scores.get(metric)
    return [score, *([None if score is None else graded[metric].quality(score)] if metric in graded else [])]


def _write_csv(path: Path, results: list[FileScores], scorers: list[Scorer], graded: dict[str, Grade]) -> None:
    from ..store.files import put_new
    from ..store.table import write_csv

    quality = {metric: "quality" if len(graded) == 1 else f"quality of {metric}" for metric in graded}
    heads = [head for one in scorers for head in (one.metric, quality.get(one.metric)) if head]
    rows = [
        [file.path, *(number for one in scorers for number in _numbers(file, one.metric, graded)), file.error]
        for file in results
    ]
    write_csv(path, [["file", *heads, "error"], *rows], put_new)


def _report(results: list[FileScores], scorers: list[Scorer], graded: dict[str, Grade]) -> dict[str, Any]:
    return {
        "metrics": {scorer.metric: _described(scorer, graded) for scorer in scorers},
        "files": [_entries(file, graded) for file in results],
    }


def _described(scorer: Scorer, graded: dict[str, Grade]) -> dict[str, Any]:
    from ..scoring.scales import digest_of

    grade = graded.get(scorer.metric)
    scale = {"scale": {"name": grade.name, "sha256": digest_of(grade.scale)}} if grade else {}
    return {"protocol": scorer.protocol, "lower_better": scorer.lower_better, **scale}


def _entries(file: FileScores, graded: dict[str, Grade]) -> dict[str, Any]:
    qualities = {metric: graded[metric].quality(score) for metric, score in file.scores.items() if metric in graded}
    quality = {"quality": qualities} if graded else {}
    return {"path": str(file.path), "content": file.content, "scores": file.scores, **quality, "error": file.error}
