"""Ways to damage an export: its files, what its config says, and what has the names of its files."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.faults.mutations import bytes_mutated, values_mutated

CONFIG = "config.json"
PROGRAMS = {"openvino": ("model.xml", "model.bin"), "onnx": ("model.onnx",)}
SEALED, LOOSE = "as it was", "may be another one"
"""What the picture of a damaged export is."""

Exports = dict[str, Path]
"""A whole export of each format, and "other FORMAT": one of other weights."""


@dataclass(frozen=True)
class Damage:
    """A way to damage a copy of an export.

    Args:
        change: the copy, its format, whole exports, randomness -> nothing, or anything else.
        picture: `LOOSE` where the checksums fit again.
    """

    change: Callable[[Path, str, Exports, Random], object]
    picture: str = SEALED


def with_config(place: Path, **entries: Any) -> None:
    """Other values of entries of the config."""
    (place / CONFIG).write_text(json.dumps(config_of(place) | entries))


def config_of(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / CONFIG).read_text())
    return found


def seal(place: Path) -> None:
    """Has the checksums fit what is there."""
    from iqp_adapter.store.files import sha256_of

    with_config(place, files={name: sha256_of(place / name) for name in config_of(place)["files"]})


def _of_restorer(**entries: Any) -> Damage:
    return Damage(
        lambda place, format, exports, rng: with_config(place, restorer=config_of(place)["restorer"] | entries)
    )


def _of_config(**entries: Any) -> Damage:
    return Damage(lambda place, format, exports, rng: with_config(place, **entries))


def _one(place: Path, format: str, rng: Random) -> Path:
    return place / rng.choice(PROGRAMS[format])


def _bytes(place: Path, format: str, exports: Exports, rng: Random) -> None:
    file = _one(place, format, rng)
    file.write_bytes(bytes_mutated(file.read_bytes(), rng))


def _structure(place: Path, format: str, exports: Exports, rng: Random) -> None:
    """One word of the graph becomes another one."""
    file = place / PROGRAMS[format][0]
    content = file.read_bytes()
    pattern = rb'"([^"]*)"|>(-?\d+)<' if format == "openvino" else rb"([A-Z][a-z]+)|(lq|quality|scale|restored)"
    found = rng.choice(list(re.finditer(pattern, content)))
    start, end = found.span(1 if found[1] is not None else 2)
    new = rng.choice(_WORDS)
    if format == "onnx":  # where every length is written down
        new = (new * 9)[: end - start].ljust(end - start, b"1")
    file.write_bytes(content[:start] + new + content[end:])


_WORDS = (
    b"-1", b"0", b"2", b"99", b"4294967295", b"9223372036854775807", b"-9223372036854775808", b"1e9", b"", b"?",
    b"f16", b"i64", b"opset99", b"Foo", b"1,1,1,1", b"Add", b"lq", b"\x1b[31m",
)  # fmt: skip


def _sealed(change: Callable[[Path, str, Exports, Random], object]) -> Damage:
    def both(place: Path, format: str, exports: Exports, rng: Random) -> None:
        change(place, format, exports, rng)
        seal(place)

    return Damage(both, LOOSE)


def _swapped(place: Path, format: str, exports: Exports, rng: Random) -> None:
    """A file of another export of this format."""
    name = rng.choice(PROGRAMS[format])
    shutil.copy(exports[f"other {format}"] / name, place / name)


def _foreign(place: Path, format: str, exports: Exports, rng: Random) -> None:
    """A file of the other format under the name of this one."""
    other = next(name for name in PROGRAMS if name != format)
    shutil.copy(exports[other] / PROGRAMS[other][0], place / PROGRAMS[format][0])


def _other_config(place: Path, format: str, exports: Exports, rng: Random) -> None:
    beside = rng.choice([path for name, path in exports.items() if name != format])
    shutil.copy(beside / CONFIG, place / CONFIG)


def _instead(put: Callable[[Path], object]) -> Damage:
    """Something else has the name of a file, be it the config."""

    def change(place: Path, format: str, exports: Exports, rng: Random) -> None:
        file = place / rng.choice((*PROGRAMS[format], CONFIG))
        file.unlink()
        put(file)

    return Damage(change)


def _upwards(place: Path, format: str, exports: Exports, rng: Random) -> None:
    """Names in `files` that lead out of the folder."""
    files = config_of(place)["files"]
    name = rng.choice(list(files))
    shutil.copy(place / name, place.parent / name)
    _bytes(place, format, exports, rng)
    with_config(place, files=rng.choice((files, {})) | {f"../{name}": files[name]})


def _named_to_deceive(place: Path, format: str, exports: Exports, rng: Random) -> None:
    """Texts of the config that a terminal would obey, in a config that is refused and says so with them."""
    text = "\x1b[31m\n\u202egnp.exe\r" * rng.choice((1, 5000))
    odd = (
        {"version": text, "layout": 9},
        {"format": text},
        {"precision": text},
        {"kind": text},
        {text: 1, "files": {}},
    )
    with_config(place, **rng.choice(odd))


def _values(place: Path, format: str, exports: Exports, rng: Random) -> None:
    (place / CONFIG).write_text(values_mutated(config_of(place), rng))


def _text(place: Path, format: str, exports: Exports, rng: Random) -> None:
    (place / CONFIG).write_bytes(bytes_mutated((place / CONFIG).read_bytes(), rng))


DAMAGES: dict[str, Damage] = {
    "bytes of a program": Damage(_bytes),
    "bytes of a program, sealed": _sealed(_bytes),
    "values of the config": Damage(_values),
    "structure, sealed": _sealed(_structure),
    "text of the config": Damage(_text),
    "more bytes of a program, sealed": _sealed(_bytes),
    "more values of the config": Damage(_values),
    "more structure, sealed": _sealed(_structure),
    "file of another export": Damage(_swapped),
    "file of another export, sealed": _sealed(_swapped),
    "file of the other format": Damage(_foreign),
    "file of the other format, sealed": _sealed(_foreign),
    "config of another export": Damage(_other_config),
    "missing": _instead(lambda file: None),
    "empty": _instead(lambda file: file.touch()),
    "folder": _instead(lambda file: file.mkdir()),
    "link to itself": _instead(lambda file: file.symlink_to(file.name)),
    "link to nowhere": _instead(lambda file: file.symlink_to("nowhere")),
    "link to a device": _instead(lambda file: file.symlink_to("/dev/zero")),
    "pipe": _instead(lambda file: os.mkfifo(file)),
    "names that lead upwards": Damage(_upwards),
    "nothing listed": _of_config(files={}),
    "names to deceive": Damage(_named_to_deceive),
    "huge": _of_restorer(resolution=16384),
    "no dial": _of_restorer(takes_quality=False, guided=False),
    "huge scale": _of_restorer(scale=1e299),
    "single pictures": _of_config(any_batch=False),
    "later layout": _of_config(layout=2, version="99.0"),
}
