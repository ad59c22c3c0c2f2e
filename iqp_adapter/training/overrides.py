"""Settings on the command line: `--reward.steps 200` stands in place of what the configuration file says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..store.reading import yaml_text


def override(data: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """The entries of a configuration file with some of them replaced.

    Args:
        data: as `yaml_file` gives it; it is changed.
        words: "--NAME", "VALUE" or "--NAME=VALUE", any number of times. A name leads from level to level by dots, as
            in "--stages.1.rate". A value is YAML: a number, a text, `[2, 3]`, or `{l1: 2.0}`.

    Raises:
        ValueError: for words of another form, and for a name that leads into something that has no entries.
    """
    for name, text in _pairs(words):
        *levels, last = (int(part) if part.isdigit() else part for part in name.split("."))
        place: Any = data
        for level in levels:
            place = place.setdefault(level, {})
            if not isinstance(place, dict):
                raise ValueError(f"--{name} {text}: {level} is {place!r:.80} in the file, and has no entries")
        place[last] = yaml_text(f"value: {text}", f"--{name}")["value"]
    return data


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    left = list(words)
    while left:
        name, equals, value = left.pop(0).partition("=")
        if not name.startswith("--") or not name[2:]:
            raise ValueError(f"{name!r} is no option; settings are given as --NAME VALUE, such as --seed 1")
        if not equals and not left:
            raise ValueError(f"{name} has no value; settings are given as --NAME VALUE, such as --seed 1")
        yield name[2:], value if equals else left.pop(0)
