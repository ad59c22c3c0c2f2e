"""Runs a benchmark: restores what is not restored yet, judges what is not judged yet, and puts a report together.

Whatever is done is in files as soon as it is done, by content: a run that was killed goes on where it stopped, another
metric or model costs its own work alone, and processes share the work by filling the same cache. The report is then
made by one of them, which finds everything there.
"""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..scorer import default_device
from ..training.record import environment
from ..training.rng import global_seed
from ..version import __version__
from . import ntire
from .cache import Cache, content_of, digest
from .datasets import Sample
from .frechet import frechet, moments
from .models import INPUT, Candidate
from .pictures import is_made_of, read_pixels, read_tensor, write_png
from .protocols import OTHER_PERSON, PROTOCOLS, Kind, Protocol, SetMeasure, find
from .report import Column, Method, Picture, Report, Values, summary

logger = logging.getLogger(__name__)

Tell = Callable[[str, int, int], None]
"""Is told what is going on, how much of it is done, and how much there is."""

IDENTITIES = ("identity/dlib", "identity/dlib@input")
"""By the first of these that was run the faces of another person are counted."""

COMPANIONS = ("niqe/basicsr@native", "perceptual/efficientnet-lite2@native", "identity/dlib")
BLIND_COMPANIONS = ("niqe/basicsr@native", "identity/dlib@input")
"""What is judged beside a metric that a candidate raises, with originals and without."""

DEFAULTS = ("iqp-lite", "niqe", "piqe", "psnr", "ssim", "perceptual/efficientnet-lite2", "identity")
BLIND_DEFAULTS = ("iqp-lite", "niqe", "piqe", "identity@input")
"""What is run where nothing is named: no download, with originals and without."""

PICTURES, MARK = "pictures", ".iqp-bench"


@dataclass(frozen=True)
class Benchmark:
    """What is to be compared.

    Attributes:
        candidates: what restores.
        samples: the test pictures.
        protocols: the metrics.
        folder: of restored pictures and scores; everything that is there already is taken over.
        scores: named scores, of `ntire.THRESHOLDS`.
        weights: protocol id -> files of the user's in the place of the published ones.
        device: where metrics run.
        baseline: the row that differences are taken against.
        seed: what the degradations were drawn from.
        raised: metrics that some candidate is conditioned on, or was made to raise.
        facts: more about the environment, for the report.
    """

    candidates: Sequence[Candidate]
    samples: Sequence[Sample]
    protocols: Sequence[Protocol]
    folder: Path
    title: str = "Face restoration"
    scores: Sequence[str] = ()
    weights: dict[str, list[Path]] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    baseline: str = "input"
    seed: int = 0
    raised: frozenset[str] = frozenset()
    facts: dict[str, Any] = field(default_factory=dict)


class NotRunError(Exception):
    """A protocol can not be run here; the message says why."""


def run(benchmark: Benchmark, tell: Tell = lambda what, done, of: None) -> Report | None:
    """Restores, judges and reports; started by accelerate, it splits the pictures over the processes.

    Returns:
        the report, in the main process; None in the others.

    Raises:
        ValueError: where the baseline is no candidate, a candidate lacks outputs or has too many, or an output is not
            as large as its input.
    """
    names = [candidate.name for candidate in benchmark.candidates]
    if benchmark.baseline not in names:
        raise ValueError(f"no candidate {benchmark.baseline!r} to be the baseline; there are {', '.join(names)}")
    for candidate in benchmark.candidates:
        candidate.check(benchmark.samples)
    claim(benchmark.folder)
    return _together(benchmark, tell) if _many() else _Work(benchmark, benchmark.samples, tell).report()


def _together(benchmark: Benchmark, tell: Tell) -> Report | None:
    """Every process does its share; the main one waits for all, and finds everything done."""
    state = _processes()
    _Work(benchmark, benchmark.samples[state.process_index :: state.num_processes], tell).values()
    state.wait_for_everyone()
    return _Work(benchmark, benchmark.samples, tell).report() if state.is_main_process else None


