"""Ways to damage the settings of training: values, names and structure of the YAML, its text and bytes, overrides."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import yaml

from benchmarks.faults.mutations import bytes_mutated, values_mutated

Damaged = tuple[bytes, list[str]]
"""The content of the file, and words of the command line."""

VALUES = (
    "null", "true", "yes", "-1", "0", "1", "2", "1.5", "-0.0", "1e3", "1e30", "-1e30", "1e400", ".nan", ".inf", "-.inf",
    "0400", "0o17", "0x1F", "0b11", "1:30", "12:30:45", "1_000", "1__0", "+5", "5.", ".5", "1e-3", "1,5", "١٢",
    "2020-01-01", "10000000", "9223372036854775808", "18446744073709551616", "9" * 4000, "9" * 5000, "0x" + "f" * 5000,
    "''", "'3'", "'1e-3'", "x", "niqe", "mean(niqe, piqe)", "mean(niqe", "iqp-judge", "iqp-lite@9", "../../etc/passwd",
    '"\\n\\e[31m"', '"\\u202e"', '"\\0"', "x" * 5000, "[]", "[[]]", "[1, 2]", "[0.1, 5]", "[5, 0.1]", "['x']", "{}",
    "{x: 1}", "{x: {x: {}}}", "{1: {}}", "[" + "1, " * 50 + "1]", "!!python/object/apply:os.getcwd []", "!!str 3",
    "!!int x", "!!float 3", "!!binary aGk=", "!!set {a}", "*nothing", "&a [*a]", "&b 3", "|\n    text", "<<",
)  # fmt: skip
"""Values as YAML has them: of other types, out of any range, odd ways to write a number, and traps of the language."""

NAMES = (
    "x", "Seed", "seed ", "sede", "1", "true", "null", "1.0", "0x1", "", "stage1", "a.b", "?", "[1]", "__class__",
    "self", "px", "kind", "source", "metric", "options", "px" * 3000, '"a\\nb"', '"\\e[31m"', "<<",
)  # fmt: skip


def _written(data: Any) -> bytes:
    return yaml.safe_dump(data, sort_keys=False).encode()


def _places(data: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries = data.items() if isinstance(data, dict) else ()
    return [place for key, value in entries for place in ((*before, key), *_places(value, (*before, key)))]


def _within(data: Any, place: tuple[Any, ...]) -> Any:
    for level in place:
        data = data[level]
    return data


def _changed(content: bytes, rng: Random, change: Callable[[dict[Any, Any], Any], object]) -> bytes:
    data = yaml.safe_load(content)
    *before, last = rng.choice(_places(data))
    change(_within(data, tuple(before)), last)
    return _written(data)


_HOLE = "put-it-here"


def _with_text(content: bytes, rng: Random, text: str, as_name: bool = False) -> bytes:
    """A text of YAML in place of a value, or of a name."""

    def change(holder: dict[Any, Any], key: Any) -> None:
        if as_name:
            holder[_HOLE] = holder.pop(key)
        else:
            holder[key] = _HOLE

    return _changed(content, rng, change).replace(_HOLE.encode(), text.encode())


def _added(content: bytes, rng: Random) -> bytes:
    """A name that nobody knows, or one that another place knows, beside others."""
    data = yaml.safe_load(content)
    names = [str(place[-1]) for place in _places(data)]
    holder = _within(data, rng.choice(_places(data))[:-1])
    holder[_HOLE] = rng.choice((1, "x", {}, [1]))
    return _written(data).replace(_HOLE.encode(), rng.choice((*NAMES, *names)).encode())


def _twice(content: bytes, rng: Random) -> bytes:
    lines = content.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    return b"".join([*lines[: at + 1], lines[at], *lines[at + 1 :]])


def _shared(content: bytes, rng: Random) -> Damaged:
    """Stages that are aliases of one another, of which the command line changes one."""
    data = yaml.safe_load(content)
    stages = data.get("stages", data)
    names = [name for name, value in stages.items() if isinstance(value, dict) and "steps" in value]
    names += [name for name in ("imitation", "reward") if "stages" not in data and name not in names]
    shared = {key: stages[names[0]][key] for key in ("steps", "batch", "rate")}
    for name in names:
        stages[name] = shared
    place = "stages." if "stages" in data else ""
    return _written(data), [f"--{place}{rng.choice(names)}.{rng.choice(tuple(shared))}", "7"]


def _lines(content: bytes, rng: Random) -> bytes:
    """The text as an editor may spoil it."""
    text = content.decode()
    at = rng.randrange(len(text))
    spoiled = (
        text.replace("  ", "\t", 1), text.replace(": ", ":", 1), text.replace(":", "", 1), text[:at] + "\t" + text[at:],
        text[:at] + rng.choice("[]{}'\"&*#|>%@`!-?:,\0\x1b\u2028\ufeff") + text[at:], text[:at], text + text,
        text.replace("\n", "\r"), text.replace("\n", "\r\n"), text.replace("\n", " "), text + "\n---\n" + text,
        "%YAML 9.9\n---\n" + text, "- " + text, text.replace("-", "\u2212"), text.replace(" ", "\u00a0"),
        text.replace("{", "[").replace("}", "]"),
    )  # fmt: skip
    return rng.choice(spoiled).encode()


def _encoded(content: bytes, rng: Random) -> bytes:
    text = "# Grüße\n" + content.decode()
    ways = ("utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "cp037", "utf-7")
    return text.encode(rng.choice(ways), "replace")


def _whole(content: bytes, rng: Random) -> bytes:
    """Something else in place of the file."""
    laughs = _doubled(b"[1, 1]", b"[*%s, *%s]")
    merges = _doubled(b"{x: 1}", b"{<<: [*%s, *%s]}")
    others = (
        b"", b"\n", b"# nothing\n", b"---\n", b"null", b"3", b"[]", b"{}", b"\0" * 100, rng.randbytes(500), laughs,
        merges, b"&a {a: *a}", b"&a {stages: {1: *a}}", b"[" * 5000, b"a: " * 5000, b"{a: " * 5000, b"- " * 5000,
        b"x" * (1 << 19), b"\x89PNG\r\n\x1a\n" + rng.randbytes(99), b"<html>503</html>", b"? " * 3000,
        b"!!python/name:os.system ''", content * 900,
    )  # fmt: skip
    return rng.choice(others)


def _doubled(first: bytes, form: bytes) -> bytes:
    """Each line has that before it twice."""
    lines = [b"a0: &a0 " + first]
    for before in range(60):
        lines.append(b"a%d: &a%d " % (before + 1, before + 1) + form % (b"a%d" % before, b"a%d" % before))
    return b"\n".join(lines)


def _words(content: bytes, rng: Random) -> list[str]:
    """Settings on the command line, as they are mistyped."""
    place = ".".join(map(str, rng.choice(_places(yaml.safe_load(content)))))
    odd = (
        f"{place}.", f".{place}", f"{place}.x", f"{place} ", place.upper(), place.replace(".", ".."),
        place.replace(".1", ".²"), place.replace("stages.1", "stages.01"), "", ".", "..", "²", "stages",
        "stages.5.rate", *NAMES,
    )  # fmt: skip
    name = rng.choice((place, place, place, rng.choice(odd)))
    value = rng.choice((*VALUES, "1\nseed: 5", "a: b", "# x", ""))
    two, one = [f"--{name}", value], [f"--{name}={value}"]
    mistyped = ([f"--{name}"], [name, value], [f"-{name}", value], [*two, value])
    return rng.choice((two, two, one, one, rng.choice(mistyped)))


def _in_file(change: Callable[[bytes, Random], bytes]) -> Callable[[bytes, Random], Damaged]:
    return lambda content, rng: (change(content, rng), [])


DAMAGES: dict[str, Callable[[bytes, Random], Damaged]] = {
    "value": _in_file(lambda content, rng: _with_text(content, rng, rng.choice(VALUES))),
    "words": lambda content, rng: (content, _words(content, rng)),
    "name": _in_file(lambda content, rng: _with_text(content, rng, rng.choice(NAMES), as_name=True)),
    "another value": _in_file(lambda content, rng: _with_text(content, rng, rng.choice(VALUES))),
    "more words": lambda content, rng: (content, [*_words(content, rng), *_words(content, rng)]),
    "missing": _in_file(lambda content, rng: _changed(content, rng, lambda holder, key: holder.pop(key))),
    "added": _in_file(_added),
    "twice": _in_file(_twice),
    "shared": _shared,
    "lines": _in_file(_lines),
    "encoding": _in_file(_encoded),
    "another file": _in_file(_whole),
    "bytes": _in_file(lambda content, rng: bytes_mutated(content, rng)),
    "JSON": _in_file(lambda content, rng: values_mutated(yaml.safe_load(content), rng).encode()),
}
