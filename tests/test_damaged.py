"""Damaged and lying checkpoints: what loads is what was saved, all else is one line that names the file."""

from __future__ import annotations

import copy
import json
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import iqp_adapter as iqp
from iqp_adapter.native import IQPFRConfig
from iqp_adapter.store import checkpoint
from iqp_adapter.store.checkpoint import WEIGHTS
from iqp_adapter.store.words import USER_ERRORS

SMALL = IQPFRConfig(
    resolution=16, patch=2, widths=(8, 8), encoder_blocks=1, decoder_blocks=1, common_codes=4, plus_codes=3,
    code_dim=4, dim=8, layers=1, heads=2, fused_levels=(0,), token_dim=8,
)  # fmt: skip
SCALE = iqp.ScoreScale("iqp-lite", False, (0.0, 50.0, 100.0))


def host() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))


def load_adapter(folder: Path) -> nn.Module:
    return iqp.wrap(host(), sites=SITES, adapter=folder)


SITES = [iqp.Site("0", 8, "BLC")]
LOAD: dict[str, Callable[[Path], nn.Module]] = {"native": iqp.IQPFR.from_pretrained, "adapter": load_adapter}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("saved")
    torch.manual_seed(0)
    iqp.IQPFR(SMALL, SCALE).save_pretrained(folder / "native")
    iqp.wrap(host(), sites=SITES, scales=[SCALE]).save_pretrained(folder / "adapter")
    return {kind: folder / kind for kind in LOAD}


def written(
    folder: Path, state: dict[str, Tensor], config: dict[str, Any], header: dict[str, Any] | None = None
) -> Path:
    """A checkpoint as another program might have written it: the checksum is right, the config any text."""
    header = {"sha256": checkpoint._digest(state), "config": json.dumps(config)} | (header or {})
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / WEIGHTS, {"iqp_adapter": json.dumps({k: v for k, v in header.items() if v is not None})})
    return folder


def outcome(kind: str, folder: Path) -> dict[str, Tensor] | str:
    """What loading gives: the tensors, or the error's line, which names the folder."""
    try:
        return LOAD[kind](folder).state_dict()
    except USER_ERRORS as error:
        line = str(error)
    assert "\n" not in line and str(folder) in line and len(line) < 1000, line
    return line


def paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a config."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in entries:
        yield (*before, name)
        yield from paths(part, (*before, name))


DEEP: Any = 1
for _ in range(200):
    DEEP = [DEEP]
VALUES: list[Any] = [
    None, "x", "", -1, 0, 1, 3, 10**7, 2**63, 10**400, 0.5, -1e308, 1e308, True, False, [], {}, [[]], [1, 2], {"a": 1},
    [None], ["8", "8"], "\u202e\n\x1b[31m" * 50, "é" * 5000, list(range(2000)), DEEP,
]  # fmt: skip


@pytest.mark.parametrize("kind", LOAD)
def test_a_changed_config_is_loaded_alike_or_named(kind, saved, tmp_path):
    config, state = checkpoint.load(saved[kind])
    right, chance, lines = outcome(kind, saved[kind]), random.Random(0), []
    places = [place for place in paths(config) if place[0] not in ("version",)]
    for number in range(120):
        changed, place = copy.deepcopy(config), chance.choice(places)
        inner = changed
        for name in place[:-1]:
            inner = inner[name]
        if chance.random() < 0.2:
            del inner[place[-1]]
        else:
            inner[place[-1]] = copy.deepcopy(chance.choice(VALUES))
        found = outcome(kind, written(tmp_path / str(number), state, changed))
        if isinstance(found, str):
            lines.append(found)
        else:
            assert found.keys() == right.keys() and all(map(torch.equal, found.values(), right.values())), place
    assert len(lines) > 60


@pytest.mark.parametrize("kind", LOAD)
def test_damaged_bytes_are_noticed(kind, saved, tmp_path):
    content, right, chance = (saved[kind] / WEIGHTS).read_bytes(), outcome(kind, saved[kind]), random.Random(1)
    config, _ = checkpoint.load(saved[kind])
    header = 8 + struct.unpack("<Q", content[:8])[0]
    damages = [content[: chance.randrange(len(content))] for _ in range(15)]
    damages += [struct.pack("<Q", lie) + content[8:] for lie in (0, 1, header, 99_000_000, 2**31, 2**63, 2**64 - 1)]
    damages += [b"", content + b"more", content[:header], content[::-1], b"{}" + content, b"<html></html>"]
    for end in (8, header, header, len(content)):
        for _ in range(15):
            flipped = bytearray(content)
            for _ in range(chance.choice((1, 1, 3, 20))):
                flipped[chance.randrange(end)] ^= 1 << chance.randrange(8)
            damages.append(bytes(flipped))
    for number, damage in enumerate(damages):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / WEIGHTS).write_bytes(damage)
        found = outcome(kind, folder)
        if not isinstance(found, str):
            assert all(map(torch.equal, found.values(), right.values()))
            assert checkpoint.load(folder)[0] == config


