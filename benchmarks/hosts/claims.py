"""Every comparison on hosts in one table: what each recipe gains over the bare host, its cost, and what holds.

python -m benchmarks.hosts.claims

Reads what `benchmarks.hosts.compare` wrote, and the results of its first form, which are in `former`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from benchmarks.common.results import RESULTS, OutOption, page, write_text
from benchmarks.hosts.compare import BARE, DRIVING, MARGINS
from iqp_adapter.bench.intervals import Interval

SHOWN = (DRIVING, "iqp-judge", "niqe@512", "piqe", *MARGINS)
RIVALS = (BARE, "finetuned", "filtered")
OVER = [f"over {rival}" for rival in RIVALS]
HEAD = ["host", "px", "recipe", "scale", "seeds", "updates", "hours", "set", *SHOWN, *OVER, "dial"]
NOTE = (
    "Gains over the bare host at `best`, with 95 % intervals over people; positive is better. Adapters ask for "
    "iqp-lite. Scale is the strength of the adapter. Claims and dial are of the recipe that was chosen; the page of "
    "the host says what they mean."
)
FORMER = "former"
"""Folder of the results of the first form."""

Content = Mapping[str, Any]


def found_in(folder: Path) -> Iterator[Content]:
    """Every comparison below a folder, in the order of the files' names, with a link to its page."""
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_text())
        if "recipe" in content and "costs" in content:
            yield content | {"link": link(content["host"], path, folder)}


def link(host: str, path: Path, folder: Path) -> str:
    return f"[{host}]({path.relative_to(folder).with_suffix('.md')})"


def part_of(content: Content) -> str:
    """Of the data: dev or val."""
    return str(content["data"][0]["part"])


def rows_of(content: Content) -> Iterator[list[str]]:
    """One row for every recipe on every set."""
    for recipe, cost in content["costs"].items():
        chosen, scale = recipe == content["recipe"], "" if recipe in RIVALS else f"{content.get('scale', 1):g}"
        seeds = str(content["seeds of training"]) if chosen else ""
        spent = [seeds, f"{cost['updates']:g}", f"{cost['hours'] + cost['hours of search']:.2f}"]
        for name, of in content["sets"].items():
            claims = [yes_or_no(of["claims"].get(rival)) if chosen else "" for rival in RIVALS]
            gains = of["gains"][BARE][recipe]
            dial = yes_or_no(of["dial"]) if chosen else ""
            yield [content["link"], str(content["side"]), recipe, scale, *spent, name, *shown(gains), *claims, dial]


def shown(gains: Mapping[str, Mapping[str, float]]) -> list[str]:
    return [str(Interval(**gains[judge])) if judge in gains else "" for judge in SHOWN]


def yes_or_no(claim: Content | None) -> str:
    return "" if claim is None else "yes" if claim["holds"] else "no"


def former_rows(folder: Path) -> Iterator[list[str]]:
    """One row for the adapter of each host. These results judge by fewer metrics, and claim for each metric alone."""
    words = "best beats bare on "
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        claims = {one["claim"]: one["gain"] for one in content["claims"]}
        gains = {
            judge: claims[name]
            for judge in SHOWN
            for name in claims
            if name.startswith(words) and name.removeprefix(words).split()[0] == judge
        }
        dial = {"holds": all(of["holds"] for of in content["dial"].values())}
        host = link(content["host"], path, folder.parent)
        yield [host, str(content["seeds of training"]), *shown(gains), yes_or_no(dial)]


def main(out: OutOption = RESULTS / "hosts") -> None:
    """Collects, and writes."""
    contents = list(found_in(out))
    tables = {
        f"On {part}": [HEAD, *(row for content in contents if part_of(content) == part for row in rows_of(content))]
        for part in ("val", "dev")
    }
    tables["Before, on val, studio photos alone"] = [["host", "seeds", *SHOWN, "dial"], *former_rows(out / FORMER)]
    write_text(out / "claims.md", page("Adapters on every host", NOTE, tables))


if __name__ == "__main__":
    typer.run(main)
