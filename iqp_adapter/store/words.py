"""What users are told in one line: of which errors, and what they and other packages wrote within it."""

from __future__ import annotations

from typing import Any

USER_ERRORS = (ValueError, TypeError, OSError, ImportError, FloatingPointError, MemoryError)
"""What the library raises for something that its user can mend, in one line that says how."""

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "ALLOC_FAILED")


def wants_memory(error: BaseException) -> bool:
    """Whether an error says that no memory is left; torch says so by a RuntimeError, on a CPU by one of no own kind."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
    )


def is_for_users(error: BaseException) -> bool:
    """Whether an error is told in one line, without its trace."""
    return isinstance(error, USER_ERRORS) or wants_memory(error)


def message_of(error: BaseException) -> str:
    """What an error says, in one line; its kind, where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def line_of(error: BaseException) -> str:
    """What an error tells its user, in one line."""
    line = message_of(error)
    if not wants_memory(error) or (type(error) is MemoryError and str(error)):  # ours, which says what to try
        return line
    return f"no memory is left ({line}); take a smaller batch or smaller pictures, or another device"


def in_short(word: Any) -> str:
    """A word of a user: as it is where it is short and can be printed, else spelt out and cut."""
    text = str(word)
    return text if text.isprintable() and 0 < len(text) <= 80 else f"{text!r:.80}"


def counted(number: int, one: str, more: str = "") -> str:
    """A number of things in words: 1 face, 2 faces; `more` is a plural that is not made by an s."""
    return f"{number} {one if number == 1 else more or one + 's'}"


def several(words: list[str]) -> str:
    """Several words, of many the first ones."""
    return ", ".join(words[:5]) + (f" and {len(words) - 5} more" if len(words) > 5 else "")


def said_by(error: BaseException) -> str:
    """The kind of an error of another package, and what it says, without control characters."""
    text = "".join(sign if sign.isprintable() else " " for sign in str(error))
    return " ".join(f"{type(error).__name__}: {text}".split())[:300]
