"""Runs over files: nothing is overwritten, nothing half-written, a failure stops no other file, a run can be resumed.

The output folder keeps a record, one line per result, written just before the result takes its name. A file there
may be replaced only where its content is what the record says, that is, where it is an earlier result.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..restorer import Restorer
from ..store.files import IMAGE_SUFFIXES, atomic_path, sha256_of
from ..version import __version__
from .centerface import CenterFace
from .detect import Detector
from .io import Photo, one_line, read_photo, target_format
from .options import Embedder, FaceScorer, Options
from .outcomes import PhotoReport, Status, check_report, write_report
from .pipeline import Pipeline, check_size
from .result import Restored
from .side_by_side import side_by_side

RECORD = ".iqp-restore.jsonl"


def restore_files(
    sources: Sequence[Path],
    out: Path,
    model: Restorer,
    *,
    detector: Detector | None = None,
    scorers: Sequence[FaceScorer] = (),
    embedder: Embedder | None = None,
    compare: bool = False,
    report: Path | None = None,
    **options: Any,
) -> Iterator[PhotoReport]:
    """Restores picture files into a folder, or one file into a new file; what earlier runs completed is skipped.

    Args:
        sources: picture files, as `list_images` finds them.
        out: folder for the results, made where it is missing; for one source, a file name with an image suffix will do.
        compare: write `<name>.compare.png` as well, before and after side by side.
        report: write what was done here as JSON, also when the run is interrupted.
        model, detector, scorers, embedder, options: as for `restore_photos`.

    Yields:
        What was done to each file, failures too, as soon as it is known.

    Raises:
        ValueError: where a result would take the place of a source, or two results have the same name.
        OSError: where the output folder cannot be made, or the report would overwrite another file.
    """
    pipeline = Pipeline(model, Options(**options), detector or CenterFace(), scorers, embedder)
    tasks = plan(sources, out)
    if report is not None:
        check_report(report)
    described = _describe(pipeline, compare)
    is_file = tasks[0].target == out if tasks else False
    (out.parent if is_file else out).mkdir(parents=True, exist_ok=True)
    run = _Run(pipeline, _Record(None if is_file else out / RECORD), _digest(described), compare)
    done: list[PhotoReport] = []
    try:
        for entry in run.over(tasks):
            done.append(entry)
            yield entry
    finally:
        if report is not None:
            write_report(report, done, described)


@dataclass(frozen=True)
class Task:
    """One picture file and where its result goes."""

    source: Path
    target: Path


def plan(sources: Sequence[Path], out: Path) -> list[Task]:
    """Names the results.

    Raises:
        ValueError: where a result would take the place of a source, or two results have the same name.
    """
    to_file = len(sources) == 1 and out.suffix.lower() in IMAGE_SUFFIXES and not out.is_dir()
    tasks = [Task(source, out if to_file else out / source.name) for source in sources]
    taken: dict[Path, Path] = {}
    for task in tasks:
        if task.target.exists() and task.target.samefile(task.source):
            raise ValueError(f"{task.source} would be overwritten by its own result; choose another output")
        first = taken.setdefault(task.target, task.source)
        if first != task.source:
            raise ValueError(
                f"{first} and {task.source} would both become {task.target}; restore them into two folders"
            )
    return tasks


class _Run:
    """Takes tasks through the pipeline and turns what happens to each into a report."""

    def __init__(self, pipeline: Pipeline, record: _Record, settings: str, compare: bool) -> None:
        self.pipeline = pipeline
        self.record = record
        self.settings = settings
        self.compare = compare

    def over(self, tasks: Iterable[Task]) -> Iterator[PhotoReport]:
        targets: dict[Path, Path] = {}
        for task in tasks:
            earlier = self._earlier(task)
            if earlier is None:
                targets[task.source] = task.target
            else:
                yield earlier
        unread: list[PhotoReport] = []
        for restored in self.pipeline.run(self._photos(targets, unread)):
            yield from _emptied(unread)
            assert restored.photo.path is not None  # all of them were read from files
            yield self._write(restored, targets[restored.photo.path])
        yield from _emptied(unread)

    def _earlier(self, task: Task) -> PhotoReport | None:
        """The report of a run that completed this very task."""
        entry = self.record.of(task.target)
        if entry is None or entry["settings"] != self.settings or not _holds(task.source, entry["source"]):
            return None
        report = PhotoReport.from_dict(entry["report"])
        if report.failures:  # it may succeed this time
            return None
        report.status = "complete"
        return report

    def _photos(self, targets: dict[Path, Path], unread: list[PhotoReport]) -> Iterator[Photo]:
        """Reads the sources one by one; those that cannot be restored become reports."""
        for source, target in targets.items():
            try:
                self.record.refuse_foreign(target)
                photo = read_photo(source)
                check_size(photo, self.pipeline.options.upscale)
                target_format(photo, target)
            except (OSError, ValueError) as error:
                unread.append(PhotoReport(str(source), str(target), "failed", str(error)))
            else:
                yield photo

    def _write(self, restored: Restored, target: Path) -> PhotoReport:
        source = str(restored.photo.path)
        height, width = restored.photo.pixels.shape[:2]
        if restored.failure:
            return PhotoReport(source, str(target), "failed", restored.failure, width, height)
        status: Status = "restored" if restored.changed else "unchanged"
        report = PhotoReport(
            source, str(target), status, restored.photo.note, width, height, restored.faces, restored.seconds
        )
        try:
            if self.compare and restored.changed:
                picture = target.with_name(f"{target.stem}.compare.png")
                self.record.refuse_foreign(picture)
                self._put(picture, lambda partial: side_by_side(restored).save(partial, "PNG"), {})
            entry = {"settings": self.settings, "source": sha256_of(source), "report": asdict(report)}
            self._put(target, lambda partial: restored.encode(partial, target_format(restored.photo, target)), entry)
        except OSError as error:
            return PhotoReport(source, str(target), "failed", str(error), width, height)
        return report

    def _put(self, target: Path, write: Callable[[Path], None], entry: dict[str, Any]) -> None:
        with one_line(target), atomic_path(target) as partial:
            write(partial)
            self.record.add(target, {**entry, "sha256": sha256_of(partial)})


class _Record:
    """What this tool wrote to a folder: a line of JSON per result. Without a path it remembers nothing."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.entries: dict[str, dict[str, Any]] = {}
        lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
        for line in lines:
            with contextlib.suppress(json.JSONDecodeError):  # a line that the power cut short stands for nothing
                entry = json.loads(line)
                self.entries[entry["output"]] = entry

    def of(self, target: Path) -> dict[str, Any] | None:
        """The entry of a result that is there, whole and unchanged."""
        entry = self.entries.get(target.name)
        return entry if entry is not None and _holds(target, entry["sha256"]) else None

    def refuse_foreign(self, target: Path) -> None:
        """Raises FileExistsError where the target is a file that this tool did not write."""
        if target.exists() and self.of(target) is None:
            raise FileExistsError(
                f"{target} exists and is no unchanged result of an earlier run; move it, or choose another output"
            )

    def add(self, target: Path, entry: dict[str, Any]) -> None:
        """Notes a result that is about to take its name."""
        entry = {"output": target.name, **entry}
        self.entries[target.name] = entry
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                # the line break comes first: the line before may have been cut short
                file.write(f"\n{json.dumps(entry)}")
                file.flush()
                os.fsync(file.fileno())


def _emptied(reports: list[PhotoReport]) -> Iterator[PhotoReport]:
    while reports:
        yield reports.pop(0)


def _holds(path: Path, digest: str) -> bool:
    try:
        return sha256_of(path) == digest
    except OSError:
        return False


def _describe(pipeline: Pipeline, compare: bool) -> dict[str, Any]:
    """All that a result and its report depend on."""
    chosen = {key: value for key, value in asdict(pipeline.options).items() if key != "batch"}
    return {
        **chosen,
        "model": pipeline.model.name,
        "weights": pipeline.model.fingerprint(),
        "detector": type(pipeline.detector).__name__,
        "metrics": [scorer.metric for scorer in pipeline.scorers],
        "identity": pipeline.embedder is not None,
        "compare": compare,
        "version": __version__,
    }


def _digest(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