def chosen(metrics: Sequence[str], scores: Sequence[str], raised: Collection[str], originals: bool) -> list[Protocol]:
    """The protocols that are named, and where one of them is raised by a candidate, companions that nobody raises.

    Args:
        metrics: ids or short names; where neither metrics nor scores are given, what needs no download.
        scores: named scores, whose metrics are taken too.
        raised: metrics that some candidate is conditioned on.
        originals: whether test pictures have originals.

    Raises:
        ValueError: for a name that is not known.
    """
    if strange := set(scores) - ntire.THRESHOLDS.keys():
        raise ValueError(f"unknown score {min(strange)!r}; there are {', '.join(ntire.THRESHOLDS)}")
    usual = DEFAULTS if originals else BLIND_DEFAULTS
    names = [*metrics, *(ntire.PROTOCOLS if scores else [])] or usual
    found = {protocol.id: protocol for protocol in map(find, names)}
    if any(protocol.metric in raised for protocol in found.values()):
        companions = (PROTOCOLS[name] for name in (COMPANIONS if originals else BLIND_COMPANIONS))
        found |= {protocol.id: protocol for protocol in companions if protocol.metric not in raised}
    return list(found.values())


def place(device: str | None = None) -> torch.device:
    """Where to compute: what is named, else this process's accelerator, else the CPU."""
    if device is not None:
        return torch.device(device)
    return _processes().device if _many() else default_device()


def claim(folder: Path) -> None:
    """Takes a folder for a benchmark.

    Raises:
        FileExistsError: where it holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / MARK).exists():
        raise FileExistsError(f"{folder} is not empty and holds no benchmark; name another folder")
    (folder / MARK).touch()


def _many() -> bool:
    """Whether accelerate or torchrun has started several processes."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def _processes() -> Any:
    from accelerate import PartialState

    return PartialState(timeout=timedelta(days=7))


class _Judge:
    """A protocol that is loaded when the first value is missing.

    Attributes:
        files: that it reads.
        key: hash of all that a value depends on besides the pictures.
    """

    def __init__(self, protocol: Protocol, benchmark: Benchmark, cache: Cache) -> None:
        self.protocol, self.device, self.cache = protocol, benchmark.device, cache
        self.given = benchmark.weights.get(protocol.id, [])
        try:
            self.files = protocol.files(self.given)
        except (OSError, ImportError) as error:
            raise NotRunError(_line(error)) from error
        packages = repr(sorted(environment(0)["packages"].items()))
        self.key = digest(protocol.id, __version__, packages, self.device.type, *map(content_of, self.files))

    @cached_property
    def measure(self) -> Any:
        """The loaded protocol; weights that the user gives and that do not fit are the user's error."""
        try:
            return self.protocol.load(self.device, self.files)
        except (OSError, ImportError, ValueError) as error:
            if self.given:
                raise
            raise NotRunError(_line(error)) from error

    def value(self, sample: Sample, output: Path) -> float | None:
        """The value of one output; None where there is none."""
        pair = _pair(self.protocol.kind, sample, output)
        if pair is None:
            return None
        value = self._remembered(digest(sample.name, content_of(*pair)), lambda: self._measured(sample.name, *pair))
        return None if math.isnan(value) else value

    def distance(self, outputs: Sequence[Path], originals: Sequence[Path]) -> float:
        """The value of all outputs together."""
        content = content_of(*outputs, *originals)
        return self._remembered(content, lambda: self._frechet(outputs, originals))

    def _remembered(self, content: str, compute: Callable[[], float]) -> float:
        known = self.cache.get(content, self.key)
        if known is None:
            known = compute()
            self.cache.put(content, self.key, known)
        return known

    @torch.no_grad()
    def _measured(self, name: str, output: Path, other: Path | None = None) -> float:
        picture = read_tensor(output)
        reference = read_tensor(other) if other else picture
        try:
            with _repeatable():
                return float(self.measure.values(picture, reference, [name])[0])
        except ValueError as error:
            logger.warning("no %s of %s: %s", self.protocol.id, output, error)
            return math.nan

    def _frechet(self, outputs: Sequence[Path], originals: Sequence[Path]) -> float:
        measure: SetMeasure = self.measure
        if measure.reference is None and not originals:
            raise NotRunError("needs originals, and not every test picture has one")
        try:
            reference = measure.reference or moments(self._features(originals))
            return frechet(*moments(self._features(outputs[: measure.first])), *reference)
        except ValueError as error:
            raise NotRunError(_line(error)) from error

    def _features(self, files: Sequence[Path]) -> Tensor:
        return torch.cat([self.measure.features(read_tensor(file)) for file in files])


