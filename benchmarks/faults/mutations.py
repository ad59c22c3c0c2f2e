"""Files as broken storage, transfers, editors and strangers leave them: by bytes, and by values of JSON and YAML."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any


def bytes_mutated(content: bytes, rng: Random) -> bytes:
    """One damage of one kind."""
    return rng.choice(_DAMAGES)(bytearray(content), rng)


def values_mutated(content: Any, rng: Random) -> str:
    """JSON text with one value, key or structure changed."""
    changed = json.loads(json.dumps(content))
    holders = list(_holders(changed))
    holder, key = rng.choice(holders)
    damage = rng.randrange(5)
    if damage == 0:
        del holder[key]
    elif damage == 1 and isinstance(holder, dict):
        holder[f"{key}_"] = holder.pop(key)
    else:
        holder[key] = rng.choice(_STRANGE)
    text = json.dumps(changed)
    return text if damage != 2 else rng.choice(_TEXTS)(text, rng)


_STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 10**7, 10**30, 1e308, float("nan"), float("inf"), "", "x", "1e-3", "../../etc/passwd",
    [], [[]], {}, {"x": {}}, [1] * 50, "\u202e\x1b[31m", "9" * 5000,
)  # fmt: skip

_TEXTS: tuple[Callable[[str, Random], str], ...] = (
    lambda text, rng: text[: rng.randrange(len(text))],
    lambda text, rng: "[" * 100_000 + text,
    lambda text, rng: '{"a":' * 5000 + "1" + "}" * 5000,
    lambda text, rng: "<!DOCTYPE html><html><body>Sign in</body></html>",
    lambda text, rng: "",
    lambda text, rng: f"[{text}]",
    lambda text, rng: text.replace(":", ": ,", 1),
    lambda text, rng: text + text,
)


def _holders(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _holders(inner)


def _flipped(content: bytearray, rng: Random) -> bytes:
    for _ in range(rng.choice((1, 4, 32))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def _head_flipped(content: bytearray, rng: Random) -> bytes:
    for _ in range(rng.choice((1, 2, 4))):
        content[rng.randrange(min(200, len(content)))] = rng.randrange(256)
    return bytes(content)


def _cut(content: bytearray, rng: Random) -> bytes:
    return bytes(content[: rng.randrange(len(content))])


def _zeroed(content: bytearray, rng: Random) -> bytes:
    start, length = rng.randrange(len(content)), rng.choice((4, 64, 4096))
    content[start : start + length] = bytes(len(content[start : start + length]))
    return bytes(content)


def _repeated(content: bytearray, rng: Random) -> bytes:
    start = rng.randrange(len(content))
    return bytes(content[:start] + content[start : start + 512] + content[start:])


def _appended(content: bytearray, rng: Random) -> bytes:
    return bytes(content) + rng.randbytes(rng.choice((1, 1000)))


def _sized(content: bytearray, rng: Random) -> bytes:
    """Four bytes of the head say a huge number."""
    start = rng.randrange(min(120, len(content)))
    content[start : start + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\xff\xff"))
    return bytes(content)


def _replaced(content: bytearray, rng: Random) -> bytes:
    return rng.choice(
        (b"", b"\x00", b"<html>503</html>", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    )


_DAMAGES: tuple[Callable[[bytearray, Random], bytes], ...] = (
    _flipped, _flipped, _head_flipped, _head_flipped, _cut, _cut, _zeroed, _repeated, _appended, _sized, _replaced,
)  # fmt: skip
