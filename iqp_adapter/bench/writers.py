"""A report as files: Markdown and LaTeX for people, CSV and JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..store.files import atomic_path
from ..store.table import write_csv
from ..store.words import counted
from .intervals import Interval
from .ntire import TERMS
from .protocols.frechet import caution
from .report import FAILED, Column, Intervals, Method, Picture, Report, differences, summary
from .text import UTF8, json_text, plain, table

_TEX = str.maketrans({sign: f"\\{sign}" for sign in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"})


def write_all(report: Report, folder: Path) -> list[Path]:
    """Writes `report.md`, `report.tex`, `report.csv`, `pictures.csv` and `report.json`; earlier ones are replaced."""
    writers = {
        "report.md": lambda path: path.write_text(markdown(report), **UTF8),
        "report.tex": lambda path: path.write_text(latex(report), **UTF8),
        "report.csv": lambda path: _write_rows(path, means(report)),
        "pictures.csv": lambda path: _write_rows(path, values(report)),
        "report.json": lambda path: path.write_text(as_json(report), **UTF8),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in writers.items():
        with atomic_path(folder / name) as partial:
            write(partial)
    return [folder / name for name in writers]


def markdown(report: Report) -> str:
    """Tables of means, of differences from the baseline, of companions and of named scores, with what was not run."""
    parts = [f"# {report.title}", _basis(report), _table(report, summary(report), report.set_values), _notes(report)]
    parts += [f"## Differences from {report.baseline}", _table(report, differences(report), _set_gaps(report), "+")]
    parts += [*_guards(report), *_scores(report), "## Protocols"]
    parts += ["\n".join(f"- `{column.id}`: {_remarks(report, column)}" for column in report.columns)]
    return "\n\n".join(parts) + "\n"


def latex(report: Report) -> str:
    """A table of the means for a paper, the best one of each column in bold (booktabs)."""
    columns = [column for column in report.columns if not column.skipped]
    rows = summary(report)
    lines = [
        r"\begin{tabular}{l" + "r" * len(columns) + "}",
        r"\toprule",
        " & ".join(["", *(f"{_tex(column.label)} {_arrow(column, tex=True)}" for column in columns)]) + r" \\",
        r"\midrule",
    ]
    for method in report.methods:
        cells = [_tex(method.name)]
        for column in columns:
            value = _mean(report, rows, method.name, column)
            text = "--" if value is None else f"{value:.4g}"
            cells.append(rf"\textbf{{{text}}}" if value is not None and value == _best(report, rows, column) else text)
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *_tex_notes(report), ""])


def means(report: Report) -> Iterator[dict[str, Any]]:
    """One row for every method and protocol: mean, interval, and the difference from the baseline with its interval."""
    rows, gaps = summary(report), differences(report)
    for method in report.methods:
        for column in report.columns:
            value = _mean(report, rows, method.name, column)
            if value is None:
                continue
            found = rows.get(method.name, {}).get(column.id)
            gap = gaps.get(method.name, {}).get(column.id)
            yield {
                "method": method.name,
                "model": method.model,
                "quality": "" if method.quality is None else method.quality,
                "protocol": column.id,
                "better": "lower" if column.lower_better else "higher",
                "N": _known(report, method.name, column),
                "mean": value,
                "low": found.low if found else "",
                "high": found.high if found else "",
                "difference": gap.mean if gap else "",
                "difference low": gap.low if gap else "",
                "difference high": gap.high if gap else "",
            }


def values(report: Report) -> Iterator[dict[str, Any]]:
    """One row for every picture and method."""
    for method in report.methods:
        row = report.values[method.name]
        for place, picture in enumerate(report.pictures):
            facts = {"dataset": picture.dataset, "picture": picture.name, "group": picture.group, "method": method.name}
            yield facts | {column: numbers[place] for column, numbers in row.items()}


def as_json(report: Report) -> str:
    """The whole report with its intervals; numbers keep six digits, and what is not finite becomes null."""
    content = asdict(report) | {"summary": summary(report), "differences": differences(report)}
    return json_text(plain(content, Interval._asdict))


def read_report(path: Path) -> Report:
    """Reads a `report.json`, so that its page or tables can be written again."""
    content = json.loads(path.read_text(encoding="utf-8"))
    kinds: dict[str, Callable[..., Any]] = {"columns": Column, "methods": Method, "pictures": Picture}
    parts = {name: [kind(**entry) for entry in content[name]] for name, kind in kinds.items()}
    dial = {
        model: [
            {"quality": point["quality"], "means": {name: _interval(one) for name, one in point["means"].items()}}
            for point in curve
        ]
        for model, curve in content["dial"].items()
    }
    given = {name: content[name] for name in Report.__dataclass_fields__}
    return Report(**given | parts | {"dial": dial})


def _basis(report: Report) -> str:
    people = len({picture.group for picture in report.pictures})
    sets = ", ".join(dict.fromkeys(picture.dataset for picture in report.pictures))
    return (
        f"{counted(len(report.pictures), 'picture')} of {counted(people, 'person', 'people')} ({sets}). Mean [95 % "
        f"interval, bootstrap over people, 10 000 draws, seed 0]; no interval where all pictures show one person, by "
        f"their names."
    )


def _table(report: Report, rows: Intervals, whole: Mapping[str, Mapping[str, float]], sign: str = "") -> str:
    """Methods by columns; values over a whole set have no interval. `sign` is "+" for differences."""
    columns = [column for column in report.columns if not column.skipped]
    lines = [["", *(_head(column) for column in columns)]]
    for method in rows:
        known = {**{name: Interval(value, math.nan, math.nan) for name, value in whole[method].items()}, **rows[method]}
        lines.append([method, *(_cell(report, method, column, known.get(column.id), sign) for column in columns)])
    return table(lines)


def _set_gaps(report: Report) -> dict[str, dict[str, float]]:
    """The differences of values over the whole set from the baseline's."""
    base = report.set_values.get(report.baseline, {})
    return {
        method: {column: value - base[column] for column, value in row.items() if column in base}
        for method, row in report.set_values.items()
    }


