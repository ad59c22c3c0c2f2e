"""The curve of the dial: the means at rising qualities, and whether the dial works by each judge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..pictures.plots import save_plot
from .intervals import Interval, People, interval, spearman
from .panel import Panel
from .text import table


class DialCurves(NamedTuple):
    """What the judges of a panel found at rising qualities.

    Attributes:
        panel: of the judges.
        levels: qualities that were asked for (L,).
        means: judge -> mean of every level.
        results: judge -> whether the dial works, see `dial_result`.
    """

    panel: Panel
    levels: np.ndarray
    means: dict[str, list[Interval]]
    results: dict[str, dict[str, Any]]

    def markdown(self, title: str = "The dial") -> str:
        """Results and level means as tables."""
        lines = [["metric", "Spearman", "top - bottom, in its good direction", "dial works"]]
        lines += [
            [self.panel.label(name), str(of["spearman"]), str(of["top - bottom"]), "yes" if of["holds"] else "no"]
            for name, of in self.results.items()
        ]
        levels = [["quality", *map(self.panel.label, self.means)]]
        levels += [
            [f"{quality:g}", *(str(means[place]) for means in self.means.values())]
            for place, quality in enumerate(self.levels)
        ]
        notes = (
            "Mean [95 % interval over people]. † trained on. A dial works by a metric when Spearman is 0.9 or more and "
            "the interval of top - bottom lies above 0."
        )
        return f"# {title}\n\n{table(lines)}\n\n{table(levels)}\n\n{notes}\n"

    def draw(self, path: Path) -> None:
        """A PNG with one plot for every judge: level means with their intervals over people."""
        from matplotlib.figure import Figure

        rows = math.ceil(len(self.means) / 3)
        figure = Figure(figsize=(10.8, 3 * rows), layout="constrained")
        for place, (name, means) in enumerate(self.means.items(), start=1):
            axes = figure.add_subplot(rows, 3, place)
            mean, low, high = np.array(means).T
            axes.plot(self.levels, mean, marker=".")
            axes.fill_between(self.levels, low, high, alpha=0.2)
            axes.set_title(self.panel.label(name), fontsize=10, loc="left")
            axes.set_xlabel("quality asked for", fontsize=9)
            axes.grid(alpha=0.25)
        save_plot(figure, path)


def dial_curves(levels: np.ndarray, values: Mapping[str, np.ndarray], people: People, panel: Panel) -> DialCurves:
    """Values (L, N) of every judge, one row for each level (L,) and one column for each picture."""
    return DialCurves(
        panel,
        levels,
        {name: [people.interval(level) for level in of] for name, of in values.items()},
        {name: dial_result(panel.gain(name, of, 0 * of), people) for name, of in values.items()},
    )


def dial_result(values: np.ndarray, people: People) -> dict[str, Any]:
    """Whether the dial works by one metric.

    Args:
        values: (L, N), turned so that higher is better.

    Returns:
        `spearman`: rank correlation of the level means with the quality; `top - bottom`: gain from the lowest to the
        highest quality; `holds`: whether the first is 0.9 or more and the interval of the second lies above 0.
    """
    means = people.means(values)  # (L, D)
    order = interval(float(spearman(values.mean(1))), spearman(means))
    span = people.interval(values[-1] - values[0])
    return {"spearman": order, "top - bottom": span, "holds": round(order.mean, 9) >= 0.9 and span.low > 0}
