"""The record of a training run: log, times, loss curves and sample grids, and the environment that it ran in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..pictures.plots import save_plot
from ..provenance import environment
from ..store.files import atomic_path
from ..store.reading import json_file, json_text


class Record:
    """Writes `log.jsonl`, `times.jsonl`, `curves.png` and sample grids into one folder.

    A row is one line of a file; a crash loses at most the row that is being written.

    Args:
        folder: created if it is missing; new rows are added to an existing log.
        resume_at: step from which the run continues; later rows are dropped, since the run writes them again.
    """

    def __init__(self, folder: str | Path, resume_at: int | None = None) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log, self.times = self.folder / "log.jsonl", self.folder / "times.jsonl"
        for file in (self.log, self.times):
            if file.exists():
                _drop_torn_line(file)
            if resume_at is not None:
                _rewind(file, resume_at)

    def row(self, step: int, values: Mapping[str, float | str | None]) -> None:
        """Adds one row. Numbers are rounded to six digits; one that is not finite becomes null."""
        _add(self.log, {"step": step} | {name: _plain(value) for name, value in values.items()})

    def took(self, step: int, seconds: float) -> None:
        """Notes how long the steps since the last note took."""
        _add(self.times, {"step": step, "seconds": round(seconds, 3)})

    def rows(self) -> list[dict[str, Any]]:
        """All rows of the log, in the order in which they were added; a line that is damaged is left out."""
        return _rows(self.log)

    def seconds(self) -> float:
        """How long all steps took, without those that were lost with a process."""
        return sum(row.get("seconds", 0.0) for row in _rows(self.times))

    def curves(self, name: str = "curves") -> Path:
        """Draws one panel for each column of numbers in the log, and its moving average if the log is long.

        A panel is logarithmic if its values are positive and span more than a factor of 20.

        Args:
            name: of the picture, without suffix.
        """
        from matplotlib.figure import Figure

        series = _series(self.rows())
        columns = min(3, max(1, len(series)))
        lines = max(1, math.ceil(len(series) / columns))
        figure = Figure(figsize=(4.6 * columns, 2.9 * lines), layout="constrained")
        for place, (title, (steps, values)) in enumerate(series.items(), start=1):
            _panel(figure.add_subplot(lines, columns, place), title, steps, values)
        return save_plot(figure, self.folder / f"{name}.png")

    def grid(self, name: str, rows: Sequence[Tensor], labels: Sequence[str]) -> Path:
        """Saves a picture with one labelled row for each batch of images.

        Args:
            name: of the picture, without suffix.
            rows: (B, 3, H, W) each, in [0, 1], of one height and width.
            labels: one for each row.

        Raises:
            ValueError: unless there is one label for each row.
        """
        if len(rows) != len(labels) or not rows:
            raise ValueError(f"{len(rows)} rows and {len(labels)} labels; give one label for each row, at least one")
        picture = _labelled([_strip(row) for row in rows], labels)
        with atomic_path(self.folder / f"{name}.png") as path:
            picture.save(path, format="PNG")
        return self.folder / f"{name}.png"


def write_environment(folder: Path, config: Any, stage: Any, data: Mapping[str, Any], step: int) -> Path:
    """Adds a part to `environment.json`: settings of run and stage, the data set, versions and machine from a step on.

    A run that goes on has a part for every start. Parts that began at this step or later are dropped, since the run
    trains these steps again.

    Args:
        folder: of the stage.
        config: settings of the run, a dataclass with a `seed`.
        stage: settings of the stage, a dataclass.
        data: the training data, as `resuming.identity` tells it.
        step: that the run goes on from, 0 for a new one.
    """
    file = folder / "environment.json"
    before = _parts(file) if file.exists() and step else []
    part = {
        "from step": step,
        "config": asdict(config),
        "stage": asdict(stage),
        "data": dict(data),
        "environment": environment(config.seed),
    }
    with atomic_path(file) as path:
        content = {"parts": [one for one in before if one.get("from step", 0) < step] + [part]}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return file


def _parts(file: Path) -> list[dict[str, Any]]:
    content = json_file(file)
    parts = content.get("parts", [content])  # without parts it is of an earlier version
    return [part for part in parts if isinstance(part, dict)]


def moving_average(values: np.ndarray, window: float) -> np.ndarray:
    """Exponential moving average over about `window` entries, (N,) -> (N,).

    The first entries are plain means of all entries so far. Entries that are not finite are skipped.
    """
    average, count, result = np.nan, 0, np.empty(len(values))
    for i, value in enumerate(values):
        if np.isfinite(value):
            count += 1
            average = average + (value - average) / min(count, window) if count > 1 else value
        result[i] = average
    return result


def _add(file: Path, row: Mapping[str, Any]) -> None:
    with file.open("ab", buffering=0) as lines:
        lines.write((json.dumps(row) + "\n").encode())


def _rows(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return [row for line in lines if (row := _row(line)) is not None]


def _rewind(file: Path, step: int) -> None:
    rows = [row for row in _rows(file) if row["step"] <= step]
    with atomic_path(file) as path:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _plain(value: float | str | None) -> float | str | None:
    if value is None or isinstance(value, str):
        return value
    return float(f"{float(value):.6g}") if math.isfinite(value) else None


def _row(line: str) -> dict[str, Any] | None:
    """A line of the log; None for a damaged one."""
    try:
        row = json_text(line, "a line of the log")
    except ValueError:
        return None
    return row if isinstance(row.get("step"), int) else None


def _drop_torn_line(log: Path) -> None:
    """Removes an incomplete last row, whose writing was interrupted."""
    with log.open("rb+") as file:
        file.truncate(file.read().rfind(b"\n") + 1)


def _series(rows: list[dict[str, Any]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> (steps, values) of every column of numbers, (N,) each; null becomes NaN."""
    names = dict.fromkeys(name for row in rows for name, value in row.items() if isinstance(value, (int, float)))
    names.pop("step", None)
    return {name: _column([row for row in rows if name in row], name) for name in names}