HEADERS = {
    "no text": ({}, "header of .* holds \\[\\], expected entries"),
    "no checksum": ({"sha256": None}, "`sha256` is missing"),
    "a number as checksum": ({"sha256": 3}, "`sha256` is 3, expected a text"),
    "no config": ({"config": None}, "`config` is missing"),
    "an object as config": ({"config": {"model": {}}}, "`config` is {'model': {}}, expected a text"),
    "a list as config": ({"config": "[]"}, "config of .* holds \\[\\], expected entries"),
    "nesting": ({"config": "[" * 100_000}, "nested too deeply"),
    "two entries of a name": ({"config": '{"a": 1, "a": 2}'}, "two entries of the name 'a'"),
    "no number": ({"config": '{"a": NaN}'}, "NaN is no number"),
    "no JSON": ({"config": "model: 1"}, "is no JSON"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_is_none_is_named(name, saved, tmp_path):
    _, state = checkpoint.load(saved["native"])
    header, words = HEADERS[name]
    written(tmp_path, state, {}, header)
    if name == "no text":
        save_file(state, tmp_path / WEIGHTS, {"iqp_adapter": "[]"})
    with pytest.raises(ValueError, match=words) as caught:
        checkpoint.load(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers_are_refused(saved, tmp_path, bad, dtype):
    for kind, key in (("native", "transformer.norm.weight"), ("adapter", "embedding.mlp.0.bias")):
        config, state = checkpoint.load(saved[kind])
        state[key] = state[key].to(dtype)
        state[key].view(-1)[1] = bad
        found = outcome(kind, written(tmp_path / kind, state, config))
        assert isinstance(found, str) and f"holds NaN or infinity in 1 ({key})" in found


def test_a_mask_of_the_module_may_be_endless():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.tensor([0.0, -float("inf")]))
            self.weight = nn.Parameter(torch.ones(1))

    module = Masked()
    checkpoint.load_strict(module, module.state_dict(), "here")
    with pytest.raises(ValueError, match=r"^here holds NaN or infinity in 1 \(weight\)"):
        checkpoint.load_strict(module, module.state_dict() | {"weight": torch.tensor([float("nan")])}, "here")
    assert module.weight == 1


LIES: dict[str, list[tuple[tuple[Any, ...], Any]]] = {
    "native": [
        (("model", "layers"), 256), (("model", "layers"), 10**7), (("model", "dim"), 16384),
        (("model", "widths"), [16384] * 12), (("model", "common_codes"), 1 << 20), (("model", "code_dim"), 8192),
        (("model", "encoder_blocks"), 64), (("model", "token_dim"), 16384), (("model", "resolution"), 8192),
        (("model", "widths"), [16384] * 10**5), (("model", "heads"), 0), (("model", "patch"), 0),
        (("model", "patch"), 3), (("model", "widths"), []), (("model", "fused_levels"), [5]),
        (("score_scale", "quantiles"), [3, 1]), (("score_scale", "quantiles"), list(range(200_000))),
    ],
    "adapter": [
        (("adapter", "token_dim"), 1 << 20), (("adapter", "tokens"), 1 << 20),
        (("adapter", "sites", 0, "dim"), 1 << 20), (("adapter", "sites", 0, "dim"), 10**9),
        (("adapter", "sites", 0, "path"), ""), (("adapter", "sites", 0, "path"), "keys"),
        (("adapter", "sites"), [{"path": str(n), "dim": 1 << 20, "layout": "BLC"} for n in range(300)]),
        (("adapter", "block"), "score_map"),
    ],
}  # fmt: skip


def lie(kind: str, source: Path, target: Path, number: int) -> Path:
    config, state = checkpoint.load(source)
    (*place, last), value = LIES[kind][number]
    inner = config
    for name in place:
        inner = inner[name]
    inner[last] = value
    return written(target, state, config)


def refuse_all(kind: str, source: Path, target: Path) -> None:
    """Every lie is refused, in a process that may take little memory beside what it has."""
    import resource

    LOAD[kind](source)
    folders = [lie(kind, source, target / str(number), number) for number in range(len(LIES[kind]))]
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (400 << 20),) * 2)
    for folder in folders:
        found = outcome(kind, folder)
        assert isinstance(found, str), folder
        assert "memory" not in found, found
    print("all refused")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs to know the memory of a process")
@pytest.mark.parametrize("kind", LOAD)
def test_sizes_that_lie_take_no_memory(kind, saved, tmp_path):
    code = f"from pathlib import Path; import test_damaged as t; t.refuse_all({kind!r}, Path({str(saved[kind])!r}), "
    code += f"Path({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent)
    assert done.stdout == "all refused\n", done.stderr[-2000:]
