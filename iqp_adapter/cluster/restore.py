"""Restoring photos on a cluster: `photo.restore_files`, by actors that share an output as several runs do."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ..photo.centerface import CenterFace
from ..photo.folder import Run, prepare, reported
from ..photo.options import Options
from ..photo.outcomes import PhotoReport
from ..photo.pipeline import Pipeline
from ..photo.plan import Task, is_file, plan
from .spread import Row, Worker, spread

Parts = Callable[[], Mapping[str, Any]]
"""Makes `model`, and where they are wanted `detector`, `scorers`, `embedder` and `background`, where they are used."""


def restore_files(
    sources: Sequence[Path] | Mapping[Path, Path],
    out: Path,
    parts: Parts,
    *,
    ray: str,
    actors: int | None = None,
    gpu: bool = True,
    compare: bool = False,
    report: Path | None = None,
    **options: Any,
) -> Generator[PhotoReport, None, None]:
    """Restores picture files into a folder by actors of Ray Data, as `photo.restore_files` does by this process.

    Photos and results are on storage that all machines see at the same path. Each photo is restored once, also where a
    machine dies: what it was at is taken over (see `store/leases`). Reports name files by their absolute paths.

    Args:
        sources, out, compare, report, options: as for `photo.restore_files`.
        parts: makes `model` and the other parts of a run, as arguments of `photo.restore_files`; it is called once in
            each actor, and is pickled, as a function of a module is, or `functools.partial(dict, model=...)`.
        ray, actors, gpu: where, and by how many actors, as `address` and so on of `spread`.

    Yields:
        What was done to each file, as soon as it is known, in any order.

    Raises:
        ImportError: without the extra `ray`.
        ConnectionError: where no cluster is at the address.
        ValueError, OSError: as `photo.restore_files`, and what `parts` raises.
    """
    asked = Options(**options)
    places = {source.absolute(): place for source, place in _placed(sources).items()}
    out = out.absolute()
    tasks, is_one = plan(places, out, compare, report), is_file(places, out)
    prepare(tasks, out, is_one, report)
    rows = [[str(task.source), str(task.target)] for task in tasks]
    settings: dict[str, Any] = {}

    def reports() -> Generator[PhotoReport, None, None]:
        for done, described in spread(rows, partial(_worker, parts, asked, out, is_one, compare), ray, actors, gpu):
            settings.update(described)
            yield PhotoReport.from_dict(done)

    yield from reported(reports(), report, lambda: settings)


def _placed(sources: Sequence[Path] | Mapping[Path, Path]) -> Mapping[Path, Path]:
    return sources if isinstance(sources, Mapping) else {source: Path(source.name) for source in sources}


def _worker(parts: Parts, options: Options, out: Path, is_one: bool, compare: bool) -> Worker:
    """Restores the photos that an actor is given; runs in the actor."""
    made = dict(parts())
    pipeline = Pipeline(made.pop("model"), options, made.pop("detector", None) or CenterFace(), **made)
    run = Run(pipeline, out, is_one, compare)

    def work(rows: Sequence[Row]) -> Iterator[Row]:
        with run.leases:
            for report in run.over([Task(Path(source), Path(target)) for source, target in rows]):
                yield [asdict(report), run.settings.described]

    return work
