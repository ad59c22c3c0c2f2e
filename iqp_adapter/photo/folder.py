"""Runs over files: nothing overwritten, nothing half-written, a failure stops no other file, a run can be resumed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..pictures import Photo, SeveralPicturesError, one_line, read_photo, target_format
from ..restorer import Restorer
from ..store.files import atomic_path, sha256_of
from ..store.leases import Leases
from ..store.temporary import remove_strays
from .background import Background
from .centerface import CenterFace
from .detect import Detector
from .journal import RECORD, Comparison, Journal, Result, Written
from .options import Embedder, FaceScorer, Options
from .outcomes import Outcome, PhotoReport, Status, check_report, write_report
from .pipeline import Pipeline, check_size
from .plan import Task, is_file, leases_of, plan
from .result import Restored
from .settings import Settings
from .side_by_side import side_by_side


def restore_files(
    sources: Sequence[Path] | Mapping[Path, Path],
    out: Path,
    model: Restorer,
    *,
    detector: Detector | None = None,
    scorers: Sequence[FaceScorer] = (),
    embedder: Embedder | None = None,
    background: Background | None = None,
    compare: bool = False,
    report: Path | None = None,
    dry_run: bool = False,
    **options: Any,
) -> Generator[PhotoReport, None, None]:
    """Restores picture files into a folder, or one file into a new file; what earlier runs completed is skipped.

    Several runs with the same options, on one machine or on many, may share an output folder: each photo is restored by
    one of them, and all report it. What a run that died was at is taken over (see `store/leases`). A generator that is
    left waiting keeps the photos that it has begun, and other runs wait for them.

    Args:
        sources: picture files, as `list_images` finds them, or each with the place of its result below `out`, as
            `find_photos` does.
        out: folder for the results, made where it is missing; for one source, a file name with an image suffix will do.
        compare: write before and after side by side as well, for `a.png` as `a.png.compare.png`.
        report: write what was done here as JSON, also when the run is interrupted.
        dry_run: only say what would be done; nothing is written.
        model, detector, scorers, embedder, background, options: as for `restore_photos`.

    Yields:
        What was done to each file, failures too, as soon as it is known.

    Raises:
        ValueError: where a result would take the place of a source, or two files that are written have the same name;
            where the model is changed during the run.
        OSError: where the output folder cannot be made or has a foreign journal, or a run with other options or
            weights writes to it; where the report cannot be written or would overwrite another file.
    """
    pipeline = Pipeline(model, Options(**options), detector or CenterFace(), scorers, embedder, background)
    tasks, is_one = plan(sources, out, compare, report), is_file(sources, out)
    run = Run(pipeline, out, is_one, compare)
    if dry_run:
        yield from run.foreseen(tasks)
        return
    prepare(tasks, out, is_one, report)
    with run.leases:
        yield from reported(run.over(tasks), report, lambda: run.settings.described)


def prepare(tasks: Iterable[Task], out: Path, is_one: bool, report: Path | None) -> None:
    """Makes the folder of results, and removes what killed processes left there.

    Raises:
        OSError: where the folder cannot be made, or the report cannot be written or would overwrite another file.
    """
    (out.parent if is_one else out).mkdir(parents=True, exist_ok=True)
    if report is not None:
        check_report(report)
    for folder in {task.target.parent for task in tasks}:
        if folder.is_dir():
            remove_strays(folder)


def reported(
    reports: Generator[PhotoReport, None, None], path: Path | None, settings: Callable[[], dict[str, Any]]
) -> Generator[PhotoReport, None, None]:
    """Hands out reports, and writes them in the end, also when the run is interrupted, unless no settings are known."""
    done: list[PhotoReport] = []
    try:
        with closing(reports):
            for entry in reports:
                done.append(entry)
                yield entry
    finally:
        if path is not None and (described := settings()):
            write_report(path, done, described)


_POLL = 0.5
"""Seconds until photos that other runs are at are asked for again."""


class Run:
    """Takes tasks through the pipeline and turns what happens to each into a report.

    Args:
        out: the folder of results; with `is_one`, the one result.
    """

    def __init__(self, pipeline: Pipeline, out: Path, is_one: bool, compare: bool) -> None:
        self.pipeline = pipeline
        self.compare = compare
        self.settings = Settings(pipeline, compare)
        self.leases = Leases(leases_of(out, is_one), self.settings.digest)
        self.journal = Journal(None if is_one else out / RECORD, self.leases.alone)
        self.read: dict[Path, str] = {}
        """Hash of the bytes of each source that is in the pipeline."""

    def foreseen(self, tasks: Iterable[Task]) -> Iterator[PhotoReport]:
        """What would be done."""
        for task in tasks:
            try:
                earlier = self._earlier(task)
                self.journal.refuse_foreign(task.target, Result)
            except OSError as error:
                yield _failed(task, error)
            else:
                yield earlier or PhotoReport(str(task.source), str(task.target), "planned")

    def over(self, tasks: Iterable[Task]) -> Generator[PhotoReport, None, None]:
        """Restores all that no earlier run has completed; what another run is at is asked for again afterwards.

        It is called inside of `leases`, once or again for further tasks.
        """
        left: list[Task] = []
        for task in tasks:
            earlier = self._earlier(task)
            if earlier is None:
                left.append(task)
            else:
                yield earlier
        while left:
            left = yield from self._round(left)

    def _round(self, tasks: Sequence[Task]) -> Generator[PhotoReport, None, list[Task]]:
        """Restores what is free; returns what other runs are at."""
        by_source, left = {task.source: task for task in tasks}, list[Task]()
        with closing(self.pipeline.run(tasks, self._source)) as done:
            for each in done:
                if isinstance(each, Restored):
                    each = self._write(each, by_source)
                if isinstance(each, Task):
                    left.append(each)
                else:
                    self.leases.release(self.journal.name_of(Path(each.output)))
                    yield each
        if len(left) == len(tasks):
            time.sleep(_POLL)
        return left

    def _earlier(self, task: Task) -> PhotoReport | None:
        """The report of a run that completed this very task."""
        entry = self.journal.of(task.target, Result)
        if entry is None or entry.settings != self.settings.digest or not _holds(task.source, entry.source):
            return None
        if entry.report.failures:  # it may succeed this time
            return None
        if any(face.outcome is Outcome.LARGE and face.detail is None for face in entry.report.faces):
            return None  # earlier versions left faces alone for their pixels
        if self.compare and entry.report.status == "restored" and not os.path.lexists(task.comparison):
            return None
        return replace(entry.report, source=str(task.source), output=str(task.target), status="complete")

    def _source(self, task: Task) -> Photo | PhotoReport | Task:
        """Reads a source; one that needs no restoring or cannot be restored becomes a report; another run's stays."""
        try:
            if not self.leases.take(self.journal.name_of(task.target)):
                return task
            return self._earlier(task) or self._opened(task)  # by a run beside this one
        except SeveralPicturesError as error:
            return replace(_failed(task, error), status="left out")
        except (OSError, ValueError) as error:
            return _failed(task, error)

    def _opened(self, task: Task) -> Photo:
        self.journal.refuse_foreign(task.target, Result)
        self.read[task.source] = sha256_of(task.source)
        photo = read_photo(task.source)
        self._refuse_changed(task.source)
        check_size(photo, self.pipeline.options.upscale)
        target_format(photo, task.target)
        return photo

    def _refuse_changed(self, source: Path) -> None:
        """Raises OSError where a source does not hold what was read: neither its copy nor its hash would be right."""
        if not _holds(source, self.read[source]):
            raise OSError(f"{source} changed while it was restored; the same command takes it again")

    def _write(self, restored: Restored, tasks: Mapping[Path, Task]) -> PhotoReport | Task:
        """Writes a result, unless another run has taken the photo over since this one stood still."""
        assert restored.photo.path is not None  # all of them were read from files
        task = tasks[restored.photo.path]
        self.settings.refuse_changes()
        report = _report(restored, task)
        try:
            if not self.leases.holds(name := self.journal.name_of(task.target)):
                self.leases.release(name)
                return task
            if restored.failure:
                return replace(report, status="failed", note=restored.failure)
            if self.compare and restored.changed:
                self._put(
                    task.comparison,
                    lambda partial: side_by_side(restored).save(partial, "PNG"),
                    lambda sha256: Comparison(self.journal.name_of(task.comparison), sha256),
                )
            self._put(
                task.target,
                lambda partial: self._encode(restored, partial, task),
                lambda sha256: self._result(task, sha256, report),
            )
        except OSError as error:
            return replace(_failed(task, error), width=report.width, height=report.height)
        finally:
            del self.read[task.source]
        return report

    def _encode(self, restored: Restored, partial: Path, task: Task) -> None:
        restored.encode(partial, target_format(restored.photo, task.target))
        self._refuse_changed(task.source)

    def _result(self, task: Task, sha256: str, report: PhotoReport) -> Result:
        name, batch = self.journal.name_of(task.target), self.pipeline.batch.size
        return Result(name, sha256, self.settings.digest, self.read[task.source], report, batch)

    def _put(self, target: Path, write: Callable[[Path], None], entry: Callable[[str], Written]) -> None:
        """Writes a file and notes it, by its hash, before it takes its name."""

        def put(partial: Path, path: Path) -> None:
            self.journal.put(partial, path, entry(sha256_of(partial)))

        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target, put) as partial, one_line(target):
            write(partial)


def _report(restored: Restored, task: Task) -> PhotoReport:
    height, width = restored.photo.pixels.shape[:2]
    status: Status = "restored" if restored.changed else "unchanged"
    note, source, target = restored.photo.note, str(task.source), str(task.target)
    return PhotoReport(source, target, status, note, width, height, restored.faces, restored.seconds)


def _failed(task: Task, error: OSError | ValueError) -> PhotoReport:
    reason = getattr(error, "strerror", None)
    return PhotoReport(
        str(task.source), str(task.target), "failed", f"{task.target}: {reason}" if reason else str(error)
    )


def _holds(path: Path, digest: str) -> bool:
    try:
        return sha256_of(path) == digest
    except OSError:
        return False
