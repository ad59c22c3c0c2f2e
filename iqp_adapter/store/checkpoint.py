"""Checkpoints: a folder with model.safetensors and config.json.

model.safetensors also holds the config, and `load` reads that copy. One file is replaced in one step, so that weights
never meet the config of another save. config.json is for people and for the Hub.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..version import __version__
from .files import atomic_path, mend, some_of
from .foreign import read_foreign as read_foreign
from .reading import Fields, json_text
from .words import message_of, wants_memory

logger = logging.getLogger(__name__)

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_HEADER = "iqp_adapter"

Module = TypeVar("Module", bound=nn.Module)


def save(folder: str | Path, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Writes a checkpoint. Replaces an earlier one in one step and leaves other files of the folder alone.

    Args:
        folder: created if it is missing.
        state: every tensor of the model, by name.
        config: everything that is needed to build the model again, as JSON can hold it.

    Raises:
        ValueError: for an empty state, for a config that `load` would refuse, and for files of these names that
            iqp_adapter did not write.
        TypeError: for a state or config with values of another type.
    """
    folder = Path(folder)
    tensors = _plain(state)
    text = json.dumps(config, indent=2, allow_nan=False)
    json_text(text, "the config")
    sums = {"sha256": _digest(tensors), "config_sha256": _digest_of(text)}
    header = json.dumps({"version": __version__, **sums, "config": text})
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
    header = Fields(json_text(metadata[_HEADER], f"the header of {weights}"), str(weights))
    text = header.text("config")
    known = header.text("config_sha256", default=None)  # files of before had none
    if _digest(state) != header.text("sha256") or known not in (None, _digest_of(text)):
        raise ValueError(f"{weights} is damaged: its content does not have its own checksum; {mend(weights)}")
    _compare(folder / CONFIG, text)
    return json_text(text, f"the config of {weights}"), state


def load_built(build: Callable[[], Module], state: Mapping[str, Tensor], source: str) -> Module:
    """The module that `build` makes, with a state; it gets no memory for much more than the state has.

    Raises:
        ValueError: as `load_strict`, and for sizes of which no module can be built.
    """
    try:
        with _Memory(sum(value.numel() for value in state.values())):
            module = build()
    except (ValueError, LookupError, RuntimeError, ArithmeticError, TypeError) as error:
        raise ValueError(
            f"no module has the sizes of {source} ({message_of(error)}); fetch or save it again"
        ) from error
    load_strict(module, state, source)
    return module


class _Memory(TorchFunctionMode):
    """Refuses to make tensors of more numbers, all together, than twice as many as there are to load, and a million."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.left = 2 * numbers + 1_000_000

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in _MAKERS:
            size = (kwargs or {}).get("size", args)
            self.left -= math.prod(size[0] if size and isinstance(size[0], Sequence) else size)
            if self.left < 0:
                raise ValueError("its config asks for many more numbers than the file holds")
        return function(*args, **(kwargs or {}))


_MAKERS = frozenset((torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full))


def load_strict(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Loads a state into a module; the keys and shapes must be the same.

    Args:
        source: where the state comes from, for the message.

    Raises:
        ValueError: names the keys that do not fit, and those with NaN or infinity where the module had numbers; the
            module is then unchanged.
    """
    _refuse_other(module, state, source)
    _refuse_endless(module, state, source)
    module.load_state_dict(state)


def _refuse_other(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
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


def _refuse_endless(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Some modules have infinity in a mask of their own; weights have not."""
    own = module.state_dict()
    if endless := [key for key, value in state.items() if not _finite(value) and _finite(own[key])]:
        raise ValueError(
            f"{source} holds NaN or infinity in {some_of(endless)}, so it can give no picture; use an earlier "
            f"checkpoint, or fetch or train it again"
        )


def _finite(value: Tensor) -> bool:
    """Whether all are numbers; the extremes are found much faster than every number is asked."""
    if not value.numel() or not (value.is_floating_point() or value.is_complex()):
        return True
    real = torch.view_as_real(value) if value.is_complex() else value
    lowest, highest = torch.aminmax(real.float() if real.element_size() == 1 else real)
    return bool(lowest.isfinite() and highest.isfinite())


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
    except (SafetensorError, LookupError, AttributeError, RuntimeError) as error:
        if wants_memory(error):
            raise
        raise ValueError(f"{path} is damaged ({message_of(error)}); {mend(path)}") from None


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(tensors.items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _compare(path: Path, text: str) -> None:
    if path.is_file() and path.read_text(encoding="utf-8") != text + "\n":
        logger.warning("%s is not the config of the weights beside it, which is stored in them and used instead", path)
