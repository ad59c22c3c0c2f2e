"""Exports that are killed, made by two at once, or on a full disk; and those of other versions and other machines."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random
from unittest import mock

import numpy as np

from benchmarks.faults.children import TOLD_TO_END, Kill, changes_of, run
from benchmarks.faults.export_damages import PROGRAMS, Exports, config_of, seal, with_config
from benchmarks.faults.exports import FAULTS, Door, judged, load, small
from benchmarks.faults.kills import TEMPORARY

Work = Callable[[], object]


@dataclass(frozen=True)
class Elsewhere:
    """An export that is run somewhere else than where it was made.

    Args:
        change: of the copy: the folder, its format.
        there: what is otherwise in the process that runs it; a context.
        says: what the refusal says; without it the export runs as it did.
        formats: for which this can be.
    """

    change: Callable[[Path, str], object] = lambda place, format: None
    there: Callable[[], AbstractContextManager[object]] = nullcontext
    says: str = ""
    formats: tuple[str, ...] = tuple(PROGRAMS)


def campaign(number: int, exports: Exports, door: Door, folder: Path, seed: int) -> Iterator[Counter[str]]:
    """Counts of each step.

    Args:
        number: kills of the export of each format.
        door: which runs an export.
    """
    for format in PROGRAMS:
        wanted = _made_by(door, exports[format], folder)
        for name, case in ELSEWHERE.items():
            if format in case.formats:
                yield _run_elsewhere(case, exports[format], format, folder, wanted, name)
        yield _without_its_folder(exports[format], folder, wanted)
        yield from _on_full_disks(format, folder)
        yield _two_at_once(format, folder, wanted)
        yield from _killed(number, format, folder, wanted, seed)


# -- other versions, other machines


def _of_an_engine_to_come(place: Path, format: str) -> None:
    """What this engine does not know, as a later one may write it."""
    file = place / PROGRAMS[format][0]
    if format == "openvino":
        file.write_text(file.read_text().replace('type="Sigmoid" version="opset1"', 'type="Sigmoid" version="opset99"'))
    else:
        import onnx

        model = onnx.load(file)
        model.ir_version = 99
        onnx.save(model, file)
    seal(place)
    with_config(place, made_with=dict.fromkeys(config_of(place)["made_with"], "2099.1"))


def _threads(number: int) -> Callable[[], AbstractContextManager[object]]:
    def there() -> AbstractContextManager[object]:
        import torch

        torch.set_num_threads(number)
        return nullcontext()

    return there


def _unprivileged() -> AbstractContextManager[object]:
    """Root may do no more than others with files."""
    if os.geteuid() == 0:
        header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        if ctypes.CDLL(None, use_errno=True).capset(header, none) != 0:
            raise OSError(ctypes.get_errno(), "cannot drop capabilities")
    return nullcontext()


ELSEWHERE: dict[str, Elsewhere] = {
    "earlier version": Elsewhere(lambda place, format: with_config(place, version="0.0.1", made_with={})),
    "later version": Elsewhere(lambda place, format: with_config(place, version="99.0")),
    "later layout": Elsewhere(lambda place, format: with_config(place, version="99.0", layout=2), says="99.0"),
    "later engine": Elsewhere(_of_an_engine_to_come, says="2099.1: install that"),
    "many threads": Elsewhere(there=_threads(7)),
    "no such precision": Elsewhere(
        lambda place, format: with_config(place, precision="bf16"),
        lambda: mock.patch("iqp_adapter.engines.openvino.capabilities", return_value=["FP32"]),
        says="no bf16",
        formats=("openvino",),
    ),
    "no such package": Elsewhere(
        there=lambda: mock.patch("iqp_adapter.engines.formats.find_spec", return_value=None), says="pip install"
    ),
    "unreadable": Elsewhere(
        lambda place, format: (place / PROGRAMS[format][0]).chmod(0), _unprivileged, says="Permission denied"
    ),
    "read-only": Elsewhere(lambda place, format: place.chmod(0o555), _unprivileged),
}


def _run_elsewhere(
    case: Elsewhere, source: Path, format: str, folder: Path, wanted: np.ndarray, name: str
) -> Counter[str]:
    place, out, log = folder / "elsewhere-\u00fc \u202e\x1b\n[1]" / "export", folder / "out", folder / "elsewhere.log"
    if place.exists():
        place.chmod(stat.S_IRWXU)
    shutil.rmtree(place.parent, ignore_errors=True)
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(source, place)
    case.change(place, format)

    def work() -> None:
        with case.there():
            load(place, out)

    ended = run(work, log)
    counts = judged(ended, "" if case.says else place.name) + Counter(elsewhere=1)
    right = case.says in ended.output if case.says else ended.status == 0 and _is_as(out, wanted)
    counts["wrong"] += not right or (ended.status == 2) != bool(case.says)
    if any(counts[fault] for fault in FAULTS):
        shutil.copy(log, folder / f"fault of {format} {name}")
    return counts


def _without_its_folder(source: Path, folder: Path, wanted: np.ndarray) -> Counter[str]:
    """An engine that has read its program goes on when the cache is emptied."""
    place, out = folder / "emptied", folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(source, place)

    def work() -> None:
        import iqp_adapter

        engine = iqp_adapter.load(place)
        shutil.rmtree(place)
        with mock.patch("iqp_adapter.load", return_value=engine):
            load(place, out)

    ended = run(work, folder / "emptied.log")
    return judged(ended, "") + Counter(elsewhere=1, wrong=int(ended.status != 0 or not _is_as(out, wanted)))


# -- exports that are disturbed


def kept(format: str, home: Path, out: Path | None = None) -> Work:
    """Takes the export from the cache, which makes it where there is none, and runs it."""

    def work() -> None:
        from iqp_adapter.engines import kept as module

        with mock.patch.object(module, "cache", lambda: home):
            engine = module.kept_export(small(), format, "fp32")
        if out is not None:
            with mock.patch("iqp_adapter.load", return_value=engine):
                load(home, out)

    return work


def _on_full_disks(format: str, folder: Path) -> Iterator[Counter[str]]:
    for free in (0, 300, 4000, 10_500):
        home, log = folder / f"full-{format}-{free}", folder / "full.log"
        home.mkdir()
        work = kept(format, home)

        def limited(free: int = free, work: Work = work) -> None:
            from iqp_adapter.cli.terminal import say
            from iqp_adapter.store.words import USER_ERRORS

            log_end = os.lseek(1, 0, os.SEEK_END)
            resource.setrlimit(resource.RLIMIT_FSIZE, (free + log_end + 1000, resource.RLIM_INFINITY))
            try:
                work()
            except USER_ERRORS as error:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
                say(f"iqp: {error}", error=True)
                raise SystemExit(2) from None

        ended = run(limited, log)
        yield Counter(
            traces=int(ended.traced),
            hangs=int(ended.status is None),
            **{"full disks": 1, "half-written": _half_written(home), "left over": _left_over(home)},
        )


def _two_at_once(format: str, folder: Path, wanted: np.ndarray) -> Counter[str]:
    home, outs = folder / f"shared-{format}", [folder / f"shared-{format}-{place}" for place in range(2)]

    def work() -> None:
        other = os.fork()
        kept(format, home, outs[0] if other else outs[1])()
        if other and os.waitpid(other, 0)[1]:
            raise SystemExit(3)

    ended = run(work, folder / "shared.log")
    counts = Counter(traces=int(ended.traced), hangs=int(ended.status is None), **{"two at once": 1})
    counts["wrong"] += ended.status != 0 or not all(_is_as(out, wanted) for out in outs)
    counts["left over"] += _left_over(home) + (len(list((home / "engines").iterdir())) != 1)
    return counts


def _killed(number: int, format: str, folder: Path, wanted: np.ndarray, seed: int) -> Iterator[Counter[str]]:
    log, calm = folder / "exporting.log", folder / f"calm-{format}"
    undisturbed, changes = changes_of(kept(format, calm), log, calm)
    for turn in range(number):
        rng, home, out = Random(f"{seed} {format} {turn}"), folder / "killed", folder / "out"
        for place in (home, out):
            shutil.rmtree(place, ignore_errors=True)
        by = rng.choice((signal.SIGKILL, signal.SIGTERM))
        first = run(_told(kept(format, home)), log, Kill.at_random(rng, undisturbed.seconds, changes, by), home)
        counts = Counter(traces=int(first.traced), hangs=int(first.status is None))
        counts["kills" if first.status != 0 else "ended before the kill"] += 1
        counts["half-written"] += _half_written(home)
        if first.status == TOLD_TO_END[1]:
            counts["left over"] += _left_over(home)
        second = run(kept(format, home, out), log)
        counts += Counter(traces=int(second.traced), hangs=int(second.status is None))
        counts["failed afterwards"] += second.status != 0
        counts["wrong"] += second.status == 0 and not _is_as(out, wanted)
        counts["left over"] += _left_over(home)
        if any(counts[fault] for fault in FAULTS):
            shutil.copytree(home, folder / f"fault of kill {format} {turn}")
        yield counts


def _told(work: Work) -> Work:
    """As a command, which cleans up when it is told to end."""

    def told() -> None:
        from iqp_adapter.cli.signals import Stopped, ended_like_ctrl_c

        try:
            with ended_like_ctrl_c():
                work()
        except Stopped as stop:
            raise SystemExit(128 + stop.number) from None

    return told


def _half_written(home: Path) -> int:
    """Exports with their proper names that are not whole."""
    from iqp_adapter.engines.exported import Exported

    def check(place: Path) -> Work:
        return lambda: Exported(place)

    engines = home / "engines"
    visible = [path for path in engines.iterdir() if path.name[0] != "."] if engines.is_dir() else []
    return sum(run(check(place), home.with_suffix(".log")).status != 0 for place in visible)


def _left_over(home: Path) -> int:
    return sum(TEMPORARY.match(path.name) is not None for path in home.rglob("*"))


def _made_by(door: Door, source: Path, folder: Path) -> np.ndarray:
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    run(door.work(source, out), folder / "wanted.log")
    return door.made(out)


def _is_as(out: Path, wanted: np.ndarray) -> bool:
    return np.allclose(np.load(out / "restored.npy"), wanted, atol=1e-5)
