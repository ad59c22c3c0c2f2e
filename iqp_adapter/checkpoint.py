"""Checkpoints: config.json and model.safetensors in one folder, written whole, read strictly; and foreign .pth files."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def save(folder: str | Path, state: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Writes a checkpoint as a pair: both files are of this save, or the folder stays as it was.

    Raises:
        ValueError: for an empty state, or a folder that holds something other than a checkpoint.
    """
    folder = Path(folder)
    if not any(value.numel() for value in state.values()):
        raise ValueError(f"nothing to save in {folder}: the state has no numbers; train the model first")
    if folder.exists() and any(folder.iterdir()) and not (folder / CONFIG).exists():
        raise ValueError(f"{folder} holds something other than a checkpoint; choose a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".partial"))
    try:
        save_file({key: value.detach().cpu().contiguous() for key, value in state.items()}, partial / WEIGHTS)
        (partial / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        _replace(folder, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace(folder: Path, partial: Path) -> None:
    """Puts `partial` in the place of `folder`; other files of the folder move along."""
    for file in partial.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    if folder.exists():
        for file in folder.iterdir():
            if file.name not in (CONFIG, WEIGHTS):
                shutil.copy2(file, partial / file.name)
        old = partial.with_suffix(".old")
        folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old)
    else:
        partial.rename(folder)


def load(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads a checkpoint folder: its config and its state.

    Raises:
        FileNotFoundError: where a file is missing.
        ValueError: where a file is damaged.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}; a checkpoint is a folder with {CONFIG} and {WEIGHTS}")
    try:
        return json.loads((folder / CONFIG).read_text()), load_file(folder / WEIGHTS)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder} is damaged ({error}); fetch or save it again") from None


def load_strict(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Loads a state in which no key is missing, none is left over and every shape fits.

    Raises:
        ValueError: names what does not fit.
    """
    own = module.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    misshapen = sorted(key for key in own.keys() & state.keys() if own[key].shape != state[key].shape)
    if missing or unexpected or misshapen:
        raise ValueError(
            f"{source} does not fit {type(module).__name__}: {_few(missing)} missing, {_few(unexpected)} unexpected, "
            f"{_few(misshapen)} of another shape; was it saved by another model or version?"
        )
    module.load_state_dict(state)


def _few(keys: list[str]) -> str:
    return f"{len(keys)} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})" if keys else "0"
