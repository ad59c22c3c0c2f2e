"""JSON and YAML that others wrote: parsed within bounds, and checked entry by entry before anything is made of it.

    settings = Fields(json_file("config.json"), "config.json")
    layers = settings.whole("layers", 1, 64)

Every error is a ValueError of one line with the name of the file: "config.json: `layers` is 'x', expected a whole
number from 1 to 64".
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import Repr
from typing import Any, NoReturn

from .words import message_of

LARGEST, LARGEST_YAML = 8 << 20, 1 << 18
"""Bytes of a JSON and of a YAML text."""

DEEPEST, MOST = 64, 500_000
"""Levels of nesting, and values in a text."""

REQUIRED: Any = object()
"""The default of an entry that must be there."""

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def json_text(text: str | bytes, name: str, kind: type = dict) -> Any:
    """What a JSON text says.

    Args:
        text: bytes in UTF-8, or a string.
        name: of the file or answer that it is from, for the message.
        kind: of the outermost value, such as `dict` or `list`.

    Raises:
        ValueError: for a text that is no JSON, has two entries of one name, a number that is not finite, too many
            bytes, values or levels, or another outermost value.
    """
    decoded = _decoded(text, name, LARGEST)
    try:
        data = json.loads(decoded, object_pairs_hook=_unique, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no JSON that can be read: {_line(error)}") from None
    return _checked(data, name, kind)


def json_file(path: str | Path, kind: type = dict) -> Any:
    """What a JSON file says.

    Raises:
        ValueError: as `json_text`.
        OSError: for a file that cannot be read.
    """
    return json_text(_content(path, LARGEST), str(path), kind)


def yaml_text(text: str | bytes, name: str, kind: type = dict) -> Any:
    """What a YAML text says: plain values only; `1e-3` is a number, as in JSON.

    Raises:
        ValueError: as `json_text`.
    """
    import yaml

    decoded = _decoded(text, name, LARGEST_YAML)
    try:
        data = yaml.load(decoded, Loader=_loader())
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise ValueError(f"{name} is no YAML that can be read: {_line(error)}") from None
    return _checked(data, name, kind)


def yaml_file(path: str | Path, kind: type = dict) -> Any:
    """What a YAML file says.

    Raises:
        ValueError: as `json_text`.
        OSError: for a file that cannot be read.
    """
    return yaml_text(_content(path, LARGEST_YAML), str(path), kind)


@dataclass(frozen=True)
class Fields:
    """The entries of a file, each checked when it is taken; every method raises a ValueError with the file's name.

    Args:
        data: as `json_file` or `yaml_file` gives it.
        source: name of the file.
        place: of these entries in the file, such as "model.".
    """

    data: Mapping[str, Any]
    source: str
    place: str = ""

    def whole(self, name: str, low: int, high: int, default: Any = REQUIRED) -> int:
        """A whole number from `low` to `high`."""
        value = self._value(name, f"a whole number from {low} to {high}", default)
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return value if fits or value is default else self._refuse(name, f"a whole number from {low} to {high}")

    def number(self, name: str, low: float = -math.inf, high: float = math.inf, default: Any = REQUIRED) -> float:
        """A finite number from `low` to `high`."""
        wanted = "a number" if low == -math.inf and high == math.inf else f"a number from {low:g} to {high:g}"
        value = self._value(name, wanted, default)
        return value if value is default or _is_number(value) and low <= value <= high else self._refuse(name, wanted)

    def text(self, name: str, words: Collection[str] = (), default: Any = REQUIRED) -> str:
        """A text; one of `words`, where there are some."""
        wanted = f"one of {', '.join(map(repr, words))}" if words else "a text"
        value = self._value(name, wanted, default)
        fits = isinstance(value, str) and (not words or value in words)
        return value if fits or value is default else self._refuse(name, wanted)

    def truth(self, name: str, default: Any = REQUIRED) -> bool:
        """True or false."""
        value = self._value(name, "true or false", default)
        return value if isinstance(value, bool) or value is default else self._refuse(name, "true or false")

    def wholes(self, name: str, low: int, high: int, count: tuple[int, int]) -> tuple[int, ...]:
        """A list of whole numbers from `low` to `high`; `count` is the least and the greatest length."""
        numbers = self._list(name, f"whole numbers from {low} to {high}", count)
        return tuple(numbers.whole(entry, low, high) for entry in numbers.data)

    def numbers(self, name: str, count: tuple[int, int]) -> tuple[float, ...]:
        """A list of finite numbers; `count` is the least and the greatest length."""
        numbers = self._list(name, "numbers", count)
        return tuple(numbers.number(entry) for entry in numbers.data)

    def texts(self, name: str, count: tuple[int, int]) -> tuple[str, ...]:
        """A list of texts; `count` is the least and the greatest length."""
        texts = self._list(name, "texts", count)
        return tuple(texts.text(entry) for entry in texts.data)

    def inside(self, name: str) -> Fields:
        """The entries of an object."""
        value = self._value(name, "an object", REQUIRED)
        entries = value if isinstance(value, Mapping) else self._refuse(name, "an object")
        return Fields(entries, self.source, f"{self.place}{name}.")

    def each(self, name: str, count: tuple[int, int]) -> list[Fields]:
        """The entries of every object of a list; `count` is the least and the greatest length."""
        objects = self._list(name, "objects", count)
        return [objects.inside(entry) for entry in objects.data]

    def only(self, names: Collection[str]) -> Fields:
        """These entries, which have no other names."""
        if unknown := [str(name) for name in self.data if name not in names]:
            raise ValueError(
                f"{self.source}: {self.place}{_SHORT.repr(unknown[0])} is not known here; known: {', '.join(names)}"
            )
        return self

    def _list(self, name: str, what: str, count: tuple[int, int]) -> Fields:
        """A list as entries that are named by their position."""
        least, most = count
        wanted = f"a list of {least if least == most else f'{least} to {most}'} {what}"
        value = self._value(name, wanted, REQUIRED)
        if not isinstance(value, Sequence) or isinstance(value, str) or not least <= len(value) <= most:
            self._refuse(name, wanted)
        return Fields({str(position): item for position, item in enumerate(value)}, self.source, f"{self.place}{name}.")

    def _value(self, name: str, wanted: str, default: Any) -> Any:
        value = self.data.get(name, default)
        if value is REQUIRED:
            raise ValueError(f"{self.source}: `{self.place}{name}` is missing, expected {wanted}")
        return value

    def _refuse(self, name: str, wanted: str) -> NoReturn:
        raise ValueError(f"{self.source}: `{self.place}{name}` is {_SHORT.repr(self.data[name])}, expected {wanted}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def _content(path: str | Path, largest: int) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(largest + 1)


def _decoded(text: str | bytes, name: str, largest: int) -> str:
    if len(text) > largest:
        raise ValueError(f"{name} has more than {largest} bytes, which is too large for a file of settings")
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is no text in UTF-8 (byte {error.start}); save it as UTF-8") from None


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"it has two entries of the name {_SHORT.repr(twice)}")
    return data


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _loader() -> type:
    """PyYAML's safe loader; a name occurs once in a mapping, merged mappings stay small, and numbers are as in JSON.

    So 1e-3 is a number, and what YAML 1.1 takes for octal (0400) or sexagesimal (1:30) is a text.
    """
    import re

    import yaml

    class Loader(yaml.SafeLoader):
        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            _unique([(key.value, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)])
            return node

        def flatten_mapping(self, node: Any) -> None:
            super().flatten_mapping(node)
            if len(node.value) > MOST // 100:
                raise ValueError(f"a mapping has more than {MOST // 100} entries")

    digits, power = "[0-9]+(_[0-9]+)*", "[eE][-+]?[0-9]+"
    whole = re.compile(rf"[-+]?(0|(?!0){digits}|0x[0-9a-fA-F]+|0b[01]+)$")
    number = re.compile(
        rf"[-+]?(({digits}\.({digits})?|\.{digits})({power})?|{digits}{power}|\.(inf|Inf|INF))$|\.(nan|NaN|NAN)$"
    )
    ours = {"tag:yaml.org,2002:int": whole, "tag:yaml.org,2002:float": number}
    Loader.yaml_implicit_resolvers = {
        first: [(tag, ours.get(tag, pattern)) for tag, pattern in resolvers]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader


def _checked(data: Any, name: str, kind: type) -> Any:
    if not isinstance(data, kind):
        raise ValueError(f"{name} holds {_shown(data)}, expected {_KINDS.get(kind, kind.__name__)}")
    waiting, count = [(data, 1)], 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if depth > DEEPEST or count > MOST:
            raise ValueError(f"{name} has more than {DEEPEST} levels or {MOST} values; it is no file of settings")
        if isinstance(value, dict):
            waiting += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list):
            waiting += [(part, depth + 1) for part in value]
        elif problem := _problem(value):
            raise ValueError(f"{name} holds {_shown(value)}, which is {problem}")
    return data


_KINDS: Mapping[type, str] = {dict: "entries with names", list: "a list"}


def _problem(value: Any) -> str | None:
    if isinstance(value, str):
        return None if value.isascii() or value == value.encode(errors="replace").decode() else "no text in Unicode"
    if isinstance(value, float):
        return None if math.isfinite(value) else "no finite number"
    if isinstance(value, int):
        return "too large a number" if _is_huge(value) else None
    return None if value is None else f"a {type(value).__name__}; put it in quotes"


def _is_huge(value: Any) -> bool:
    """Whether it is a whole number that no float comes near, and that Python may refuse to print."""
    return isinstance(value, int) and value.bit_length() > 1023


def _shown(value: Any) -> str:
    return f"{value:#x}"[:20] + "..." if _is_huge(value) else _SHORT.repr(value)


def _line(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else message_of(error)[:300]
