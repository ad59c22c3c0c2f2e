"""Several protocols that judge pictures in memory, and the tables of what they found."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .intervals import Interval, People
from .measuring import NotRunError, not_run_on, values_of
from .protocols import Measure, Protocol
from .text import table as markdown

Scores = dict[str, np.ndarray]
"""One value per picture (N,) by the name of the judge."""

Rows = Mapping[str, Mapping[str, Interval]]
"""Method -> judge -> mean with its interval."""

CPU = torch.device("cpu")

NOTE = "Mean [95 % interval over people]. † trained on: shares a backbone or a target with a loss or the scorer."


class Panel:
    """Judges pictures in memory; a protocol that cannot be run here is left out and named in `skipped`.

    Attributes:
        judges: protocols by name.
        skipped: name -> why.
        seconds: spent by each judge so far.

    Args:
        protocols: by the names under which results are kept; each judges single pictures, with or without a reference.
        device: where they compute; numbers may depend on it.
    """

    def __init__(self, protocols: Mapping[str, Protocol], device: torch.device = CPU) -> None:
        self.skipped: dict[str, str] = {}
        self._measures: dict[str, Measure] = {}
        for name, protocol in protocols.items():
            try:
                self._measures[name] = _loaded(protocol, device)
            except NotRunError as reason:
                self.skipped[name] = str(reason)
        self.judges = {name: protocols[name] for name in self._measures}
        self.seconds = dict.fromkeys(self.judges, 0.0)

    def __call__(self, restored: Tensor, reference: Tensor, only: Sequence[str] = (), batch: int = 10) -> Scores:
        """Values (N,) by every judge, or by those named in `only`.

        Args:
            restored: (N, 3, H, W) in [0, 1].
            reference: of the same shape: the originals, or the inputs for judges that compare with these.
            batch: pictures at once.
        """
        pairs = list(zip(restored.cpu().split(batch), reference.cpu().split(batch), strict=True))
        scores = {}
        for name in [name for name in self.judges if not only or name in only]:
            started = time.perf_counter()
            values = [values_of(self._measures[name], *pair) for pair in pairs]
            scores[name] = torch.cat(values).double().numpy()
            self.seconds[name] += time.perf_counter() - started
        return scores

    def gain(self, name: str, better: np.ndarray, worse: np.ndarray) -> np.ndarray:
        """By how much the first values are better than the second ones; positive is better for every judge."""
        return worse - better if self.judges[name].lower_better else better - worse

    def label(self, name: str) -> str:
        """Name, direction, and a dagger where it was trained on."""
        judge = self.judges[name]
        return f"{name} {'↓' if judge.lower_better else '↑'}{' †' if judge.trained_on else ''}"

    def describe(self) -> dict[str, Any]:
        """What a reader of the numbers should know about the judges, ready for JSON."""
        return {
            name: {
                "better": "lower" if judge.lower_better else "higher",
                "trained_on": judge.trained_on or None,
                "protocol": self._measures[name].protocol,
                "seconds": self.seconds[name],
            }
            for name, judge in self.judges.items()
        } | {name: {"skipped": reason} for name, reason in self.skipped.items()}

    def lines(self, rows: Rows) -> list[list[str]]:
        """The cells of a table: a head, one row for every method, one column for every judge."""
        head = ["", *map(self.label, self.judges)]
        return [head, *([name, *(str(row[judge]) for judge in self.judges)] for name, row in rows.items())]

    def table(self, title: str, rows: Rows) -> str:
        """The same as Markdown, with a title and notes."""
        notes = [NOTE, *(f"Skipped: {name}, {reason}." for name, reason in self.skipped.items())]
        return f"# {title}\n\n{markdown(self.lines(rows))}\n\n{' '.join(notes)}\n"


def _loaded(protocol: Protocol, device: torch.device) -> Any:
    with not_run_on(OSError, ImportError, ValueError):
        return protocol.load(device, protocol.files())


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Per picture, over several models."""
    return {name: np.mean([one[name] for one in scores], 0) for name in scores[0]}


def summary(scores: Mapping[str, Scores], people: People) -> dict[str, dict[str, Interval]]:
    """The mean of every method by every judge, with its interval over people."""
    return {name: {judge: people.interval(values) for judge, values in of.items()} for name, of in scores.items()}
