"""A film made from a photo: time a frame, flicker, sharpness and memory, beside restoring it frame by frame.

    python -m benchmarks.film --seconds 20

The astronaut sways, turns and comes nearer by a known movement; every frame has noise of its own and goes through JPEG
of its own, and a tone sounds. Flicker is measured on the aligned face once the known movement is undone, in two ways:
the standard deviation of each pixel over a second, and its change from frame to frame, in 8-bit levels. The clip before
noise and JPEG has some of both, as it is sampled anew in each frame. Both ways write their films by the same encoder.

Every way is measured in a process of its own. Nothing else should run meanwhile.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import av
import cv2
import numpy as np
import torch
import typer
from PIL import Image
from skimage.data import astronaut

from benchmarks.common.peak_memory import alone, peak_memory
from benchmarks.common.results import RESULTS, OutOption, page, provenance, write_json, write_text
from benchmarks.common.sheets import write_sheet
from iqp_adapter import load
from iqp_adapter.film import restore_film
from iqp_adapter.film.colour import Colours
from iqp_adapter.film.reading import Frame, frames, open_film
from iqp_adapter.film.writing import write_part
from iqp_adapter.photo import CenterFace, restore_photos
from iqp_adapter.photo.align import similarity, template, transform
from iqp_adapter.pictures import warp_affine
from iqp_adapter.scoring.scorer import Scorer

RATE, SIZE, SIDE = 25, (480, 360), 256
ZOOM, NOISE, JPEG = 0.75, 8.0, 50
CENTRE = np.array([224.0, 120.0])
"""Of the astronaut's face."""

INNER = np.s_[40:220, 50:206]
"""Rows and columns of the aligned face in which flicker is measured."""

SHOWN, SHOWN_PART = 4, np.s_[66:210, 56:200]
"""Frames one after the other in the picture and by how many frames apart; rows and columns of them."""

METRICS = ("niqe", "piqe", "iqp-judge")


def motion(number: int) -> np.ndarray:
    """(2, 3) from the astronaut to a frame."""
    zoom, angle = ZOOM * (1 + 0.06 * np.sin(number / 31)), 0.06 * np.sin(number / 23)
    linear = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    place = [SIZE[0] / 2 + 50 * np.sin(number / 41), 150 + 15 * np.sin(number / 19)]
    return np.column_stack([linear, place - linear @ CENTRE])


def clean(number: int) -> np.ndarray:
    """(360, 480, 3) uint8: a frame before noise and JPEG, somewhat soft."""
    soft = cv2.GaussianBlur(astronaut(), (0, 0), 1.2)
    return warp_affine(soft, motion(number), SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def degraded(number: int) -> np.ndarray:
    noisy = clean(number) + np.random.default_rng(number).normal(0, NOISE, (SIZE[1], SIZE[0], 3))
    stored = BytesIO()
    Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8)).save(stored, "JPEG", quality=JPEG)
    return np.asarray(Image.open(stored))