def _column(rows: list[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row["step"] for row in rows]), np.array([row[name] for row in rows], dtype=float)


def _panel(axes: Any, title: str, steps: np.ndarray, values: np.ndarray) -> None:
    dense = len(values) > 60
    axes.plot(steps, values, color="tab:blue", alpha=0.25 if dense else 1, linewidth=1, marker="" if dense else ".")
    if dense:
        axes.plot(steps, moving_average(values, len(values) / 50), color="tab:blue", linewidth=1.6)
    axes.ticklabel_format(useOffset=False)
    finite = values[np.isfinite(values)]
    if finite.size and finite.min() > 0 and finite.max() > 20 * finite.min():
        axes.set_yscale("log")
    axes.set_title(title, fontsize=10, loc="left")
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _strip(images: Tensor) -> np.ndarray:
    """(B, 3, H, W) in [0, 1] -> one row of pictures, (H, B * W, 3) uint8."""
    pixels = (images.detach().float().clamp(0, 1) * 255).round().byte().cpu()
    return np.hstack(list(pixels.permute(0, 2, 3, 1).numpy()))  # (B, 3, H, W) -> (B, H, W, 3) -> (H, B * W, 3)


def _labelled(strips: Sequence[np.ndarray], labels: Sequence[str], gap: int = 4) -> Any:
    """Strips below each other with their labels at the left, as a PIL image."""
    from PIL import Image, ImageDraw, ImageFont

    height = max(strip.shape[0] for strip in strips)
    font = ImageFont.load_default(size=max(10, height // 14))
    margin = round(max(font.getlength(label) for label in labels)) + 16
    size = (margin + max(strip.shape[1] for strip in strips), len(strips) * (height + gap) - gap)
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for row, (strip, label) in enumerate(zip(strips, labels, strict=True)):
        top = row * (height + gap)
        picture.paste(Image.fromarray(strip), (margin, top))
        draw.text((margin - 8, top + height // 2), label, fill="black", font=font, anchor="rm")
    return picture
