"""The data path at the size of FFHQ: start-up, memory, samples a second, and going on in the middle of an epoch.

    python -m benchmarks.data_path --pictures 70000 --work FOLDER

The pictures are synthetic: a few faces as JPEG, each file with other last bytes, so that no two are the same to a hash.
They are made in FOLDER (about 2.5 GB), as files and as tar shards, and stay there. Each source is measured in a process
of its own. The codes that distillation finds are measured with random ones.
"""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.common.peak_memory import alone, peak_memory
from benchmarks.common.results import RESULTS, OutOption, page, provenance, write_json, write_text
from iqp_adapter.degradations.face import Degradation
from iqp_adapter.degradations.ladder import Ladder
from iqp_adapter.training.augmentation import Augmentation
from iqp_adapter.training.dataset import FaceFolder, KeyedBatches
from iqp_adapter.training.face_sets import FaceSets
from iqp_adapter.training.found_codes import CodeStore, FoundCodes, FoundSets
from iqp_adapter.training.resuming import identity_of_sets

KINDS = ("files", "shards")
SHARD = 5000
"""Pictures of a tar file."""

PARTS = 5
"""Looks at the memory, evenly over the batches that are measured."""

CODES = (256, 1024)
"""Tokens of a 512 px picture, and entries of a codebook."""


