"""Does fast mean worse? Pictures of every engine and precision against those of exact torch, on trained weights.

python -m benchmarks.engines.guard --subject tiny --subject codeformer:128:RUN --faces FACES/val --faces PORTRAITS/val \
    --calibrate FACES/train

A way passes where no judge's interval of the difference leaves half a percent of the exact value, and the dial holds.
Other subjects that were compared before keep their place in the result.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor

from benchmarks.common.inputs import Pictures, load_pictures
from benchmarks.common.judges import panel_of
from benchmarks.common.results import RESULTS, OutOption, page, provenance, write_json, write_text
from benchmarks.common.sets import SetsOption, check_sets, load_set, side_of
from benchmarks.engines.subjects import subject
from iqp_adapter.bench.curves import dial_result
from iqp_adapter.bench.intervals import Interval, People
from iqp_adapter.bench.panel import Panel, Scores
from iqp_adapter.core.quality import BEST
from iqp_adapter.engines.choice import Way
from iqp_adapter.engines.eager import Eager
from iqp_adapter.engines.export import export
from iqp_adapter.engines.exported import Exported
from iqp_adapter.engines.formats import NotHereError
from iqp_adapter.engines.graph import NotExportableError
from iqp_adapter.pictures import as_pixels
from iqp_adapter.restorer import Restorer

WAYS: tuple[Way, ...] = (
    ("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"),
    ("onnx", "fp32"), ("onnx", "int8"),
)  # fmt: skip
JUDGES = ("iqp-lite", "niqe@512", "piqe", "perceptual-lite2", "identity")
DIALS = ("iqp-lite", "piqe")
"""By these the dial is followed: the metric of the condition, and one that nothing learned from."""

LEVELS = np.linspace(1 - BEST, BEST, 5).round(4)
NOISE = 0.005
"""Share of a judge's exact value that no interval of the difference may leave."""

SLACK = 0.02
"""By how much the rank correlation of the dial may fall."""

CALIBRATION = 32
"""Pictures by which int8 finds its ranges."""


class Seen(NamedTuple):
    """What one way makes of the pictures.

    Attributes:
        best: values (N,) of every judge at the best quality.
        dial: values (L, N) of two judges, one row for each level; empty without a dial.
        codes: of every picture at the best quality (N, L), for each codebook.
        seconds: for a face.
    """

    best: Scores
    dial: Scores
    codes: list[Tensor]
    seconds: float


def main(
    subjects: Annotated[list[str], typer.Option("--subject", help='"tiny", or HOST:SIDE:RUN; or several')],
    faces: SetsOption,
    calibrate: Annotated[Path, typer.Option(help="folder of other faces, by which int8 finds its ranges")],
    precisions: Annotated[list[str], typer.Option("--precision", help="may be repeated")] = ["fp32", "bf16", "int8"],  # noqa: B006
    limit: Annotated[int | None, typer.Option(help="use only so many pictures of each set")] = None,
    threads: int = 2,
    out: OutOption = RESULTS / "engines",
) -> None:
    """Compares every way with exact torch, and writes which passed."""
    check_sets(faces)
    torch.set_num_threads(threads)
    panel = panel_of(JUDGES)
    found = json.loads((out / "guard.json").read_text())["subjects"] if (out / "guard.json").exists() else {}
    for name in subjects:
        restorer = subject(name)
        sets = [first(load_set(folder, side_for(restorer, folder), seeds=1), limit) for folder in faces]
        ways = [way for way in WAYS if way[1] in precisions]
        result = compared(name, restorer, sets, panel, calibrate, ways) | {"resolution": restorer.resolution}
        found[restorer.name] = result | {"judges": panel.describe()} | provenance(0, faces)
        write_json(out / "guard.json", {"subjects": found})
    write_text(out / "guard.md", markdown(json.loads((out / "guard.json").read_text())["subjects"], panel))


def side_for(restorer: Restorer, folder: Path) -> int:
    """Pictures are no larger than what the restorer makes, and no larger than their files."""
    own = side_of(folder, None)
    return min(own, restorer.resolution or own)


def first(pictures: Pictures, limit: int | None) -> Pictures:
    return Pictures(*(part[:limit] for part in (pictures.original, pictures.degraded, pictures.people)))


def compared(
    name: str, restorer: Restorer, sets: Sequence[Pictures], panel: Panel, calibrate: Path, asked: Sequence[Way]
) -> dict[str, Any]:
    """One subject by every way, as differences to exact torch."""
    people = People([person for pictures in sets for person in pictures.people])
    exact = look(restorer, sets, panel)
    ways: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for way in asked:
        try:
            with made(subject(name), way, calibrate) as engine:
                ways[" ".join(way)] = against(look(engine, sets, panel), exact, panel, people)
        except (NotExportableError, NotHereError) as error:
            refused[" ".join(way)] = str(error)
    values = {judge: people.interval(of) for judge, of in exact.best.items()}
    own = {"best": values, "dial": dials(exact, panel, people), "seconds": exact.seconds}
    return {"exact": own, "ways": ways, "refused": refused}


@contextmanager
def made(restorer: Restorer, way: Way, calibrate: Path) -> Iterator[Restorer]:
    """A restorer, run by a way."""
    engine, precision = way
    if engine == "torch":
        yield Eager(restorer, precision)
        return
    with tempfile.TemporaryDirectory() as place:
        examples = degraded_in(Path(place, "faces"), calibrate, restorer) if precision == "int8" else None
        export(restorer, Path(place, "exported"), engine, precision, calibrate=examples)
        yield Exported(Path(place, "exported"))


