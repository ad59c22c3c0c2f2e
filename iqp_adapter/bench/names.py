"""Names of methods and test sets: made from paths that users give, printable, and each one part of a path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

LONGEST = 60
"""Characters of a name; a file system takes 255 bytes, and some characters have four."""


def last_name(path: Path) -> str:
    """The last name of a path. "..", "." and "/" end in none, so that they are resolved first."""
    name = path.name if path.name not in ("", "..") else path.resolve().name
    return plain(name or "root")


def plain(text: str) -> str:
    """A text as one name: what cannot be printed, or separates folders, becomes "_"; a long one ends in its hash."""
    name = "".join(sign if sign.isprintable() and sign not in "/\\" else "_" for sign in text)
    if len(name) > LONGEST:
        name = f"{name[: LONGEST - 9]}~{sha256(name.encode()).hexdigest()[:8]}"
    return name if is_plain(name) else "_"


def is_plain(name: str) -> bool:
    """Whether a name is one part of a path, which stays inside the folder that it is put into."""
    return bool(name.strip(". ")) and not {"/", "\\", "\0"} & set(name)


def names_apart(paths: Sequence[Path]) -> list[str]:
    """A name for each path: its last one; where paths share that, with the name of the folder before it if that helps.

    Equal paths keep equal names.
    """
    names = [last_name(path) for path in paths]
    longer = [plain(f"{last_name(path.parent)}-{name}") for path, name in zip(paths, names, strict=True)]
    shared, still = again(names), again(longer)
    return [long if name in shared and long not in still else name for name, long in zip(names, longer, strict=True)]


def again(names: Sequence[str]) -> list[str]:
    """The names that occur more than once; upper and lower case count as equal, as on some file systems."""
    counts = Counter(name.casefold() for name in names)
    return [name for name in names if counts[name.casefold()] > 1]
