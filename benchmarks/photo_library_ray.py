"""A library by Ray Data: 1 and 2 actors beside the plain pipeline on one machine, what a photo costs more, a lost node.

    python -m benchmarks.photo_library_ray --photos 2000 --faces 200

The photos are those of `benchmarks.photo_library`; here, too, the detector looks at photos in colour alone. Each way
restores all of them into a folder of its own. The speed is that between the first and the last result, by the times at
which they were written, so that the start of Ray and the loading of the model are told apart. At last a cluster of two
nodes, as far as Ray knows, restores them, of which one is killed when a quarter is done.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common.results import RESULTS, ROOT, OutOption, page, provenance, write_json, write_text
from benchmarks.photo_library import InColour, results_in, speed, times_of, write_library
from iqp_adapter import cluster, load
from iqp_adapter.photo import CenterFace, find_photos, restore_files
from iqp_adapter.photo.outcomes import PhotoReport

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["PYTHONPATH"] = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))  # of actors


def parts() -> dict[str, Any]:
    return {"model": load("tiny", device="cpu", engine="torch"), "detector": InColour(CenterFace())}


def measured(reports: Iterable[PhotoReport], out: Path) -> dict[str, Any]:
    """What came of a run, and how fast."""
    started = time.time()
    done = list(reports)
    seconds = time.time() - started
    times, results = times_of(out), Counter(results_in(out))
    return {
        "photos": len(done),
        "results": len(times),
        "photos that were restored twice": sum(times > 1 for times in results.values()),
        "failed": sum(report.status == "failed" for report in done),
        "seconds to the first result": times[0] - started,
        "photos per second": speed(times),
        "seconds in all": seconds,
    }


def one_way(photos: dict[Path, Path], out: Path, actors: int) -> dict[str, Any]:
    """By so many actors; by the plain pipeline for none."""
    if actors:
        return measured(cluster.restore_files(photos, out, parts, ray="local", actors=actors, gpu=False), out)
    return measured(restore_files(photos, out, **parts()), out)


def losing_a_node(photos: dict[Path, Path], out: Path) -> dict[str, Any]:
    """By an actor on each of two nodes, of which one is killed."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        second = nodes.add_node(num_cpus=1)
        nodes.wait_for_nodes()
        done_then = 0

        def watched() -> Iterable[PhotoReport]:
            nonlocal done_then
            runs = cluster.restore_files(photos, out, parts, ray=nodes.address, gpu=False)
            for number, report in enumerate(runs):
                if number == len(photos) // 4:
                    nodes.remove_node(second, allow_graceful=False)
                    done_then = len(results_in(out))
                yield report

        return measured(watched(), out) | {"results when the node was killed": done_then}
    finally:
        nodes.shutdown()


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
        ways = [{"actors": number} | one_way(found, work / f"out-{number}", number) for number in actors]
        killed = losing_a_node(found, work / "out-killed")
    plain = next((1 / way["photos per second"] for way in ways if not way["actors"]), None)
    for way in ways:
        way["milliseconds more a photo"] = (
            None if plain is None else 1e3 * (max(1, way["actors"]) / way["photos per second"] - plain)
        )
    rows = [["", *(f"{number} actors" if number else "plain" for number in actors)]]
    rows += [[fact, *(_shown(way[fact]) for way in ways)] for fact in list(ways[0])[1:]]
    lost = [["", "two nodes, of which one is killed"], *([fact, _shown(value)] for fact, value in killed.items())]
    write_json(out / "photo_library_ray.json", provenance(0) | {"ways": ways, "killed node": killed})
    notes = "On the CPU of one machine; the detector looks at photos in colour alone, which are those with a face."
    write_text(
        out / "photo_library_ray.md", page("A library by Ray", notes, {"Ways": rows, "A node that is killed": lost})
    )


def _shown(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    typer.run(main)
