"""A library by Ray Data: 1 and 2 actors beside the plain pipeline on one machine, and what a photo costs more.

    python -m benchmarks.photo_library_ray --photos 400 --faces 40

The photos are those of `benchmarks.photo_library`. Each way restores all of them into a folder of its own. The speed is
that between the first result and the last, so that the start of Ray and the loading of the model are told apart.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common.results import RESULTS, OutOption, page, provenance, write_json, write_text
from benchmarks.photo_library import write_library
from iqp_adapter import cluster, load
from iqp_adapter.photo import find_photos, restore_files
from iqp_adapter.photo.outcomes import PhotoReport


def parts() -> dict[str, Any]:
    return {"model": load("tiny", device="cpu", engine="torch")}


def measured(reports: Iterator[PhotoReport], started: float) -> dict[str, Any]:
    """How fast reports come."""
    times, statuses = [], []
    for report in reports:
        times.append(time.perf_counter())
        statuses.append(report.status)
    return {
        "photos": len(times),
        "restored or unchanged": sum(status in ("restored", "unchanged") for status in statuses),
        "seconds to the first result": times[0] - started,
        "photos per second": (len(times) - 1) / (times[-1] - times[0]),
        "seconds in all": time.perf_counter() - started,
    }


def one_way(photos: dict[Path, Path], out: Path, actors: int) -> dict[str, Any]:
    """By so many actors; by the plain pipeline for none."""
    started = time.perf_counter()
    if actors:
        reports = cluster.restore_files(photos, out, parts, ray="local", actors=actors, gpu=False)
    else:
        reports = restore_files(photos, out, **parts())
    return {"actors": actors} | measured(reports, started)


def main(
    photos: Annotated[int, typer.Option(min=40)] = 2_000,
    faces: Annotated[int, typer.Option(min=0, help="Photos of these with a face.")] = 200,
    actors: Annotated[list[int], typer.Option(min=0, help="0 is the plain pipeline; may be repeated.")] = [0, 1, 2],  # noqa: B006
    out: OutOption = RESULTS,
) -> None:
    """Measures each way once."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_library(work / "library", photos, faces)
        found = find_photos([work / "library"]).photos
        ways = [one_way(found, work / f"out-{number}", number) for number in actors]
    plain = next((1 / way["photos per second"] for way in ways if not way["actors"]), None)
    for way in ways:
        way["milliseconds more a photo"] = (
            None if plain is None else 1e3 * (max(1, way["actors"]) / way["photos per second"] - plain)
        )
    rows = [["", *(f"{number} actors" if number else "plain" for number in actors)]]
    rows += [[fact, *(f"{way[fact]:.2f}" if isinstance(way[fact], float) else str(way[fact]) for way in ways)]
             for fact in list(ways[0])[1:]]  # fmt: skip
    write_json(out / "photo_library_ray.json", provenance(0) | {"ways": ways})
    write_text(out / "photo_library_ray.md", page("A library by Ray", "On the CPU of one machine.", {"Ways": rows}))


if __name__ == "__main__":
    typer.run(main)
