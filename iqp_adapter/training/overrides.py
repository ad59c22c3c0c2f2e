"""Settings on the command line: `--reward.steps 200` stands in place of what the configuration file says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..store.reading import yaml_text
from ..store.words import in_short


def override(data: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """The entries of a configuration file with some of them replaced.

    Args:
        data: as `yaml_file` gives it; its outermost level is changed.
        words: "--NAME", "VALUE" or "--NAME=VALUE", any number of times. A name leads from level to level by dots, as
            in "--stages.1.rate". A value is YAML: a number, a text, `[2, 3]`, or `{l1: 2.0}`.

    Raises:
        ValueError: for words of another form, and for a name that leads into something that has no entries.
    """
    for name, text in _pairs(words):
        *levels, last = _levels(name)
        place: Any = data
        for level in levels:
            inner = place.setdefault(level, {})
            if not isinstance(inner, dict):
                raise ValueError(
                    f"--{in_short(name)} {in_short(text)}: {level} is {inner!r:.80} in the file, and has no entries"
                )
            place[level] = place = dict(inner)  # a copy, since several places of a file may share it by an alias
        place[last] = yaml_text(text, f"--{in_short(name)}", object)
    return data


def _levels(name: str) -> list[str | int]:
    levels = name.split(".")
    if not all(levels):
        raise ValueError(f"--{in_short(name)} has a level without a name; one dot leads to the next: --stages.1.rate")
    return [int(level) if level.isascii() and level.isdecimal() else level for level in levels]


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    left = list(words)
    while left:
        name, equals, value = left.pop(0).partition("=")
        if not name.startswith("--") or not name[2:]:
            raise ValueError(f"{name!r:.80} is no option; settings are given as --NAME VALUE, such as --seed 1")
        if not equals and not left:
            raise ValueError(f"{in_short(name)} has no value; settings are given as --NAME VALUE, such as --seed 1")
        yield name[2:], value if equals else left.pop(0)
