"""What follows from the values of a report: the curve of the dial, companions of raised metrics, and named scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from . import ntire
from .protocols.faces import OTHER_PERSON
from .report import Report, summary

IDENTITIES = ("identity/dlib", "identity/dlib@input")
"""The first of these that was run counts the faces of another person."""


def with_findings(report: Report, variants: Sequence[str]) -> Report:
    """The report with its dial, its companions, and the named scores of `variants`."""
    datasets = [picture.dataset for picture in report.pictures]
    scores = {
        variant: {
            method.name: ntire.score(
                variant, report.values[method.name], report.set_values.get(method.name, {}), datasets
            )
            for method in report.methods
        }
        for variant in variants
    }
    return replace(report, dial=_dial(report), companions=_companions(report), scores=scores)


def _dial(report: Report) -> dict[str, list[dict[str, Any]]]:
    """The means of every model that was run at two or more numeric qualities."""
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
    """For every metric that a method raises: metrics that no method raises or learned from, and changed faces."""
    held_out = [column.id for column in report.columns if not (column.optimised or column.trained_on)]
    judge = next((name for name in IDENTITIES if any(name in row for row in report.values.values())), None)
    changed = {
        method: sum(value is not None and value > OTHER_PERSON for value in row[judge])
        for method, row in report.values.items()
        if judge in row
    }
    guard = {"held out": held_out, "under identity threshold": changed, "threshold": OTHER_PERSON, "identity": judge}
    return {column.id: guard for column in report.columns if column.optimised}