def write_clip(path: Path, count: int) -> None:
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=RATE, options={"crf": "6"})
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv444p"
        sound = film.add_stream("aac", rate=16000, layout="mono")
        for number in range(count):
            picture = av.VideoFrame.from_ndarray(degraded(number), "rgb24")
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            film.mux(stream.encode(picture.reformat(format="yuv444p", dst_colorspace=5, dst_color_range=1)))
        film.mux(stream.encode())
        tone = (8000 * np.sin(0.05 * np.arange(16000 * count // RATE))).astype(np.int16)
        for start in range(0, len(tone), 1024):
            part = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="s16", layout="mono")
            part.rate, part.pts, part.time_base = 16000, start, Fraction(1, 16000)
            film.mux(sound.encode(part))
        film.mux(sound.encode())


# -- the two ways


def as_film(source: Path, out: Path, model: str, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    restorer = load(model)
    started = time.perf_counter()
    restore_film(source, out, restorer, detector=CenterFace(), force=True)
    return {"seconds": time.perf_counter() - started, "peak MiB": peak_memory()}


def frame_by_frame(source: Path, out: Path, model: str, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    restorer, film = load(model), open_film(source)
    colours, started = Colours(film), time.perf_counter()
    given: list[Frame] = []

    def photos() -> Iterator[np.ndarray]:
        for frame in frames(film):
            given.append(frame)
            yield colours.rgb(frame.picture)

    def restored() -> Iterator[tuple[int, Any]]:
        for done in restore_photos(photos(), restorer, detector=CenterFace(), force=True):
            yield given.pop(0).time, colours.frame(done.pixels)

    write_part(out, film, restored())
    return {"seconds": time.perf_counter() - started, "peak MiB": peak_memory()}


# -- what they made


def aligned(path: Path | None, count: int) -> np.ndarray:
    """(N, 256, 256, 3) float32: the faces of a film, or of the clip before noise and JPEG, each in the same place."""
    landmarks = CenterFace()(astronaut()).landmarks[0]
    pictures = map(clean, range(count)) if path is None else read(path)
    found = []
    for number, picture in enumerate(pictures):
        matrix = similarity(transform(landmarks, motion(number)), template(SIDE))
        assert matrix is not None
        found.append(warp_affine(picture.astype(np.float32), matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC))
    return np.array(found)


def read(path: Path) -> Iterator[np.ndarray]:
    film = open_film(path)
    colours = Colours(film)
    return (colours.rgb(frame.picture) for frame in frames(film))


def measured(faces: np.ndarray) -> dict[str, float]:
    inner = faces[:, INNER[0], INNER[1]]
    seconds = [inner[start : start + RATE] for start in range(0, len(inner) - RATE + 1, RATE)] or [inner]
    found = {
        "deviation": float(np.mean([second.std(0).mean() for second in seconds])),
        "change": float(np.mean([np.abs(np.diff(second, axis=0)).mean() for second in seconds])),
    }
    some = torch.from_numpy(faces[:: RATE // 2]).permute(0, 3, 1, 2).div(255).clamp(0, 1)  # (N, 3, 256, 256)
    return found | {metric: float(Scorer(metric)(some).mean()) for metric in METRICS}


def kept(source: Path, out: Path) -> dict[str, bool]:
    """Whether what is no picture is that of the source, by what a player reads."""
    before, after = facts(source), facts(out)
    return {name: before[name] == after[name] for name in before}


def facts(path: Path) -> dict[str, Any]:
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        found: dict[str, Any] = {"length": film.duration, "frame rate": stream.average_rate}
        found["times of frames"] = [frame.time for frame in film.decode(stream)]
    with av.open(str(path)) as film:
        found["sound"] = b"".join(bytes(part.to_ndarray()) for part in film.decode(audio=0))
    return found


def markdown(found: dict[str, Any]) -> str:
    ways = found["ways"]
    names = ["deviation", "change", *METRICS]
    flicker = [["", *ways], *([name, *(f"{way[name]:.2f}" for way in ways.values())] for name in names)]
    by_frame, as_one = (found["time"][way] for way in ("frame by frame", "film"))
    cost = [
        ["", "frame by frame", "film"],
        *(
            [name, f"{by_frame[name] / unit:.3g}", f"{as_one[name] / unit:.3g}"]
            for name, unit in (("seconds", found["frames"]), ("peak MiB", 1))
        ),
    ]
    cost[1][0] = "seconds a frame"
    equal = [["as in the source", ""], *([name, "yes" if same else "no"] for name, same in found["kept"].items())]
    notes = (
        f"{found['frames']} frames of {SIZE[0]} x {SIZE[1]} px, one face, {found['threads']} threads, fp32 on the CPU. "
        f"NIQE and PIQE are better when lower. A film of a quarter of the length: {found['quarter peak MiB']:.0f} MiB."
    )
    return page("A film", notes, {"Flicker and sharpness": flicker, "Cost": cost, "Kept": equal})


def strip(path: Path, faces: dict[str, np.ndarray], first: int) -> None:
    """A row for each of some frames, a column for each way."""
    place = (slice(first, first + SHOWN**2, SHOWN), *SHOWN_PART)
    columns = {name: torch.from_numpy(each[place]).permute(0, 3, 1, 2).div(255) for name, each in faces.items()}
    write_sheet(path, {name: each.clamp(0, 1) for name, each in columns.items()})


def main(
    seconds: Annotated[float, typer.Option(min=1, help="Length of the film.")] = 20,
    model: Annotated[str, typer.Option(help="What iqp_adapter.load takes.")] = "tiny",
    threads: Annotated[int, typer.Option(min=1, help="Of torch and of OpenCV.")] = 1,
    out: OutOption = RESULTS,
) -> None:
    """Measures all of it."""
    count = round(seconds * RATE)
    with tempfile.TemporaryDirectory() as name:
        source, quarter, film, singly = (Path(name, file) for file in ("a.mp4", "b.mp4", "film.mp4", "singly.nut"))
        write_clip(source, count)
        write_clip(quarter, max(RATE, count // 4))
        found: dict[str, Any] = {"frames": count, "threads": threads, "model": model}
        found["time"] = {
            "frame by frame": alone(frame_by_frame, source, singly, model, threads),
            "film": alone(as_film, source, film, model, threads),
        }
        found["quarter peak MiB"] = alone(as_film, quarter, Path(name, "c.mp4"), model, threads)["peak MiB"]
        found["kept"] = kept(source, film)
        paths: Sequence[tuple[str, Path | None]]
        paths = (("before noise", None), ("input", source), ("frame by frame", singly), ("film", film))
        faces = {way: aligned(path, count) for way, path in paths}
    found["ways"] = {way: measured(each) for way, each in faces.items()}
    by_way = {way: values["deviation"] for way, values in found["ways"].items()}
    found["deviation over the input's"] = by_way["film"] / by_way["input"]
    found["deviation over frame by frame"] = by_way["film"] / by_way["frame by frame"]
    write_json(out / "film.json", provenance(0) | found)
    strip(out / "film.png", faces, count // 2)
    write_text(out / "film.md", markdown(found))


if __name__ == "__main__":
    typer.run(main)
