"""A library of many small photos in folders of folders: start, speed, memory, going on after a kill, several processes.

    python -m benchmarks.photo_library --photos 20000 --faces 200 --shared 2000

Photos are 64 x 64 px in folders of two levels: grey noise by seed, and among them, evenly, the astronaut's face in
colour. A photo without a face costs the detector six looks, far longer than all the rest. So it looks at photos in
colour alone, where `--look-at-all` is not given.

The first run is killed with half of the photos done; the second goes on to the end; the third finds all complete. Then
1, 2 and 4 processes share an output. Every run is the command `iqp restore` in a process of its own; what is done is
counted by the lines of the journal.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from benchmarks.common.results import RESULTS, ROOT, OutOption, page, provenance, write_json, write_text
from iqp_adapter.photo.journal import RECORD

SIDE, IN_A_FOLDER, FOLDERS_IN_ONE = 64, 100, 10
LEVEL_FACE = (176, 8, 304, 136)
"""Of the astronaut: left, upper, right, lower; a crop may begin up to 20 px further to the right or down."""

POLL = 0.1
MEASURED = 0.05
"""Share of the photos by which the speed at the beginning and at the end is measured."""

WORD = "import sys; from benchmarks.photo_library import restore; restore(sys.argv[1] == 'all', sys.argv[2:])"


class InColour:
    """Looks for faces in photos that are not grey."""

    def __init__(self, detector: Any) -> None:
        self.detector = detector

    def __call__(self, rgb: np.ndarray) -> Any:
        from iqp_adapter.photo import Faces

        is_grey = (rgb == rgb[..., :1]).all()
        return Faces(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2))) if is_grey else self.detector(rgb)


def restore(look_at_all: bool, words: list[str]) -> None:
    """The command; ends the process."""
    from iqp_adapter.cli import app
    from iqp_adapter.photo import detectors

    if not look_at_all:
        named = detectors.detector
        detectors.detector = lambda *given: InColour(named(*given))
    app(words)


def write_library(folder: Path, photos: int, faces: int) -> None:
    """Different JPEG photos in folders of two levels, of which every n-th has a face."""
    from skimage.data import astronaut

    whole, every = Image.fromarray(astronaut()), photos // faces if faces else photos + 1
    for number in range(photos):
        rng = np.random.default_rng(number)
        place = folder / f"{number // IN_A_FOLDER // FOLDERS_IN_ONE:03}" / f"{number // IN_A_FOLDER % FOLDERS_IN_ONE}"
        place.mkdir(parents=True, exist_ok=True)
        if number % every == 0:
            right, down = (int(shift) for shift in rng.integers(0, 20, 2))
            left, upper, *corner = LEVEL_FACE
            photo = whole.crop((left + right, upper + down, corner[0] + right, corner[1] + down)).resize((SIDE, SIDE))
        else:
            photo = Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).resize((SIDE, SIDE))
        photo.save(place / f"{number:06}.jpg", quality=92)


class Run:
    """The command in a process of its own."""

    def __init__(self, photos: Path, out: Path, report: Path, look_at_all: bool) -> None:
        self.out, self.started = out, time.perf_counter()
        self.before = Lines(out / RECORD).number()
        words = ["restore", str(photos), "-o", str(out), "--device", "cpu", "--report", str(report)]
        code = [sys.executable, "-c", WORD, "all" if look_at_all else "colour"]
        self.process = subprocess.Popen([*code, *words], cwd=ROOT, stdout=subprocess.DEVNULL)
        self.seen: list[tuple[float, int, float]] = []
        """Seconds, results so far, memory in MiB."""

    def watch(self, until: int | None = None) -> Run:
        """Looks at the run until it ends, or until the journal has so many results; then it is killed.

        Raises:
            RuntimeError: if it does not succeed.
        """
        counted = Lines(self.out / RECORD)
        while self.process.poll() is None:
            done = counted.number()
            self.seen.append((time.perf_counter() - self.started, done, self._memory()))
            if until is not None and done >= until:
                self.process.kill()
                self.process.wait()
                return self
            time.sleep(POLL)
        self.wait()
        self.seen.append((self.seconds, counted.number(), self.seen[-1][2]))
        return self

    def wait(self) -> None:
        """Raises RuntimeError if it does not succeed."""
        code = self.process.wait()
        self.seconds = time.perf_counter() - self.started
        if code != 0:
            raise RuntimeError(f"iqp restore ended with {code}")

    def to_first(self) -> float:
        """Seconds until the first new result."""
        return next(seconds for seconds, done, _ in self.seen if done > self.before)

    def memory(self, first: int) -> float:
        """MiB in use when there were so many results."""
        return next(memory for _, done, memory in self.seen if done >= first)

    def _memory(self) -> float:
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return 0.0
        return int(status.split("VmRSS:")[1].split()[0]) / 2**10 if "VmRSS:" in status else 0.0


class Lines:
    """Counts the results in a journal that grows."""

    def __init__(self, path: Path) -> None:
        self.path, self.place, self.found = path, 0, 0

    def number(self) -> int:
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self.place)
                self.found += (content := file.read()).count(b'"report"')
                self.place += len(content)
        return self.found


def times_of(out: Path) -> list[float]:
    """When each result was written, in order."""
    return sorted(path.stat().st_mtime for path in out.rglob("*.jpg"))


def speed(times: Sequence[float]) -> float:
    """Results per second, from the first to the last."""
    return (len(times) - 1) / (times[-1] - times[0])


def results_in(out: Path) -> list[str]:
    """The outputs of all results in a journal; a line that a kill cut short is none."""
    lines = [line for line in (out / RECORD).read_text().splitlines() if line.endswith("}")]
    return [line["output"] for line in map(json.loads, lines) if "report" in line]


def one_process(photos: Path, work: Path, number: int, look_at_all: bool) -> dict[str, Any]:
    """A run that is killed at half, one that goes on, one that finds all done."""
    out, report, few = work / "out", work / "report.json", max(2, int(MEASURED * number))
    killed = Run(photos, out, report, look_at_all).watch(number // 2)
    resumed = Run(photos, out, report, look_at_all).watch()
    again = Run(photos, out, report, look_at_all).watch()
    told, times = json.loads(report.read_text())["photos"], times_of(out)
    return {
        "photos": number,
        "photos with a restored face": sum(bool(one["faces"]) and one["status"] != "failed" for one in told),
        "failed": sum(one["status"] == "failed" for one in told),
        "results in the journal": len(results_in(out)),
        "seconds to the first result": killed.to_first(),
        "files per second at the beginning": speed(times[: 1 + few]),
        "files per second at the end": speed(times[-1 - few :]),
        "MiB at the beginning": killed.memory(few),
        "MiB at the end": resumed.memory(number - few),
        "seconds to the first new result after a kill": resumed.to_first(),
        "seconds of a run that finds all complete": again.seconds,
    }


def several(photos: Path, work: Path, number: int, processes: int, look_at_all: bool) -> dict[str, Any]:
    """Processes that share an output."""
    out = work / f"out-{processes}"
    reports = [work / f"report-{processes}-{place}.json" for place in range(processes)]
    runs = [Run(photos, out, report, look_at_all) for report in reports]
    for run in runs:
        run.wait()
    told = [json.loads(report.read_text())["photos"] for report in reports]
    restored = Counter(one["output"] for one in chain(*told) if one["status"] in ("restored", "unchanged"))
    left = [path.name for path in out.iterdir() if path.name.startswith(".") and path.name != RECORD]
    return {
        "photos": number,
        "processes": processes,
        "seconds": max(run.seconds for run in runs),
        "results in the journal": len(results_in(out)),
        "photos that were restored by one process": sum(times == 1 for times in restored.values()),
        "photos that were restored by more": sum(times > 1 for times in restored.values()),
        "photos in each report": [len(one) for one in told],
        "left over": left,
    }


def markdown(found: dict[str, Any]) -> str:
    def rows(facts: Sequence[dict[str, Any]]) -> list[list[str]]:
        names = list(facts[0])
        return [["", *map(str, range(1, 1 + len(facts)))]] + [
            [name, *(f"{one[name]:.1f}" if isinstance(one[name], float) else str(one[name]) for one in facts)]
            for name in names
        ]

    notes = f"Photos of {SIDE} x {SIDE} px in folders of two levels, `iqp restore` with its defaults and a report."
    if not found["detector looks at all photos"]:
        notes += " The detector looks at photos in colour alone, which are those with a face."
    return page("A library", notes, {"One process": rows([found["one"]]), "Several": rows(found["several"])})


def main(
    photos: Annotated[int, typer.Option(min=40, help="Of the run of one process.")] = 20_000,
    faces: Annotated[int, typer.Option(min=0, help="Photos of these with a face.")] = 200,
    shared: Annotated[int, typer.Option(min=8, help="Photos that several processes share.")] = 2_000,
    processes: Annotated[list[int], typer.Option(min=1, help="May be repeated.")] = [1, 2, 4],  # noqa: B006
    look_at_all: Annotated[bool, typer.Option("--look-at-all", help="Look for faces in grey photos, too.")] = False,
    out: OutOption = RESULTS,
) -> None:
    """Measures all of it."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_library(work / "library", photos, faces)
        write_library(work / "shared", shared, max(1, faces * shared // photos))
        found: dict[str, Any] = {"one": one_process(work / "library", work, photos, look_at_all), "several": []}
        found["detector looks at all photos"] = look_at_all
        for number in processes:
            found["several"].append(several(work / "shared", work, shared, number, look_at_all))
    write_json(out / "photo_library.json", provenance(0) | found)
    write_text(out / "photo_library.md", markdown(found))


if __name__ == "__main__":
    typer.run(main)
