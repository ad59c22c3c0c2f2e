"""Photos end to end, from files to files: faces per second, and the share of the time that is not the network's.

    python -m benchmarks.photo_pipeline --threads 2
    python -m benchmarks.photo_pipeline --model tiny --photos 4 --rounds 1 -o /tmp/try

Photos have a megapixel and one face each: the astronaut at another size and place, with noise, by seed. Each round
takes its share of the photos. It runs `restore_files`, then the network alone on the same faces in the same batches,
then, for a host of full size (random weights), a loop such as its own script has, see `common.facexlib_loop`. The share
outside the network is 1 less the network's time over the run's, in the same round. Without a trained adapter a host
restores as it always does.

Every model is measured in a process of its own; what was measured before with the same settings is kept. Nothing else
should run meanwhile.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from PIL import Image
from skimage.data import astronaut

from benchmarks.common.facexlib_loop import restore_one_by_one
from benchmarks.common.peak_memory import alone, peak_memory
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json, write_text
from benchmarks.common.timing import noted, ratio, seconds
from benchmarks.wrap.full_size import HOSTS, build
from iqp_adapter import load
from iqp_adapter.bench.text import table
from iqp_adapter.photo import CenterFace, restore_files
from iqp_adapter.restorer import Restorer

SIZE = (1152, 864)
MIN_FACE = 48
MODELS = ["tiny", *HOSTS]


def photo(seed: int) -> np.ndarray:
    """(864, 1152, 3) uint8: the astronaut, her face 50 to 90 px wide, before a soft picture of her own suit."""
    rng = np.random.default_rng(seed)
    zoom = rng.uniform(0.55, 1)
    person = cv2.resize(astronaut(), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    whole = cv2.GaussianBlur(cv2.resize(astronaut()[256:], SIZE), (0, 0), 5)
    left, top = (int(rng.integers(0, most - side + 1)) for most, side in zip(SIZE, person.shape[1::-1], strict=True))
    whole[top : top + len(person), left : left + len(person)] = person
    return (whole + rng.normal(0, 6, whole.shape)).clip(0, 255).round().astype(np.uint8)


def write_photos(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    files = [folder / f"{seed:03}.jpg" for seed in range(count)]
    for seed, file in enumerate(files):
        Image.fromarray(photo(seed)).save(file, quality=90)
    return files


def run(model: Restorer, detector: CenterFace, files: list[Path], out: Path) -> int:
    """Restores the files by this library; returns how many faces."""
    quality = "best" if model.takes_quality else None
    done = restore_files(files, out, model, detector=detector, min_face=MIN_FACE, quality=quality)
    return sum(report.restored for report in done)


def measure(name: str, count: int, rounds: int, threads: int) -> dict[str, Any]:
    """All ways in turn, round by round, after one photo that is not counted.

    Args:
        name: a host of full size, or what `iqp_adapter.load` takes.
    """
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    host = build(name) if name in HOSTS else None
    model, detector, faces, times = load(host or name), CenterFace(), 0, defaultdict(list)
    with tempfile.TemporaryDirectory() as place:
        files = write_photos(Path(place, "photos"), count)
        run(model, detector, files[:1], Path(place, "first"))
        for index in range(rounds):
            share = files[index::rounds]
            with noted(model, "restore") as network:
                found, taken = timed(run, model, detector, share, Path(place, f"ours{index}"))
            faces += found
            times["ours"].append(taken)
            times["network"].append(sum(seconds(call) for call in network.again))
            if host is not None:
                call = partial(first_of, host, HOSTS[name].arguments)
                also, taken = timed(restore_one_by_one, share, Path(place, f"loop{index}"), call, detector)
                times["loop"].append(taken)
                assert also == found, f"{also} faces in the loop, {found} in the pipeline"
    facts = {"fingerprint": model.fingerprint(), "peak_MiB": peak_memory()}
    return summary(faces, {way: np.array(each) for way, each in times.items()}) | facts


def timed(call: Any, *arguments: Any) -> tuple[int, float]:
    """A number of faces, and the seconds they took."""
    found: list[int] = []
    taken = seconds(lambda: found.append(call(*arguments)))
    return found[0], taken


def first_of(host: torch.nn.Module, arguments: Any, faces: torch.Tensor) -> torch.Tensor:
    """The pictures among what a host returns."""
    made = host(faces, **arguments)
    return made if isinstance(made, torch.Tensor) else made[0]


def summary(faces: int, times: dict[str, np.ndarray]) -> dict[str, Any]:
    """Speeds over all rounds, and medians of the ratios within them."""
    inside = ratio(times["network"], times["ours"])
    found = {
        "faces": faces,
        "faces_per_second": faces / float(times["ours"].sum()),
        "share_outside_network": 1 - inside["ratio"],
        "interval": [1 - bound for bound in reversed(inside["interval"])],
        "seconds": times,
    }
    if "loop" in times:
        found["loop"] = {
            "faces_per_second": faces / float(times["loop"].sum()),
            "ours_over_loop": ratio(times["ours"], times["loop"]),
        }
    return found


def markdown(settings: dict[str, int], models: dict[str, Any]) -> str:
    lines = [["model", "faces per second", "outside the network", "its own script's loop", "our time over the loop's"]]
    lines += [[name, *cells(found)] for name, found in models.items()]
    words = ", ".join(f"{value} {name}" for name, value in settings.items())
    return f"# Photos end to end\n\n{table(lines)}\n\n{words}. {NOTE}\n"


NOTE = (
    "Photos have one megapixel and one face each; fp32 on the CPU. Ratios are medians over rounds with 95 % intervals. "
    "The loop is that of the host's script with our landmarks and without face parsing."
)


def cells(found: dict[str, Any]) -> list[str]:
    """A line of the table."""
    low, high = found["interval"]
    ours = [f"{found['faces_per_second']:.2f}", f"{found['share_outside_network']:.1%} [{low:.1%}, {high:.1%}]"]
    if "loop" not in found:
        return [*ours, "", ""]
    ratio_to_loop = found["loop"]["ours_over_loop"]
    low, high = ratio_to_loop["interval"]
    return [*ours, f"{found['loop']['faces_per_second']:.2f}", f"{ratio_to_loop['ratio']:.2f} [{low:.2f}, {high:.2f}]"]


def known_models(path: Path, settings: dict[str, int]) -> dict[str, Any]:
    """What was measured before with these settings, by model."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return known["models"] if known.get("settings") == settings else {}


def main(
    model: Annotated[
        list[str], typer.Option(help=f"Of {', '.join(MODELS)}, or what iqp_adapter.load takes; may be repeated.")
    ] = MODELS,
    photos: Annotated[int, typer.Option(min=2, help="Photos of all rounds together.")] = 40,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of all ways, each with its share of the photos.")] = 4,
    threads: Annotated[int, typer.Option(min=1, help="Of torch and of OpenCV.")] = 2,
    out: OutOption = RESULTS,
) -> None:
    """Measures the models that are missing, and writes all of it."""
    settings = {"photos": photos, "rounds": rounds, "threads": threads}
    models = known_models(out / "photo_pipeline.json", settings)
    for name in model:
        if name not in models:
            models[name] = alone(measure, name, photos, rounds, threads)
            write_json(out / "photo_pipeline.json", provenance(0) | {"settings": settings, "models": models})
    write_text(out / "photo_pipeline.md", markdown(settings, models))


if __name__ == "__main__":
    typer.run(main)
