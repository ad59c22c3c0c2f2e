"""The state of a stage on disk: the newest one, and the one before it, which is taken if the newest is damaged."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from ..store.files import atomic_path
from ..store.words import message_of, wants_memory

STATE, PREVIOUS = "state.pt", "previous.pt"

logger = logging.getLogger(__name__)


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Writes a state whole or not at all; the one that was the newest is kept beside it."""
    with atomic_path(folder / STATE) as path:
        torch.save(state, path)
        if (folder / STATE).exists():
            (folder / STATE).replace(folder / PREVIOUS)


def is_there(folder: Path) -> bool:
    """Whether a stage has a state to go on from."""
    return any((folder / name).exists() for name in (STATE, PREVIOUS))


def load_state(folder: Path) -> dict[str, Any] | None:
    """The newest whole state, in main memory whatever it was trained on; None where there is no state at all.

    Raises:
        ValueError: where every state is damaged, and for one that another version wrote.
    """
    damaged: list[str] = []
    for path in (folder / STATE, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            state = _read(path)
        except _DamagedError as error:
            damaged.append(f"{path} is damaged ({error})")
            continue
        if damaged:
            logger.warning("%s; the run goes on from %s, step %d", damaged[0], path.name, state["step"])
        return state
    if damaged:
        raise ValueError(f"{'; '.join(damaged)}; remove it to train this stage again from its start")
    return None


class _DamagedError(Exception):
    """A state cannot be read."""


def _read(path: Path) -> dict[str, Any]:
    """Compares checksums first, since torch does not, then reads without running code."""
    try:
        with ZipFile(path) as archive:
            wrong = archive.testzip()
        state = torch.load(path, map_location="cpu", weights_only=True)
    except BadZipFile as error:
        raise _DamagedError(str(error)) from error
    except Exception as error:  # what damaged bytes raise in zipfile and torch is not documented
        if wants_memory(error):
            raise
        raise _DamagedError(message_of(error)[:120]) from error
    if wrong is not None:
        raise _DamagedError(f"the checksum of {wrong} is wrong")
    if not isinstance(state, dict) or not isinstance(state.get("models"), dict):
        raise ValueError(f"{path} was written by another version of iqp_adapter; train in another folder")
    return state
