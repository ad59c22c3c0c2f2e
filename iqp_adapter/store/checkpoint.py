"""Checkpoints: a folder with model.safetensors and config.json.

model.safetensors also holds the config, and `load` reads that copy. One file is replaced in one step, so that weights
never meet the config of another save. config.json is for people and for the Hub.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor, nn

from ..version import __version__
from .files import atomic_path, some_of
from .foreign import read_foreign as read_foreign

logger = logging.getLogger(__name__)

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_HEADER = "iqp_adapter"


def save(folder: str | Path, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Writes a checkpoint. Replaces an earlier one in one step and leaves other files of the folder alone.

    Args:
        folder: created if it is missing.
        state: every tensor of the model, by name.
        config: everything that is needed to build the model again, as JSON can hold it.

    Raises:
        ValueError: for an empty state, and for files of these names that iqp_adapter did not write.
        TypeError: for a state or config with values of another type.
    """
    folder = Path(folder)
    tensors = _plain(state)
    text = json.dumps(config, indent=2, allow_nan=False)
    header = json.dumps({"version": __version__, "sha256": _digest(tensors), "config": text})
    _refuse_foreign(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / WEIGHTS) as path:
        path.write_bytes(serialised(tensors, {_HEADER: header}))
    with atomic_path(folder / CONFIG) as path:
        path.write_text(text + "\n", encoding="utf-8")


def load(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads a checkpoint: its config, and its tensors on the CPU.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: for a damaged file, and for weights that `save` did not write.
    """
    folder = Path(folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise FileNotFoundError(f"no checkpoint in {folder}; it would be a folder with {WEIGHTS} and {CONFIG}")
    metadata, state = _read(weights)
    if _HEADER not in metadata:
        raise ValueError(f"{weights} has no config inside, so iqp_adapter did not save it; load it by read_foreign")
    header = json.loads(metadata[_HEADER])
    if _digest(state) != header["sha256"]:
        raise ValueError(f"{weights} is damaged: its content does not have its own checksum; fetch or save it again")
    _compare(folder / CONFIG, header["config"])
    return json.loads(header["config"]), state


def load_strict(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Loads a state into a module; the keys and shapes must be the same.

    Args:
        source: where the state comes from, for the message.

    Raises:
        ValueError: names the keys that do not fit; the module is then unchanged.
    """
    own = module.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    misshapen = [
        f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
        for key in sorted(own.keys() & state.keys())
        if own[key].shape != state[key].shape
    ]
    if missing or unexpected or misshapen:
        raise ValueError(
            f"{source} does not fit {type(module).__name__}: {some_of(missing)} missing, {some_of(unexpected)} "
            f"unexpected, {some_of(misshapen)} of another shape; use the model and config it was saved with"
        )
    module.load_state_dict(state)


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the tensors as safetensors needs them: on the CPU, contiguous, without shared memory."""
    others = sorted(key for key, value in state.items() if not isinstance(value, Tensor))
    if others:
        raise TypeError(f"the state holds {some_of(others)} values that are no tensors; put them into the config")
    if not any(value.numel() for value in state.values()):
        raise ValueError(
            f"the state is empty ({len(state)} tensors without numbers), nothing was saved; pass model.state_dict()"
        )
    return {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()}


def _refuse_foreign(folder: Path) -> None:
    weights = folder / WEIGHTS
    if weights.is_file() and _HEADER in _read(weights)[0]:
        return
    for path in (weights, folder / CONFIG):
        if path.exists():
            raise ValueError(f"{path} was not written by iqp_adapter and is not overwritten; choose another folder")


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no iterator
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); fetch or save it again") from None


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(tensors.items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _compare(path: Path, text: str) -> None:
    if path.is_file() and path.read_text(encoding="utf-8") != text + "\n":
        logger.warning("%s is not the config of the weights beside it, which is stored in them and used instead", path)
