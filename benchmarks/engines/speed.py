"""How fast is a face of 512 px, by the host's own script and by every engine? Full-size hosts, and the shipped model.

python -m benchmarks.engines.speed --threads 2

Weights are random, which changes no cost; the dial acts in every way but the host's own. Ways are called in turn, and
ratios are medians over the rounds. Each way's start and peak memory are of a process of its own. Nothing else should
run meanwhile; what was measured before with the same settings is kept.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

import iqp_adapter as iqp
from benchmarks.common.peak_memory import alone, peak_memory
from benchmarks.common.results import RESULTS, OutOption, page, provenance, write_json, write_text
from benchmarks.common.timing import in_turn, ratio
from benchmarks.wrap import full_size
from iqp_adapter.engines.choice import Way
from iqp_adapter.engines.eager import Eager
from iqp_adapter.engines.export import export
from iqp_adapter.engines.exported import Exported
from iqp_adapter.restorer import Restorer

OWN = "own script"
"""The bare host in torch, called as its repository's script calls it."""

WAYS: tuple[Way, ...] = (
    ("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16"), ("onnx", "fp32"),
)  # fmt: skip
TARGETS = {"torch fp32": 1.5, "openvino fp32": 2.0, "openvino bf16": 4.0}
"""Times the own script's speed."""

SUBJECTS = ("tiny", *full_size.ALL)


def restorer_of(name: str) -> Restorer:
    """The shipped model, or a full-size host with an adapter that acts."""
    return iqp.load(name, device="cpu") if name == "tiny" else full_size.wrapped(full_size.build(name))


def own(name: str) -> Callable[[Tensor], Any]:
    """What its users run today: the bare host, or the shipped model as torch has it."""
    if name == "tiny":
        return partial(restorer_of(name).restore, quality=0.9)
    host, arguments = full_size.build(name), full_size.HOSTS[name].arguments
    return lambda lq: host(2 * lq - 1, **arguments)


def made(name: str, way: Way, folder: Path) -> Callable[[Tensor], Any]:
    """A way to restore; what is exported is in a folder already."""
    engine, precision = way
    runs = Eager(restorer_of(name), precision) if engine == "torch" else Exported(folder / " ".join(way))
    return partial(runs.restore, quality=0.9)


def exported(name: str, way: Way, folder: Path) -> float:
    """Seconds to export."""
    started = time.perf_counter()
    export(restorer_of(name), folder / " ".join(way), *way)
    return time.perf_counter() - started


def face() -> Tensor:
    side = full_size.SIDE
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def start(name: str, way: Way | None, folder: Path, threads: int) -> dict[str, float]:
    """In a process of its own: seconds from nothing to the first face, and peak memory in MiB."""
    torch.set_num_threads(threads)
    lq, started = face(), time.perf_counter()
    restore = own(name) if way is None else made(name, way, folder)
    restore(lq)
    seconds = time.perf_counter() - started
    restore(lq)
    return {"first face, seconds": seconds, "peak, MiB": peak_memory()}


@torch.no_grad()
def measure(name: str, rounds: int, threads: int, folder: Path) -> dict[str, Any]:
    """Seconds of every way, ratios to the own script, starts and memory."""
    exports = {" ".join(way): alone(exported, name, way, folder) for way in WAYS if way[0] != "torch"}
    starts = {label: alone(start, name, way, folder, threads) for label, way in labelled()}
    lq = face()
    runs = {label: own(name) if way is None else made(name, way, folder) for label, way in labelled()}
    times = in_turn({label: partial(run, lq) for label, run in runs.items()}, rounds)
    return {
        label: {
            "seconds": times[label],
            "speed": ratio(times[OWN], times[label]),
            "export, seconds": exports.get(label, 0.0),
            **starts[label],
        }
        for label in runs
    }


def labelled() -> Iterator[tuple[str, Way | None]]:
    yield OWN, None
    yield from ((" ".join(way), way) for way in WAYS)


def markdown(results: Mapping[str, Any]) -> str:
    """A table for every subject."""
    notes = (
        "Seconds for one face, medians over the rounds; speed as a multiple of the own script's, with its 95 % "
        "interval; seconds to export once; seconds from nothing to the first face, and peak memory, each in a process "
        "of its own."
    )
    head = ["", "seconds", "speed", "target", "export", "first face", "peak, MiB"]
    tables = {name: [head, *(row(label, of) for label, of in ways.items())] for name, ways in results.items()}
    return page("Engines and precisions: speed", notes, tables)


def row(label: str, of: Mapping[str, Any]) -> list[str]:
    low, high = of["speed"]["interval"]
    seconds = sorted(of["seconds"])[len(of["seconds"]) // 2]
    return [
        label,
        f"{seconds:.3f}",
        f"{of['speed']['ratio']:.2f} [{low:.2f}, {high:.2f}]",
        f"{TARGETS[label]:g}" if label in TARGETS else "",
        f"{of['export, seconds']:.0f}" if of["export, seconds"] else "",
        f"{of['first face, seconds']:.1f}",
        f"{of['peak, MiB']:.0f}",
    ]


def main(
    subject: Annotated[list[str], typer.Option(help="may be repeated")] = list(SUBJECTS),  # noqa: B006 - typer copies it
    rounds: Annotated[int, typer.Option(min=1, help="at least 7 for numbers that are kept")] = 7,
    threads: int = 2,
    out: OutOption = RESULTS / "engines",
) -> None:
    """Measures the subjects that are missing, and writes all of them."""
    torch.set_num_threads(threads)
    settings = {"threads": threads, "rounds": rounds}
    results = known_subjects(out / "speed.json", settings)
    for name in subject:
        if name not in results:
            with tempfile.TemporaryDirectory() as folder:
                results[name] = measure(name, rounds, threads, Path(folder))
            write_json(out / "speed.json", {"settings": settings, "subjects": results} | provenance(0))
    write_text(out / "speed.md", markdown(results))


def known_subjects(path: Path, settings: dict[str, int]) -> dict[str, Any]:
    """What was measured before with these settings."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return known["subjects"] if known.get("settings") == settings else {}


if __name__ == "__main__":
    typer.run(main)
