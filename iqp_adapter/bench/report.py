"""What a benchmark found: methods, metrics and pictures with their values, and intervals of the means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from .intervals import Interval, People

FAILED = "pictures that failed"
"""The fact of a method that names them, each with its reason."""

Values = dict[str, dict[str, list[float | None]]]
"""Method -> column id -> one value per picture; None where it has none."""

Intervals = dict[str, dict[str, Interval]]
"""Method -> column id -> mean with its interval."""


@dataclass(frozen=True)
class Column:
    """One protocol as it was run.

    Attributes:
        id: of the protocol, with everything that its numbers depend on.
        label: for people.
        lower_better: True where a lower value is a better picture.
        trained_on: why it is not independent evidence; empty where it is.
        optimised: whether a method of this report raises this very metric.
        skipped: why it was not run; empty where it was.
    """

    id: str
    label: str
    lower_better: bool
    trained_on: str = ""
    optimised: bool = False
    skipped: str = ""


@dataclass(frozen=True)
class Method:
    """One row: a model at one quality, None where it has none."""

    name: str
    model: str
    quality: str | None
    facts: dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """One test picture.

    Attributes:
        group: who is on it; pictures of one group are not independent evidence.
        dataset: the test set that it belongs to.
    """

    name: str
    group: str
    dataset: str


@dataclass(frozen=True)
class Report:
    """Everything that the tables, files and page show.

    Attributes:
        values: method -> column id -> one value per picture; None where it has none.
        set_values: method -> column id -> value over the whole set (FID).
        baseline: the method from which paired differences are taken.
        dial: model -> for each quality `{"quality": q, "means": {column id: Interval}}`.
        companions: optimised column id -> its held-out columns, and how many faces of each method are below the
            identity threshold: `{"held out": [...], "under identity threshold": {method: count}, "threshold": x}`.
        scores: named score -> method -> `{"score", "terms", "not run", "gate"}`.
        images: method, "input" or "original" -> path of each picture; may be empty.
        environment: command, versions, seeds, hashes, machine, protocols.
    """

    title: str
    columns: list[Column]
    methods: list[Method]
    pictures: list[Picture]
    values: Values
    set_values: dict[str, dict[str, float]]
    baseline: str
    dial: dict[str, list[dict[str, Any]]]
    companions: dict[str, dict[str, Any]]
    scores: dict[str, dict[str, Any]]
    images: dict[str, list[str]]
    environment: dict[str, Any]


def summary(report: Report) -> Intervals:
    """The mean of every method by every column, with its interval over people."""
    people = _groups(report)
    return {
        method: {column: _interval(values, people) for column, values in row.items()}
        for method, row in report.values.items()
    }


def differences(report: Report) -> Intervals:
    """The mean difference of every method from the baseline on the same pictures, with its interval over people."""
    people, base = _groups(report), report.values[report.baseline]
    return {
        method: {column: _interval(_minus(row[column], base[column]), people) for column in row if column in base}
        for method, row in report.values.items()
        if method != report.baseline
    }


def _groups(report: Report) -> list[str]:
    return [picture.group for picture in report.pictures]


def _minus(values: Sequence[float | None], base: Sequence[float | None]) -> list[float | None]:
    return [None if a is None or b is None else a - b for a, b in zip(values, base, strict=True)]


def _interval(values: Sequence[float | None], groups: Sequence[str]) -> Interval:
    """Over the pictures that have a value. Pictures of a single person give a mean, and NaN for the interval."""
    there = [(value, group) for value, group in zip(values, groups, strict=True) if value is not None]
    if not there:
        return Interval(np.nan, np.nan, np.nan)
    kept = tuple(group for _, group in there)
    numbers = np.array([value for value, _ in there])
    if len(set(kept)) < 2:
        return Interval(float(numbers.mean()), np.nan, np.nan)
    return _people(kept).interval(numbers)


@lru_cache(maxsize=8)
def _people(groups: tuple[str, ...]) -> People:
    return People(groups)