def synthetic(count: int, side: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents of JPEG files."""
    from skimage.data import astronaut

    rng = np.random.default_rng(0)
    drawn = []
    for top, left in rng.integers(0, 60, (16, 2)):
        file = io.BytesIO()
        crop = Image.fromarray(astronaut()[top : top + 200, left + 100 : left + 300]).resize((side, side))
        crop.save(file, format="JPEG", quality=95)
        drawn.append(file.getvalue())
    for place in range(count):
        yield f"{place:06d}.jpg", drawn[place % len(drawn)] + place.to_bytes(4, "big")


def make(kind: str, work: Path, count: int, side: int) -> Path:
    """The folder of a source, which is made where it is not whole yet."""
    folder = work / f"{kind}-{count}-{side}"
    done = folder.with_name(f"{folder.name}.done")
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (write_files if kind == "files" else write_shards)(folder, synthetic(count, side))
        done.touch()
    return folder


def write_files(folder: Path, pictures: Iterator[tuple[str, bytes]]) -> None:
    for name, content in pictures:
        (folder / name).write_bytes(content)


def write_shards(folder: Path, pictures: Iterator[tuple[str, bytes]]) -> None:
    for number in range(1 << 20):
        some = list(islice(pictures, SHARD))
        if not some:
            return
        with tarfile.open(folder / f"{number:05d}.tar", "w") as archive:
            for name, content in some:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def sets_of(root: Path, side: int) -> FaceSets:
    """As a run makes them."""
    how: dict[str, Any] = {"degradation": Degradation.for_resolution(side), "ladder": Ladder()}
    return FaceSets({"synthetic": FaceFolder(root, side, augmentation=Augmentation(), **how)})


def loader(data: Dataset[Any], length: int, batch: int, workers: int, start: int = 0) -> Iterator[dict[str, Any]]:
    order = KeyedBatches(length, batch, start_step=start)
    return iter(DataLoader(data, batch_sampler=order, num_workers=workers))


def resident() -> float:
    """MiB of this process and its workers, shared pages counted once for each."""
    pids = [os.getpid(), *(int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())]
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(root: Path, side: int, batch: int, batches: int, workers: int, threads: int) -> dict[str, Any]:
    """Start-up, memory and speed of one source, and whether a stream goes on where another one was."""
    torch.set_num_threads(threads)
    clock = Clock()
    sets = sets_of(root, side)
    clock.lap("files are found and checked, and some decoded")
    identity_of_sets(sets.folders)
    clock.lap("contents are hashed")
    stream = loader(sets, len(sets), batch, workers)
    next(stream)
    clock.lap("the first batch")
    memory, keys = [resident()], []
    started = time.perf_counter()
    for _ in range(PARTS):
        keys += [one["key"] for one in islice(stream, batches // PARTS)]
        memory.append(resident())
    seconds = time.perf_counter() - started
    later = Clock()
    next(loader(sets, len(sets), batch, workers, start=len(sets) // (2 * batch)))
    later.lap("the first batch from the middle of an epoch")
    identity_of_sets(sets.folders)
    later.lap("contents are hashed, where they are known")
    again = next(loader(sets, len(sets), batch, workers, start=len(keys)))
    return {
        "pictures": len(sets),
        "start-up, seconds": clock.laps | {"together": sum(clock.laps.values())},
        "going on, seconds": later.laps,
        "goes on with the same samples": torch.equal(again["key"], keys[-1]),
        "MiB from the first batch on": memory,
        "MiB grown": memory[-1] - memory[1],
        "samples a second": len(keys) * batch / seconds,
        "peak MiB": peak_memory(),
    }


def measure_codes(root: Path, work: Path, side: int, batch: int, batches: int, threads: int) -> dict[str, Any]:
    """What codes that were found add: files on disk, seconds and memory to load them, and samples a second."""
    torch.set_num_threads(threads)
    sets = sets_of(root, side)
    store = CodeStore(work / "codes", {"random": len(sets)}, len(sets))
    rng, (tokens, entries) = np.random.default_rng(0), CODES
    for shard in store.missing():
        codes = rng.integers(0, entries, (len(shard), 4, 1, tokens)).astype(np.uint16)
        store.write(shard, FoundCodes(codes, rng.random((len(shard), 4), dtype=np.float32)))
    clock, before = Clock(), resident()
    data = FoundSets(sets, store.load(), seed=0)
    clock.lap("codes are loaded")
    grown = resident() - before
    stream = loader(data, len(data), batch, 0)
    next(stream)
    started = time.perf_counter()
    for _ in islice(stream, batches):
        pass
    files = list(store.folder.glob("*.npz"))
    return {
        "inputs": len(data),
        "files": len(files),
        "MB on disk": sum(file.stat().st_size for file in files) / 1e6,
        "seconds": clock.laps,
        "MiB more": grown,
        "samples a second": batches * batch / (time.perf_counter() - started),
    }


class Clock:
    """Seconds of one thing after another."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self.last = now - self.last, now


def main(
    work: Annotated[Path, typer.Option(help="folder for the pictures")],
    pictures: Annotated[int, typer.Option(min=64)] = 70_000,
    side: Annotated[int, typer.Option(help="of the pictures and samples, in pixels")] = 512,
    batch: Annotated[int, typer.Option(min=1)] = 16,
    batches: Annotated[int, typer.Option(min=PARTS, help="that are measured")] = 200,
    workers: Annotated[int, typer.Option(min=0, help="processes that prepare samples")] = 0,
    threads: int = 2,
    out: OutOption = RESULTS,
) -> None:
    """Makes the pictures, measures, prints and writes."""
    found = {}
    for kind in KINDS:
        root = make(kind, work, pictures, side)
        with TemporaryDirectory(dir=work) as home:
            os.environ["HF_HOME"] = home  # where no hash is known at first
            found[kind] = alone(partial(measure, root, side, batch, batches, workers, threads))
    codes = alone(partial(measure_codes, make("files", work, pictures, side), work, side, batch, batches, threads))
    facts = {"side": side, "batch": batch, "batches": batches, "workers": workers, "threads": threads}
    content = {**facts, "sources": found, "codes": codes}
    write_json(out / "data_path.json", content | provenance(0))
    write_text(out / "data_path.md", markdown(content))


def markdown(content: dict[str, Any]) -> str:
    rows = [["", *content["sources"]]]
    first = next(iter(content["sources"].values()))
    for name, value in first.items():
        named = [("", value)] if not isinstance(value, dict) else list(value.items())
        for part, _ in named:
            of = [one[name] if not part else one[name][part] for one in content["sources"].values()]
            rows.append([f"{name}: {part}" if part else name, *map(_text, of)])
    codes = [["codes of distillation", ""], *([name, _text(value)] for name, value in content["codes"].items())]
    note = (
        f"{first['pictures']:,} synthetic JPEG files of {content['side']} px; samples of that side in batches of "
        f"{content['batch']}, {content['workers']} workers."
    )
    return page("The data path", note, {"Sources": rows, "Codes": codes})


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return f"{value:.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    typer.run(main)