def _cell(report: Report, method: str, column: Column, found: Interval | None, sign: str) -> str:
    if found is None or math.isnan(found.mean):
        return "–"
    mean, *ends = (f"{value:{sign}.4g}" for value in found)
    known = _known(report, method, column)
    fewer = "" if known == len(report.pictures) else f" (N = {known})"
    return mean + ("" if math.isnan(found.low) else f" [{', '.join(ends)}]") + fewer


def _head(column: Column) -> str:
    marks = " †" * bool(column.trained_on) + " ‡" * column.optimised
    return f"{column.label} {_arrow(column)}{marks}"


def _notes(report: Report) -> str:
    notes = [
        "† trained on: shares a backbone or a target with a loss or the scorer. ‡ raised by a method of this table."
    ]
    if any(report.set_values.values()) and (few := caution(len(report.pictures))):
        notes.append(f"**Few**: {few}.")
    notes += [f"**Not run: {column.label}**: {column.skipped}." for column in report.columns if column.skipped]
    notes += [
        f"**Failed: {method.name}**: {', '.join(f'{picture} ({reason})' for picture, reason in failed.items())}. Its "
        "means are over the other pictures."
        for method in report.methods
        if (failed := method.facts.get(FAILED))
    ]
    return "\n\n".join(notes)


def _guards(report: Report) -> Iterator[str]:
    labels = {column.id: column.label for column in report.columns}
    for raised, guard in report.companions.items():
        yield f"## Beside {labels[raised]}, which is raised"
        held = [column.label for column in report.columns if column.id in guard["held out"] and not column.skipped]
        yield f"Held out: {', '.join(held) or 'nothing, so nothing is proved'}."
        changed = guard["under identity threshold"]
        if not changed:
            yield "Faces of another person were not counted: no identity was run."
            continue
        over = f"{labels[guard['identity']]} above {guard['threshold']}"
        head = ["", f"faces of another person ({over}), of {len(report.pictures)}"]
        yield table([head, *([method, str(count)] for method, count in changed.items())])


def _scores(report: Report) -> Iterator[str]:
    for name, rows in report.scores.items():
        terms = list(TERMS)
        lines = [["", "score", *terms, "identity gate"]]
        for method, row in rows.items():
            score = "–" if row["score"] is None else f"{row['score']:.4f}" + " (incomplete)" * (not row["complete"])
            found = [f"{row['terms'][term]:.4f}" if term in row["terms"] else "not run" for term in terms]
            lines.append([method, score, *found, _gate(row["gate"])])
        yield f"## {name}"
        yield table(lines)


def _gate(gate: Mapping[str, Any]) -> str:
    if "not run" in gate:
        return f"not run: {gate['not run']}"
    return f"{'valid' if gate['valid'] else 'INVALID'}: {gate['below']} below, {gate['allowed']} allowed"


def _remarks(report: Report, column: Column) -> str:
    facts = report.environment.get("protocols", {}).get(column.id, {})
    parts = [f"{'lower' if column.lower_better else 'higher'} is better", facts.get("note", "")]
    parts += [f"trained on: {column.trained_on}"] if column.trained_on else []
    return "; ".join(part for part in parts if part)


def _mean(report: Report, rows: Intervals, method: str, column: Column) -> float | None:
    whole = report.set_values.get(method, {}).get(column.id)
    found = rows.get(method, {}).get(column.id)
    return whole if found is None or math.isnan(found.mean) else found.mean


def _best(report: Report, rows: Intervals, column: Column) -> float:
    found = [_mean(report, rows, method.name, column) for method in report.methods]
    known = [value for value in found if value is not None]
    return min(known) if column.lower_better else max(known)


def _known(report: Report, method: str, column: Column) -> int:
    """The number of pictures that have a value."""
    row = report.values.get(method, {}).get(column.id)
    return len(report.pictures) if row is None else sum(value is not None for value in row)


def _arrow(column: Column, tex: bool = False) -> str:
    if tex:
        return r"$\downarrow$" if column.lower_better else r"$\uparrow$"
    return "↓" if column.lower_better else "↑"


def _tex(text: str) -> str:
    return text.translate(_TEX)


def _tex_notes(report: Report) -> list[str]:
    skipped = [f"% not run: {column.id}: {column.skipped}" for column in report.columns if column.skipped]
    return [f"% N = {len(report.pictures)}", *skipped]


def _write_rows(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    found = list(rows)
    names = dict.fromkeys(name for row in found for name in row)
    write_csv(path, [names, *([_digits(row.get(name)) for name in names] for row in found)])


def _digits(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return "" if value is None else value


def _interval(given: Mapping[str, float | None]) -> Interval:
    return Interval(*(math.nan if given[name] is None else given[name] for name in Interval._fields))  # type: ignore
