"""Films that are strange or damaged through `iqp restore`: each becomes what it shows, or is refused in one line."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import compress
from pathlib import Path
from random import Random
from typing import NamedTuple

import av
import numpy as np

from benchmarks.faults.children import bound_memory, iqp, run
from benchmarks.faults.film_forms import damaged, films

FURTHER_BYTES = 4 * 2**30
"""More memory than any of these small films may need."""

LOSSY = 6
"""Mean difference in levels that another encoding may make where no face is."""

APART = 2e-3
"""Seconds by which units of time round."""


SUFFIXES = (".mp4", ".mp4", ".mov", ".mkv")
"""Of results."""


class Seen(NamedTuple):
    """What an independent reader sees and hears of a film, its times in seconds since its first frame.

    Attributes:
        pictures: (H, W, 3) upright.
    """

    times: np.ndarray
    pictures: list[np.ndarray]
    sound: bytes
    sound_begins: float


def campaign(number: int, folder: Path, seed: int) -> Iterator[Counter[str]]:
    """Counts, each time more of them are known: first of every form as it is, then of damaged ones."""
    model = small_model(folder)
    made = run(lambda: _write_films(folder / "forms"), folder / "made.log")
    if made.status != 0:
        raise RuntimeError(f"nothing to damage: {made.output}")
    forms = sorted((folder / "forms").iterdir())
    counts = Counter[str]()
    for position in range(number):
        rng = Random(f"{seed} {position}")
        form = forms[position] if position < len(forms) else rng.choice(forms)
        name, content = form.name, form.read_bytes()
        if position >= len(forms):
            name, content = damaged(name, content, rng)
        counts += _restored(folder / "film", name, content, form, model, rng.choice(SUFFIXES))
        yield counts


def small_model(folder: Path) -> Path:
    """A native model with random weights, which takes milliseconds a face."""
    from benchmarks.faults.weights import SMALL

    def make() -> None:
        import torch

        from iqp_adapter.native import IQPFR, preset

        torch.manual_seed(0)
        IQPFR(preset("tiny-256", **SMALL)).save_pretrained(folder / "model")

    made = run(make, folder / "model.log")
    if made.status != 0:
        raise RuntimeError(f"no model: {made.output}")
    return folder / "model"


def _write_films(folder: Path) -> None:
    folder.mkdir()
    for name, content in films(folder).items():
        (folder / name).write_bytes(content)


def _restored(place: Path, name: str, content: bytes, form: Path, model: Path, suffix: str) -> Counter[str]:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    source, out = place / name, place / "out" / f"film{suffix}"
    source.write_bytes(content)
    words = ("restore", source, "-o", out, "--device", "cpu", "--model", model)
    ended = run(lambda: _bounded(*words), place.with_suffix(".log"))
    counts = Counter(files=1, traces=int(ended.traced), hangs=int(ended.status is None))
    counts["lost"] += source.read_bytes() != content
    if ended.status == 0:
        counts["restored"] += 1
        counts["wrong"] += run(lambda: _compare(source, out, form), place.with_suffix(".wrong")).status != 0
        counts["left over"] += {path.name for path in out.parent.iterdir()} != {out.name}
    else:
        counts["refused"] += 1
        counts["unnamed"] += name not in ended.output and out.name not in ended.output
        counts["half-written"] += out.exists()
    return counts


def _bounded(*words: object) -> None:
    bound_memory(FURTHER_BYTES)
    iqp(*words)()


def _compare(source: Path, out: Path, form: Path) -> None:
    """Ends with status 1 and says why, where a film does not show or sound as its source.

    What is shown in the place of damaged parts is by chance. So the pictures that count are those that are as in the
    form before it was damaged.
    """
    before, after, whole = seen(source), seen(out), seen(form)
    whole_ones = [np.array_equal(*pair) for pair in zip(before.pictures, whole.pictures, strict=False)]
    is_whole = len(whole_ones) == len(before.pictures) and all(whole_ones)
    pairs = zip(before.pictures, after.pictures, strict=False)
    faults = {
        "frames": is_whole and len(before.times) != len(after.times),
        "times": any(abs(one - other) > APART for one, other in zip(before.times, after.times, strict=False)),
        "pictures": any(_differ(*pair) for pair in compress(pairs, whole_ones)),
        "sound": before.sound != after.sound,
        "start of the sound": abs(before.sound_begins - after.sound_begins) > APART,
    }
    if any(faults.values()):
        print("other", ", ".join(name for name, found in faults.items() if found))
        raise SystemExit(1)


def _differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two pictures are not the same in the corner that is far from the face."""
    side = -(-min(one.shape[:2]) // 6)
    return one.shape != other.shape or float(np.abs(one - other)[-side:, -side:].mean()) > LOSSY


def seen(path: Path) -> Seen:
    """Reads a film frame by frame, without threads; a frame that is shown before an earlier one is left out."""
    times: list[float] = []
    pictures = []
    for frame in _frames(path):
        time = float((frame.dts if frame.pts is None else frame.pts) * frame.time_base)
        if not times or time > times[-1]:
            times.append(time)
            pictures.append(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)).astype(np.int16))
    with av.open(str(path)) as film:
        sound = [packet for packet in film.demux() if packet.stream.type == "audio" and packet.size]
    begins = float(sound[0].pts * sound[0].time_base) - times[0] if sound and sound[0].pts is not None else 0.0
    return Seen(np.array(times) - times[0], pictures, b"".join(map(bytes, sound)), begins)


def _frames(path: Path) -> Iterator[av.VideoFrame]:
    """The frames up to the first one that cannot be read."""
    with av.open(str(path)) as film, suppress(av.FFmpegError):
        yield from film.decode(video=0)