class _Work:
    """A benchmark on some of its pictures."""

    def __init__(self, benchmark: Benchmark, samples: Sequence[Sample], tell: Tell) -> None:
        self.benchmark, self.samples, self.tell = benchmark, samples, tell
        self.cache = Cache(benchmark.folder)
        self.skipped: dict[str, str] = {}
        self.weights: dict[str, dict[str, str]] = {}

    def values(self) -> Values:
        """Everything that one picture alone decides: method -> protocol -> one value per picture."""
        outputs = {candidate.name: self._restored(candidate) for candidate in self.benchmark.candidates}
        values: Values = {name: {} for name in outputs}
        for protocol in self._of_kind("no-reference", "reference", "input"):
            for name, row in self._judged(protocol, outputs).items():
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
        return completed(replace(report, columns=[self._column(one) for one in benchmark.protocols]), benchmark)

    def _of_kind(self, *kinds: Kind) -> list[Protocol]:
        return [protocol for protocol in self.benchmark.protocols if protocol.kind in kinds]

    def _place(self, candidate: Candidate, sample: Sample) -> Path:
        slug = re.sub(r"[^\w.+-]+", "_", candidate.name)
        return self.benchmark.folder / PICTURES / f"{slug}-{candidate.key[:8]}" / sample.dataset / f"{sample.name}.png"

    def _restored(self, candidate: Candidate) -> list[Path]:
        """The outputs of a candidate; those that are not there yet are made."""
        places = [self._place(candidate, sample) for sample in self.samples]
        sources = [f"{candidate.key} {content_of(sample.input)}" for sample in self.samples]
        todo = [
            (sample, place, source)
            for sample, place, source in zip(self.samples, places, sources, strict=True)
            if not is_made_of(place, source)
        ]
        started = time.perf_counter()
        pictures = candidate.work([sample for sample, _, _ in todo]) if todo else ()
        for done, ((sample, place, source), pixels) in enumerate(zip(todo, pictures, strict=True)):
            self.tell(f"restoring: {candidate.name}", done, len(todo))
            _check_size(candidate, sample, pixels)
            write_png(place, pixels, source)
            self.cache.put(content_of(sample.input), f"seconds {candidate.key}", time.perf_counter() - started)
            started = time.perf_counter()
        return places

    def _judged(self, protocol: Protocol, outputs: Mapping[str, Sequence[Path]]) -> dict[str, list[float | None]]:
        """Method -> values; nothing where the protocol can not be run, which is noted."""
        if protocol.kind == "reference" and not any(sample.original for sample in self.samples):
            self.skipped[protocol.id] = "needs originals, and the test pictures have none"
            return {}
        total = len(outputs) * len(self.samples)
        try:
            judge = self._judge(protocol)
            rows: dict[str, list[float | None]] = {name: [] for name in outputs}
            for name, places in outputs.items():
                for sample, place in zip(self.samples, places, strict=True):
                    self.tell(f"judging: {protocol.label}", sum(map(len, rows.values())), total)
                    rows[name].append(judge.value(sample, place))
        except NotRunError as reason:
            self.skipped[protocol.id] = str(reason)
            return {}
        return rows

    def _judge(self, protocol: Protocol) -> _Judge:
        judge = _Judge(protocol, self.benchmark, self.cache)
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
                    self.tell(f"judging: {protocol.label}", done, len(values))
                    outputs = [self._place(candidate, sample) for sample in self.samples]
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
            protocol.metric in self.benchmark.raised,
            self.skipped.get(protocol.id, ""),
        )

    def _method(self, candidate: Candidate, row: Mapping[str, Sequence[float | None]]) -> Method:
        facts: dict[str, Any] = {"N": len(self.samples)} | candidate.facts
        seconds = [self.cache.get(content_of(one.input), f"seconds {candidate.key}") for one in self.samples]
        if candidate.model != INPUT and None not in seconds:
            facts["seconds per picture"] = float(np.mean(seconds))  # type: ignore[arg-type]
        if lost := {name: values.count(None) for name, values in row.items() if None in values}:
            facts["pictures without a value"] = lost
        return Method(candidate.name, candidate.model, candidate.quality, facts)

    def _images(self) -> dict[str, list[str]]:
        """Paths from the benchmark's folder."""
        shown: dict[str, list[Path]] = {
            candidate.name: [self._place(candidate, sample) for sample in self.samples]
            for candidate in self.benchmark.candidates
        }
        if all(sample.original for sample in self.samples):
            shown["original"] = [sample.original for sample in self.samples if sample.original]
        return {
            name: [Path(os.path.relpath(path, self.benchmark.folder)).as_posix() for path in paths]
            for name, paths in shown.items()
        }

    def _environment(self) -> dict[str, Any]:
        benchmark = self.benchmark
        return (
            dict(benchmark.facts)
            | {"iqp_adapter": __version__, "metrics on": benchmark.device.type}
            | {"data": {name: _described(part) for name, part in _by_set(self.samples).items()}}
            | {"protocols": {one.id: self._said(one) for one in benchmark.protocols}}
            | environment(benchmark.seed)
        )

    def _said(self, protocol: Protocol) -> dict[str, Any]:
        """All that a reader of its numbers should know."""
        return {
            "better": "lower" if protocol.lower_better else "higher",
            "compares with": "" if protocol.kind == "no-reference" else protocol.kind,
            "note": protocol.note,
            "files": self.weights.get(protocol.id, {}),
        }