def degraded_in(folder: Path, faces: Path, restorer: Restorer) -> Path:
    """Degraded faces as files."""
    folder.mkdir()
    for place, picture in enumerate(load_pictures(faces, restorer.resolution or 0, seeds=1).degraded[:CALIBRATION]):
        Image.fromarray(as_pixels(picture)).save(folder / f"{place:03}.png")
    return folder


def look(restorer: Restorer, sets: Sequence[Pictures], panel: Panel) -> Seen:
    """The best quality by every judge, and every level by two."""
    started = time.perf_counter()
    restored, codes = restored_by(restorer, sets, BEST if restorer.takes_quality else None)
    seconds = (time.perf_counter() - started) / sum(map(len, restored))
    best = judged(restored, sets, panel)
    if not restorer.takes_quality:
        return Seen(best, {}, codes, seconds)
    lower = [restored_by(restorer, sets, float(level))[0] for level in LEVELS[:-1]]
    levels = [judged(each, sets, panel, DIALS) for each in lower] + [best]
    return Seen(best, {judge: np.stack([level[judge] for level in levels]) for judge in DIALS}, codes, seconds)


def restored_by(
    restorer: Restorer, sets: Sequence[Pictures], quality: float | None
) -> tuple[list[Tensor], list[Tensor]]:
    """Each set's pictures (N, 3, R, R), and all codes (M, L) of each codebook; one picture at a time, as people do."""
    made = [[restorer.restore_with_codes(lq, quality) for lq in pictures.degraded.split(1)] for pictures in sets]
    books = zip(*(codes for parts in made for _, codes in parts), strict=True)
    return [torch.cat([restored for restored, _ in parts]) for parts in made], [torch.cat(list(book)) for book in books]


def judged(restored: Sequence[Tensor], sets: Sequence[Pictures], panel: Panel, only: Sequence[str] = ()) -> Scores:
    """Values (M,) of every judge over all sets."""
    parts = [panel(each, pictures.original, only=only) for each, pictures in zip(restored, sets, strict=True)]
    return {judge: np.concatenate([part[judge] for part in parts]) for judge in parts[0]}


def against(seen: Seen, exact: Seen, panel: Panel, people: People) -> dict[str, Any]:
    """How a way differs, and whether it passed."""
    gains = {judge: people.interval(panel.gain(judge, seen.best[judge], exact.best[judge])) for judge in exact.best}
    shares = {judge: NOISE * float(np.abs(exact.best[judge]).mean()) for judge in exact.best}
    dial, own = dials(seen, panel, people), dials(exact, panel, people)
    left = [judge for judge, gain in gains.items() if gain.low < -shares[judge] or gain.high > shares[judge]]
    fallen = [judge for judge in own if dial[judge]["spearman"].mean < own[judge]["spearman"].mean - SLACK]
    equal = [(one == other).double().mean() for one, other in zip(seen.codes, exact.codes, strict=True)]
    return {
        "difference": gains,
        "allowed": shares,
        "dial": dial,
        "equal codes": float(torch.stack(equal).mean()) if equal else None,
        "seconds": seen.seconds,
        "left": left,
        "dial fell": fallen,
        "passed": not left and not fallen,
    }


def dials(seen: Seen, panel: Panel, people: People) -> dict[str, Any]:
    return {judge: dial_result(panel.gain(judge, of, 0 * of), people) for judge, of in seen.dial.items()}


def markdown(found: Mapping[str, Any], panel: Panel) -> str:
    """A table for every subject."""
    notes = (
        "Improvement at the best quality over exact torch, paired by picture; positive is better by every judge. Mean "
        "[95 % interval over people]. A way passes where no interval leaves half a percent of the exact value and the "
        "dial's rank correlation falls by no more than 0.02. † trained on."
    )
    tables = {f"{name}, {of['resolution']} px": list(rows(of, panel)) for name, of in found.items()}
    return page("Engines and precisions against exact torch", notes, tables)


def rows(of: Mapping[str, Any], panel: Panel) -> Iterator[list[str]]:
    exact, judges = of["exact"], list(panel.judges)
    allowed = next(iter(of["ways"].values()))["allowed"]
    dial = list(exact["dial"])
    yield ["", *map(panel.label, judges), *(f"dial, {judge}" for judge in dial), "equal codes", "passed"]
    yield ["exact: values", *(shown(exact["best"][judge]) for judge in judges), *spearmans(exact, dial), "", ""]
    yield ["allowed: ±", *(f"{allowed[judge]:.3g}" for judge in judges), *("" for _ in dial), "", ""]
    for way, found in of["ways"].items():
        codes = "" if found["equal codes"] is None else f"{found['equal codes']:.4f}"
        differences = [shown(found["difference"][judge]) for judge in judges]
        yield [way, *differences, *spearmans(found, dial), codes, "yes" if found["passed"] else "no"]
    for way in of.get("refused", ()):
        yield [way, "was not run", *("" for _ in [*judges[1:], *dial]), "", "no"]


def spearmans(of: Mapping[str, Any], dial: Sequence[str]) -> list[str]:
    return [shown(of["dial"][judge]["spearman"]) for judge in dial]


def shown(values: Mapping[str, float]) -> str:
    """A mean with its interval, as JSON has it."""
    return str(Interval(**values))


if __name__ == "__main__":
    typer.run(main)
