"""Damaged checkpoints, weight files, adapters and configurations: loaded as they were, or refused in one line."""

from __future__ import annotations

import json
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch

from benchmarks.common.results import ROOT
from benchmarks.faults.children import bound_memory, run
from benchmarks.faults.mutations import bytes_mutated, values_mutated

FURTHER_BYTES = 3 * 2**30
"""More memory than any of these small files may need."""

NATIVE, ADAPTER = "native_tiny.yaml", "adapter.yaml"
"""Examples of configurations."""

SMALL = {
    "resolution": 64, "patch": 4, "widths": (16, 24, 32), "common_codes": 16, "plus_codes": 8, "code_dim": 8,
    "dim": 32, "layers": 1, "heads": 4, "token_dim": 16,
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A kind of file from outside: how one is made, damaged and read."""

    name: str
    source: Path
    file: str
    """Which of the source folder's files is damaged."""
    damage: Callable[[bytes, Random], bytes]
    read: Callable[[Path], object]


def campaign(number: int, folder: Path, seed: int) -> Iterator[Counter[str]]:
    """Counts, each time more of them are known."""
    subjects, counts = _subjects(folder), Counter[str]()
    for position in range(number):
        subject, rng = subjects[position % len(subjects)], Random(f"{seed} {position}")
        place = folder / "damaged-weights"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(subject.source, place)
        file = place / subject.file
        file.write_bytes(subject.damage(file.read_bytes(), rng))
        counts += _tried(subject, place, folder / "weights.log")
        yield counts


def _tried(subject: Subject, place: Path, log: Path) -> Counter[str]:
    def work() -> None:
        from iqp_adapter.store.words import USER_ERRORS

        bound_memory(FURTHER_BYTES)
        try:
            subject.read(place)
        except USER_ERRORS as error:
            named = place.name in str(error) or subject.file in str(error)
            print("refused" if named else f"refused without a name: {error}")
            raise SystemExit(1 if "\n" not in str(error).strip() else 3) from None
        print("read")

    ended = run(work, log)
    counts = Counter(files=1, traces=int(ended.traced), hangs=int(ended.status is None))
    counts[f"{subject.name} read"] += ended.status == 0
    counts[f"{subject.name} refused"] += ended.status == 1
    counts["unnamed"] += "without a name" in ended.output
    return counts


def _subjects(folder: Path) -> list[Subject]:
    import iqp_adapter as iqp
    from iqp_adapter.training.config import AdapterConfig, TrainConfig

    native, adapter, host, texts = (folder / name for name in ("native", "adapter", "host", "texts"))
    made = run(lambda: _made(native, adapter, host, texts), folder / "made.log")
    if made.status != 0:
        raise RuntimeError(f"nothing to damage: {made.output}")

    def wrapped(place: Path) -> object:
        return iqp.wrap(host / "host.pth", adapter=place)

    return [
        Subject("checkpoint", native, "model.safetensors", bytes_mutated, iqp.load),
        Subject("configuration of a checkpoint", native, "model.safetensors", _header_mutated, iqp.load),
        Subject("adapter", adapter, "model.safetensors", bytes_mutated, wrapped),
        Subject("configuration of an adapter", adapter, "model.safetensors", _header_mutated, wrapped),
        Subject("weight file", host, "host.pth", bytes_mutated, lambda place: iqp.wrap(place / "host.pth")),
        Subject("training", texts, NATIVE, _yaml_mutated, lambda place: TrainConfig.load(place / NATIVE)),
        Subject(
            "training of adapters", texts, ADAPTER, _yaml_mutated, lambda place: AdapterConfig.load(place / ADAPTER)
        ),
    ]


def _made(native: Path, adapter: Path, host: Path, texts: Path) -> None:
    import iqp_adapter as iqp
    from iqp_adapter.compat import make_importable
    from iqp_adapter.native import IQPFR, preset

    make_importable()
    from gfpgan.archs.restoreformer_arch import RestoreFormer

    torch.manual_seed(0)
    IQPFR(preset("tiny-256", **SMALL)).save_pretrained(native)
    texts.mkdir()
    for name in (NATIVE, ADAPTER):
        shutil.copy(ROOT / "examples" / name, texts)
    host.mkdir()
    state = RestoreFormer(ch=32, ch_mult=(1, 2, 2), resolution=64, z_channels=64, embed_dim=64).state_dict()
    torch.save({"params": state}, host / "host.pth")
    scale = iqp.ScoreScale("iqp-lite", False, (0.0, 50.0, 100.0))
    iqp.wrap(host / "host.pth", scales=[scale]).save_pretrained(adapter)


def _header_mutated(content: bytes, rng: Random) -> bytes:
    """The same tensors with another configuration in the header, as an editor or an attacker could write it."""
    (length,) = struct.unpack("<Q", content[:8])
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    own = json.loads(header["__metadata__"]["iqp_adapter"])
    own["config"] = values_mutated(json.loads(own["config"]), rng)
    header["__metadata__"]["iqp_adapter"] = json.dumps(own)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def _yaml_mutated(content: bytes, rng: Random) -> bytes:
    import yaml

    if rng.random() < 0.4:
        return bytes_mutated(content, rng)
    return values_mutated(yaml.safe_load(content), rng).encode()
