"""`iqp bench`: which restorer is better, by which metrics, and how sure that is."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import Engine, Precision
from .signals import stopped_by_signals
from .terminal import cell, console, is_quiet, progress, say, say_left_out, shown

if TYPE_CHECKING:
    from ..bench.candidates import Candidate
    from ..bench.report import Report
    from ..bench.run import Benchmark
    from ..bench.test_sets import Sample


def bench(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="tiny, a folder, a Hub id; a host: a weight file, a known name; 'cmd: PROGRAM {input} {output}'; "
            "'dir: FOLDER' of outputs. By default tiny. This option and the lists below may be repeated."
        ),
    ] = None,
    adapter: Annotated[
        list[str] | None, typer.Option(help="Folder or Hub id of an adapter: the first for the first host, and so on.")
    ] = None,
    quality: Annotated[
        list[str] | None, typer.Option(help="best, any or a number from 0 to 1; by default best and any.")
    ] = None,
    dial: Annotated[int, typer.Option(help="Number of qualities from 0 to 1 for the curve of the dial.")] = 0,
    hq: Annotated[list[Path] | None, typer.Option(help="Folder of good faces, which are degraded by the seed.")] = None,
    lq: Annotated[
        list[str] | None,
        typer.Option(help="Folder of degraded faces, or of such folders; celeba-test, lfw-test, wider-test."),
    ] = None,
    gt: Annotated[
        list[Path] | None, typer.Option(help="Folder of originals: the first for the first --lq, and so on.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("-m", "--metric", help="Protocol, or short name; --list shows them.")
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="Named score with its metrics: ntire2025, ntire2026, ntire2026-readme.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="PROTOCOL=FILE", help="Local file of a metric; of two files, in the order of --list."),
    ] = None,
    optimised: Annotated[
        list[str] | None,
        typer.Option(help="Metric that a model was made to raise, if the model does not state it."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Row from which differences are taken; by default the bare host, else input.")
    ] = None,
    scale: Annotated[float, typer.Option(help="Strength of the quality's guidance; 1 is as trained.")] = 1.0,
    fidelity: Annotated[float | None, typer.Option(help="Weight between detail (0) and likeness (1).")] = None,
    size: Annotated[int, typer.Option(min=64, help="Side of the pictures of --hq in pixels.")] = 512,
    draws: Annotated[int, typer.Option(min=1, help="Degradations of every picture of --hq.")] = 1,
    degradation: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="For --hq: kind=NAME (see --list), or an attribute: 'noise=[0, 4]'."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the degradations.")] = 0,
    timeout: Annotated[
        float,
        typer.Option(min=1, help="Seconds that a cmd: may take for a picture, on average; at least those of ten."),
    ] = 60,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only so many pictures of every test set.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps; by default the best one available.")] = None,
    engine: Annotated[Engine | None, typer.Option(help="What runs the models; by default exact torch.")] = None,
    precision: Annotated[Precision | None, typer.Option(help="Of the models.")] = None,
    title: Annotated[str, typer.Option(help="Of the report.")] = "Face restoration",
    pictures: Annotated[bool, typer.Option(help="Show pictures in the report.")] = True,
    listing: Annotated[bool, typer.Option("--list", help="Show protocols and test sets, and run nothing.")] = False,
    out: Annotated[Path, typer.Option("-o", "--output", help="Folder of report, pictures and scores.")] = Path("bench"),
) -> None:
    """Compare restorers. An interrupted run continues where it stopped; a new metric costs only its own work."""
    if listing:
        return _list()
    from ..bench.candidates import candidates
    from ..bench.run import Benchmark, place, take_folder
    from ..bench.selection import select
    from ..provenance import command

    say_left_out(hq or [])
    with stopped_by_signals("the same command goes on from here"):
        take_folder(out)
        where = place(device)
        degrading = {"size": size, "seed": seed, "draws": draws, "changes": _degradation(degradation or [])}
        samples = _samples(hq or [], lq or [], gt or [], out, limit, degrading)
        levels = [f"{step / max(dial - 1, 1):g}" for step in range(dial)]
        qualities = list(dict.fromkeys([*(quality or ["best", "any"]), *levels]))
        how = {"engine": engine, "precision": precision}
        found = candidates(model or ["tiny"], adapter or [], qualities, where, scale, fidelity, timeout, **how)
        raised = {name for one in found for name in one.conditioned_on} | set(optimised or [])
        protocols = select(metric or [], protocol or [], raised, any(sample.original for sample in samples))
        benchmark = Benchmark(
            found,
            samples,
            protocols,
            out,
            title=title,
            scores=protocol or [],
            weights=_weights(weights or []),
            device=where,
            baseline=baseline or _baseline(found),
            seed=seed,
            raised=frozenset(raised),
            facts={"command": command("iqp bench", options_of(sys.argv))},
        )
        report = _run(benchmark)
        if report is not None:
            _write(report if pictures else replace(report, images={}), out)
            _refuse_failures(report)


def options_of(words: Sequence[str]) -> Sequence[str]:
    """The options among the words of a command line, however this command was started."""
    return words[words.index("bench") + 1 :] if "bench" in words else words[1:]


def _samples(
    hq: list[Path], lq: list[str], gt: list[Path], out: Path, limit: int | None, degrading: dict[str, Any]
) -> list[Sample]:
    """The samples of every named test set."""
    from ..bench.names import names_apart
    from ..bench.test_sets import PUBLISHED, degraded, from_folder, published

    if not hq and not lq:
        raise ValueError("nothing to restore; give good faces by --hq FOLDER, or degraded ones by --lq FOLDER")
    if len(gt) > len(lq):
        raise ValueError(f"{len(gt)} --gt for {len(lq)} --lq; originals belong to the --lq of the same place")
    titles = iter(names_apart([*hq, *map(Path, lq)]))
    sets = [degraded(folder, out / "data" / (name := next(titles)), limit, name=name, **degrading) for folder in hq]
    for given, title, originals in zip_longest(lq, titles, gt):
        known = given in PUBLISHED and not originals
        sets.append(published(given, out / "published") if known else from_folder(Path(given), originals, title))
    return [sample for part in sets for sample in _first(part, limit)]


def _first(samples: list[Sample], limit: int | None) -> list[Sample]:
    """The first pictures of every test set."""
    if limit is None:
        return samples
    sets = dict.fromkeys(sample.dataset for sample in samples)
    return [one for name in sets for one in [sample for sample in samples if sample.dataset == name][:limit]]


def _degradation(words: list[str]) -> dict[str, Any]:
    from ..store.reading import yaml_text

    return {name: yaml_text(value, f"--degradation {name}", object) for name, value in _pairs("degradation", words)}


def _weights(words: list[str]) -> dict[str, list[Path]]:
    from ..bench.protocols import find

    files: dict[str, list[Path]] = {}
    for name, file in _pairs("weights", words):
        if not Path(file).is_file():
            raise FileNotFoundError(f"no weight file {file} for {name}")
        files.setdefault(find(name).id, []).append(Path(file))
    return files


def _pairs(option: str, words: list[str]) -> list[tuple[str, str]]:
    if wrong := [word for word in words if "=" not in word]:
        raise ValueError(f"--{option} {wrong[0]!r} has no '='; write NAME=VALUE")
    return [(name, value) for name, _, value in (word.partition("=") for word in words)]


def _baseline(found: Sequence[Candidate]) -> str:
    """The bare host of the first adapter, where there is one."""
    from ..bench.candidates import ADAPTED, INPUT

    adapted = next((one.model for one in found if one.model.endswith(ADAPTED)), "")
    return adapted.removesuffix(ADAPTED) or INPUT


def _run(benchmark: Benchmark) -> Report | None:
    from rich.markup import escape

    from ..bench.run import run

    with progress(transient=True, disable=is_quiet() or os.environ.get("RANK", "0") != "0") as bar:
        task = bar.add_task("", total=None)
        return run(
            benchmark,
            lambda what, done, of: bar.update(task, description=escape(shown(what)), completed=done, total=of),
        )


def _write(report: Report, out: Path) -> None:
    from ..bench.page import write_page
    from ..bench.writers import write_all

    files = write_all(report, out)
    write_page(report, out / "report.html")
    files.append(out / "report.html")
    _show(report)
    say(f"wrote {', '.join(map(str, files))}")


def _show(report: Report) -> None:
    """The means as a table, and what was not run."""
    from rich.table import Column, Table

    from ..bench.report import summary

    rows, columns = summary(report), [column for column in report.columns if not column.skipped]
    table = Table(Column(f"N = {len(report.pictures)}", no_wrap=True))
    for column in columns:
        title = column.label.replace("/", "/\n", 1)
        table.add_column(f"{title} {'↓' if column.lower_better else '↑'}", justify="right")
    for method in report.methods:
        means = [report.set_values[method.name].get(c.id, rows[method.name].get(c.id, (None,))[0]) for c in columns]
        table.add_row(cell(method.name), *("–" if mean is None else f"{mean:.4g}" for mean in means))
    screen = console()
    screen.print(table)
    for column in report.columns:
        if column.skipped:
            screen.print(cell(f"not run: {column.label}: {column.skipped}"), style="yellow", soft_wrap=True)


def _refuse_failures(report: Report) -> None:
    """Names the pictures that methods failed on, and ends with status 1."""
    from ..bench.report import FAILED

    failed = {method.name: method.facts[FAILED] for method in report.methods if FAILED in method.facts}
    for name, pictures in failed.items():
        for picture, reason in pictures.items():
            say(f"failed: {name}: {picture}: {reason}", error=True)
    if failed:
        raise typer.Exit(1)


def _list() -> None:
    from rich.table import Column, Table

    from ..bench.ntire import THRESHOLDS
    from ..bench.protocols import PROTOCOLS
    from ..bench.test_sets import PUBLISHED
    from ..degradations.kinds import DEGRADATIONS

    table = Table(Column("protocol", no_wrap=True), "better", "compares with", Column("needs", overflow="fold"), "note")
    for one in PROTOCOLS.values():
        needs = ", ".join([*one.missing, *(file.name for file in one.download)])
        against = "" if one.kind == "no-reference" else one.kind
        table.add_row(one.id, "lower" if one.lower_better else "higher", against, needs, one.note)
    screen = console()
    screen.print(table)
    screen.print(
        f"and every metric of pyiqa by its name; scores: {', '.join(THRESHOLDS)}; sets: {', '.join(PUBLISHED)}; "
        f"degradations: {', '.join(DEGRADATIONS)}"
    )
