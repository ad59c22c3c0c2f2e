"""The work of a benchmark on its pictures, or on a share of them: restoring, judging, and the report.

Every result is written to a file at once, under a key made from its content.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..pictures import read_pixels
from ..provenance import environment
from ..version import __version__
from .attempts import Failure
from .benchmark import Benchmark
from .cache import Cache, check_unchanged, content_of, digest
from .candidates import INPUT, Candidate
from .findings import with_findings
from .judging import Judge
from .measuring import NotRunError
from .names import LONGEST
from .outputs import is_made_of, write_png
from .protocols import Kind, Protocol
from .report import FAILED, Column, Method, Picture, Report, Values
from .test_sets import Sample

Progress = Callable[[str, int, int], None]
"""Called with the name of the current task, the number of finished parts, and their total."""

Outputs = list[Path | None]
"""The files of a method, one for each test picture; None where it failed."""

PICTURES = "pictures"


class Work:
    """A benchmark on some of its pictures."""

    def __init__(self, benchmark: Benchmark, samples: Sequence[Sample], progress: Progress) -> None:
        self.benchmark, self.samples, self.progress = benchmark, samples, progress
        self.cache = Cache(benchmark.folder)
        self.given = {file: content_of(file) for file in files_of(samples)}
        self.outputs: dict[str, Outputs] = {}
        self.failed: dict[str, dict[str, str]] = {}
        self.skipped: dict[str, str] = {}
        self.weights: dict[str, dict[str, str]] = {}

    def values(self) -> Values:
        """Values of single pictures: method -> protocol -> one value per picture."""
        self.outputs = {candidate.name: self._restored(candidate) for candidate in self.benchmark.candidates}
        values: Values = {name: {} for name in self.outputs}
        for protocol in self._of_kind("no-reference", "reference", "input"):
            for name, row in self._judged(protocol).items():
                values[name][protocol.id] = row
        return values

    def report(self) -> Report:
        values, benchmark = self.values(), self.benchmark
        report = Report(
            title=benchmark.title,
            columns=[],
            methods=[self._method(candidate, values[candidate.name]) for candidate in benchmark.candidates],
            pictures=[Picture(sample.name, sample.group, sample.dataset) for sample in self.samples],
            values=values,
            set_values=self._set_values(),
            baseline=benchmark.baseline,
            dial={},
            companions={},
            scores={},
            images=self._images(),
            environment=self._environment(),
        )
        columns = [self._column(protocol) for protocol in benchmark.protocols]  # now it is known what was skipped
        check_unchanged(self.given)
        return with_findings(replace(report, columns=columns), benchmark.scores)

    def _of_kind(self, *kinds: Kind) -> list[Protocol]:
        return [protocol for protocol in self.benchmark.protocols if protocol.kind in kinds]

    def _place(self, candidate: Candidate, sample: Sample) -> Path:
        slug = re.sub(r"[^\w.+-]+", "_", candidate.name)[:LONGEST]
        return self.benchmark.folder / PICTURES / f"{slug}-{candidate.key[:8]}" / sample.dataset / f"{sample.name}.png"

    def _restored(self, candidate: Candidate) -> Outputs:
        """The outputs of a candidate, None for pictures that it fails on; missing ones are made.

        Raises:
            OSError: where it fails on every picture.
        """
        places = [self._place(candidate, sample) for sample in self.samples]
        sources = [f"{candidate.key} {self.given[sample.input]}" for sample in self.samples]
        todo = [
            (sample, place, source)
            for sample, place, source in zip(self.samples, places, sources, strict=True)
            if not is_made_of(place, source)
        ]
        failed: dict[Path, str] = {}
        started = time.perf_counter()
        pictures = candidate.work([sample for sample, _, _ in todo]) if todo else ()
        for done, ((sample, place, source), pixels) in enumerate(zip(todo, pictures, strict=True)):
            self.progress(f"restoring: {candidate.name}", done, len(todo))
            check_unchanged({sample.input: self.given[sample.input]})
            if isinstance(pixels, Failure):
                failed[place] = pixels.reason
                continue
            _check_size(candidate, sample, pixels)
            write_png(place, pixels, source)
            self.cache.put(self.given[sample.input], f"seconds {candidate.key}", time.perf_counter() - started)
            started = time.perf_counter()
        if failed and len(failed) == len(self.benchmark.samples):
            raise OSError(f"{candidate.name} restores no test picture: {next(iter(failed.values()))}")
        self.failed[candidate.name] = {f"{place.parent.name}/{place.stem}": why for place, why in failed.items()}
        return [None if place in failed else place for place in places]

    def _judged(self, protocol: Protocol) -> dict[str, list[float | None]]:
        """Method -> values; nothing where the protocol cannot be run, which is noted."""
        if protocol.kind == "reference" and not any(sample.original for sample in self.samples):
            self.skipped[protocol.id] = "needs originals, and the test pictures have none"
            return {}
        total = len(self.outputs) * len(self.samples)
        try:
            judge = self._judge(protocol)
            rows: dict[str, list[float | None]] = {name: [] for name in self.outputs}
            for name, places in self.outputs.items():
                for sample, place in zip(self.samples, places, strict=True):
                    self.progress(f"judging: {protocol.label}", sum(map(len, rows.values())), total)
                    rows[name].append(None if place is None else judge.value(sample, place))
        except NotRunError as reason:
            self.skipped[protocol.id] = str(reason)
            return {}
        return rows

    def _judge(self, protocol: Protocol) -> Judge:
        benchmark = self.benchmark
        judge = Judge(protocol, benchmark.device, self.cache, benchmark.weights.get(protocol.id, []))
        self.weights[protocol.id] = {file.name: content_of(file) for file in judge.files}
        return judge

    def _set_values(self) -> dict[str, dict[str, float]]:
        """Method -> protocol -> value over all pictures."""
        values: dict[str, dict[str, float]] = {candidate.name: {} for candidate in self.benchmark.candidates}
        originals = [sample.original for sample in self.samples if sample.original]
        known = originals if len(originals) == len(self.samples) else []
        for protocol in self._of_kind("set"):
            try:
                judge = self._judge(protocol)
                for done, candidate in enumerate(self.benchmark.candidates):
                    self.progress(f"judging: {protocol.label}", done, len(values))
                    outputs = [place for place in self.outputs[candidate.name] if place is not None]
                    if len(outputs) == len(self.samples):
                        values[candidate.name][protocol.id] = judge.distance(outputs, known)
            except NotRunError as reason:
                self.skipped[protocol.id] = str(reason)
        return values

    def _column(self, protocol: Protocol) -> Column:
        return Column(
            protocol.id,
            protocol.label,
            protocol.lower_better,
            protocol.trained_on,
            protocol.is_raised_by(self.benchmark.raised),
            self.skipped.get(protocol.id, ""),
        )

    def _method(self, candidate: Candidate, row: Mapping[str, Sequence[float | None]]) -> Method:
        facts: dict[str, Any] = {"N": len(self.samples)} | candidate.facts
        if failed := self.failed[candidate.name]:
            facts[FAILED] = failed
        seconds = [self.cache.get(self.given[one.input], f"seconds {candidate.key}") for one in self.samples]
        if candidate.model != INPUT and None not in seconds:
            facts["seconds per picture"] = float(np.mean(seconds))  # type: ignore[arg-type]
        if missing := {name: values.count(None) for name, values in row.items() if None in values}:
            facts["pictures without a value"] = missing
        return Method(candidate.name, candidate.model, candidate.quality, facts)

    def _images(self) -> dict[str, list[str]]:
        """Paths from the benchmark's folder; "" where there is no picture."""
        shown = dict(self.outputs)
        if all(sample.original for sample in self.samples):
            shown["original"] = [sample.original for sample in self.samples if sample.original]
        return {
            name: [Path(os.path.relpath(path, self.benchmark.folder)).as_posix() if path else "" for path in paths]
            for name, paths in shown.items()
        }

    def _environment(self) -> dict[str, Any]:
        benchmark = self.benchmark
        return (
            dict(benchmark.facts)
            | {"iqp_adapter": __version__, "metrics on": benchmark.device.type}
            | {"data": {name: _described(part) for name, part in _by_set(self.samples).items()}}
            | {"protocols": {one.id: self._description(one) for one in benchmark.protocols}}
            | environment(benchmark.seed)
        )

    def _description(self, protocol: Protocol) -> dict[str, Any]:
        """What a reader of its numbers should know."""
        return {
            "better": "lower" if protocol.lower_better else "higher",
            "compares with": "" if protocol.kind == "no-reference" else protocol.kind,
            "note": protocol.note,
            "files": self.weights.get(protocol.id, {}),
        }


def _check_size(candidate: Candidate, sample: Sample, pixels: np.ndarray) -> None:
    wanted = read_pixels(sample.input).shape
    if pixels.shape != wanted:
        raise ValueError(
            f"{candidate.name} made {pixels.shape[1]} x {pixels.shape[0]} px of {sample.input}, which has "
            f"{wanted[1]} x {wanted[0]} px; outputs must have the size of their inputs"
        )


def _by_set(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    return {name: [one for one in samples if one.dataset == name] for name in dict.fromkeys(s.dataset for s in samples)}


def files_of(samples: Sequence[Sample]) -> list[Path]:
    return [file for sample in samples for file in (sample.input, sample.original) if file]


def _described(samples: Sequence[Sample]) -> dict[str, Any]:
    files = files_of(samples)
    people = len({sample.group for sample in samples})
    return {"pictures": len(samples), "people": people, "sha256": digest(*sorted(map(content_of, files)))}