def completed(report: Report, benchmark: Benchmark) -> Report:
    """The report with what follows from its values: dial, companions and named scores."""
    datasets = [picture.dataset for picture in report.pictures]
    scores = {
        variant: {
            method.name: ntire.score(
                variant, report.values[method.name], report.set_values.get(method.name, {}), datasets
            )
            for method in report.methods
        }
        for variant in benchmark.scores
    }
    return replace(report, dial=_dial(report), companions=_companions(report), scores=scores)


def _dial(report: Report) -> dict[str, list[dict[str, Any]]]:
    """The means of every model that was run at two numbers or more."""
    means, curves = summary(report), defaultdict(list)
    for method in report.methods:
        if (level := _level(method.quality)) is not None:
            curves[method.model].append({"quality": level, "means": means[method.name]})
    return {
        model: sorted(curve, key=lambda point: point["quality"]) for model, curve in curves.items() if len(curve) > 1
    }


def _level(quality: str | None) -> float | None:
    try:
        return None if quality is None else float(quality)
    except ValueError:
        return None


def _companions(report: Report) -> dict[str, dict[str, Any]]:
    """For every metric that a method raises: metrics that nobody raises or learns from, and lost identities."""
    held_out = [column.id for column in report.columns if not (column.optimised or column.trained_on)]
    judge = next((name for name in IDENTITIES if any(name in row for row in report.values.values())), None)
    lost = {
        method: sum(value is not None and value > OTHER_PERSON for value in row[judge])
        for method, row in report.values.items()
        if judge in row
    }
    guard = {"held out": held_out, "under identity threshold": lost, "threshold": OTHER_PERSON, "identity": judge}
    return {column.id: guard for column in report.columns if column.optimised}


def _pair(kind: Kind, sample: Sample, output: Path) -> tuple[Path, ...] | None:
    """The files that a value depends on; None where one is missing."""
    if kind == "no-reference":
        return (output,)
    other = sample.original if kind == "reference" else sample.input
    return None if other is None else (output, other)


def _check_size(candidate: Candidate, sample: Sample, pixels: np.ndarray) -> None:
    wanted = read_pixels(sample.input).shape
    if pixels.shape != wanted:
        raise ValueError(
            f"{candidate.name} made {pixels.shape[1]} x {pixels.shape[0]} px of {sample.input}, which has "
            f"{wanted[1]} x {wanted[0]} px; outputs must have the size of their inputs"
        )


@contextmanager
def _repeatable() -> Iterator[None]:
    """Metrics that draw patches draw the same ones every time, and leave the global generators as they were."""
    with global_seed(0), torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def _by_set(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    return {name: [one for one in samples if one.dataset == name] for name in dict.fromkeys(s.dataset for s in samples)}


def _described(samples: Sequence[Sample]) -> dict[str, Any]:
    files = [file for sample in samples for file in (sample.input, sample.original) if file]
    people = len({sample.group for sample in samples})
    return {"pictures": len(samples), "people": people, "sha256": digest(*sorted(map(content_of, files)))}


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
