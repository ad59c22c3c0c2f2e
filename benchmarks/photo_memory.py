"""Peak memory of `iqp score`, `iqp restore` and `iqp bench` as the number of photos grows.

    python -m benchmarks.photo_memory --task score-large --count 1 --count 8
    python -m benchmarks.photo_memory --count 10 --count 100 --count 1000

Every measurement is a command in a process of its own, from files to files, and its peak is that of the whole process.
Photos are the astronaut with noise and a crop by seed: 320 x 320 px, or 4000 x 3000 px for `score-large`. What was
measured before is kept, and only missing counts are run; the table and the curves show all of it.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image

from benchmarks.common.peak_memory import alone, peak_memory
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json, write_text
from iqp_adapter.bench.text import table
from iqp_adapter.pictures.plots import save_plot

SMALL, LARGE = (320, 320), (4000, 3000)
FACE_INSIDE = (64, 0, 384, 320)
"""Of the astronaut: left, upper, right, lower; a crop may begin up to 40 px further to the right or down."""

Command = Callable[[Path, Path], list[str]]
"""Folder of photos, folder of results -> the words after `iqp`."""


def score(metric: str, photos: Path, out: Path) -> list[str]:
    return ["score", str(photos), "-m", metric, "--csv", f"{out}/scores.csv", "--cache", f"{out}/scores.sqlite"]


def restore(photos: Path, out: Path) -> list[str]:
    return ["restore", str(photos), "-o", str(out)]


def bench(photos: Path, out: Path) -> list[str]:
    return ["bench", "--lq", str(photos), "--quality", "best", "-m", "iqp-lite", "-m", "piqe", "-o", str(out)]


METRICS = ("iqp-lite@2", "iqp-lite@1", "iqp-colour", "niqe", "piqe")
TASKS: dict[str, dict[str, Command]] = {
    "score": {f"score {metric}": partial(score, metric) for metric in METRICS},
    "score-large": {f"score {metric}, 12 megapixels": partial(score, metric) for metric in METRICS},
    "restore": {"restore": restore},
    "bench": {"bench": bench},
}
"""Task -> its series by name."""

QUICK = [task for task in TASKS if task != "score-large"]


def write_photos(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Different JPEG photos of one face."""
    from skimage.data import astronaut

    whole = Image.fromarray(astronaut())
    for seed in range(count):
        rng = np.random.default_rng(seed)
        right, down = (int(shift) for shift in rng.integers(0, 40, 2))
        left, upper, *corner = FACE_INSIDE
        photo = whole.crop((left + right, upper + down, corner[0] + right, corner[1] + down)).resize(size)
        noise = rng.integers(-8, 9, (size[1], size[0], 1), np.int16)
        pixels = (np.asarray(photo, np.int16) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed:04}.jpg", quality=92)


def peak_of(words: list[str], threads: int) -> dict[str, float]:
    """Runs a command in this process, and measures it.

    Raises:
        RuntimeError: if it does not succeed.
    """
    from typer.main import get_command

    from iqp_adapter.cli import app

    torch.set_num_threads(threads)
    started = time.perf_counter()
    with redirect_stdout(StringIO()):
        code = get_command(app).main(words, standalone_mode=False)
    if code:
        raise RuntimeError(f"iqp {' '.join(words)} ended with {code}")
    return {"peak_MiB": peak_memory(), "seconds": time.perf_counter() - started}


def measure(command: Command, count: int, size: tuple[int, int], threads: int) -> dict[str, float]:
    """Makes the photos in a folder that is removed afterwards, and runs the command in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        photos, out = Path(name, "photos"), Path(name, "out")
        photos.mkdir()
        out.mkdir()
        write_photos(photos, count, size)
        return alone(peak_of, [*command(photos, out), "--device", "cpu"], threads)


def markdown(series: dict[str, dict[str, Any]]) -> str:
    counts = sorted({int(count) for known in series.values() for count in known})
    lines = [["peak memory in MiB, by number of photos", *map(str, counts)]]
    for name, known in series.items():
        lines.append([name, *(f"{known[str(n)]['peak_MiB']:.0f}" if str(n) in known else "" for n in counts)])
    return f"# Memory\n\n{table(lines)}\n\nPhotos have 0.1 megapixels where nothing else is said.\n"


def draw(series: dict[str, dict[str, Any]], path: Path) -> None:
    """A PNG with one curve for every series."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4), layout="constrained")
    axes = figure.add_subplot(xscale="log", xlabel="photos", ylabel="peak memory in MiB")
    axes.set_prop_cycle(color=colormaps["tab20"](range(20)))
    for name, known in series.items():
        counts = sorted(map(int, known))
        axes.plot(counts, [known[str(count)]["peak_MiB"] for count in counts], marker="o", label=name)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside right upper", fontsize="small")
    save_plot(figure, path, dpi=100)


def known_series(path: Path) -> dict[str, dict[str, Any]]:
    """What was measured before: series -> number of photos -> result."""
    return json.loads(path.read_text(encoding="utf-8"))["series"] if path.exists() else {}


def main(
    task: Annotated[list[str], typer.Option(help=f"Of {', '.join(TASKS)}; may be repeated.")] = QUICK,
    count: Annotated[list[int], typer.Option(min=1, help="Number of photos; may be repeated.")] = [10, 100],  # noqa: B006
    threads: Annotated[int, typer.Option(min=1, help="Of torch.")] = 1,
    out: OutOption = RESULTS,
) -> None:
    """Measures what is missing, and writes all of it."""
    if unknown := set(task) - TASKS.keys():
        raise typer.BadParameter(f"unknown task {', '.join(unknown)}; there are {', '.join(TASKS)}")
    series = known_series(out / "photo_memory.json")
    for name in task:
        for label, command in TASKS[name].items():
            known = series.setdefault(label, {})
            for number in sorted(set(count)):
                if str(number) not in known:
                    size = LARGE if name == "score-large" else SMALL
                    known[str(number)] = measure(command, number, size, threads)
                    write_json(out / "photo_memory.json", provenance(0) | {"threads": threads, "series": series})
    write_text(out / "photo_memory.md", markdown(series))
    draw(series, out / "photo_memory.png")


if __name__ == "__main__":
    typer.run(main)
