"""Weight files of other projects: the tensors in them, by name. No code that a file may hold ever runs."""

from __future__ import annotations

import logging
import pickletools
import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from threading import Lock
from typing import IO, Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import safe_globals

from .files import some_of

logger = logging.getLogger(__name__)

_EMA = ("params_ema", "g_ema", "net_g_ema", "generator_ema", "model_ema", "ema_model", "ema_state_dict", "ema")
_WRAPPINGS = (
    *_EMA, "params", "state_dict", "model_state_dict", "model", "net", "net_g", "netg", "generator", "g", "weights"
)  # fmt: skip
"""Names under which training loops keep the weights, the best first; `-` counts as `_`."""

_BESIDE = ("optim", "net_d", "netd", "d", "disc", "loss", "sched", "lr_", "scaler", "callback", "loops")
"""Starts of names under which they keep what is not the model."""

_INSERTED = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch.compile, FSDP and checkpointing put into keys, anywhere."""

_NUMBERS = ("numpy.dtype", "numpy.ndarray") + tuple(
    f"numpy.{core}.{name}"
    for core in ("core", "_core")
    for name in ("multiarray.scalar", "multiarray._reconstruct", "numeric._frombuffer")
)
_VALUES = {
    *_NUMBERS,
    *(f"pathlib.{name}" for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path")),
    *(f"pathlib._local.{name}" for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path")),
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    *(f"builtins.{name}" for name in ("set", "frozenset", "slice", "range", "complex", "bytearray")),
    "collections.defaultdict",
    "_codecs.encode",
}
"""What training loops store beside weights and pickle as a call. The call is not made either: a blank stands for it."""


_TENSORS = re.compile(r"torch\.(_utils|_tensor|storage|serialization|nn\.parameter)\.|torch\.\w+$|collections\.")
"""What tensors are pickled with."""


def read_foreign(path: str | Path) -> dict[str, Tensor]:
    """Reads the tensors of another project's weight file: .safetensors, or .pth and .ckpt without running their code.

    Takes the weights out of what training loops wrap around them, averaged ones (EMA) first, and removes `module.` and
    `_orig_mod.` from the keys. What it leaves out is logged.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a damaged file, one that calls code, one without weights, and one with several sets of them.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weight file {path}; give a .safetensors, .pth or .ckpt file")
    state = _without_wrappings(_content(path), path)
    tensors = {key for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    others = sorted(str(key) for key in state if key not in tensors)
    if others or not state:
        raise ValueError(
            f"{path} holds {len(state)} entries, {some_of(others)} of them no tensors; save a state dict alone or "
            f"under a name such as params_ema, params or state_dict"
        )
    return _with_plain_keys(state)


def refuse_more_than_tensors(path: str | Path) -> None:
    """For a file that a reader gets which would run code in it: passes what torch itself holds for safe, no more.

    Raises:
        ValueError: for any other file.
    """
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(f"{path} holds more than tensors ({_line(error)}); save its state dict alone") from error


def _content(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        start = file.read(512)
    if start[8:9] == b"{" or (path.suffix == ".safetensors" and not _no_weights(start)):
        return _read_safetensors(path)
    if reason := _no_weights(start):
        raise ValueError(f"{path} {reason}")
    content = _read_pickled(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected a state dict; save its weights alone")
    return content


def _no_weights(start: bytes) -> str | None:
    """What a file is that begins like this, if it is one that people take for weights."""
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights themselves; fetch them by `git lfs pull`"
    if start.lstrip()[:1] == b"<":
        return "is a web page, not weights; fetch the file itself, not the page that shows it"
    return None


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({_line(error)}); fetch or save it again") from None


def _read_pickled(path: Path) -> Any:
    """What torch saved, with stand-ins for whatever the file names that is no tensor."""
    if is_zipfile(path) and not _pickle_in(path):
        raise ValueError(f"{path} is a zip archive without weights of torch; give the weight file that it may hold")
    names = _named(path)
    try:
        with _ONE_AT_A_TIME, safe_globals([_Blank, *((_stand_in(name), name) for name in names)]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except _Called as error:
        raise ValueError(_HOLDS_CODE.format(path, error)) from error
    except Exception as error:  # a damaged pickle can raise anything
        code = [name for name in names if name not in _VALUES and not _TENSORS.match(name)]
        if code and isinstance(error, UnpicklingError):
            raise ValueError(_HOLDS_CODE.format(path, code[0])) from error
        what = "is a TorchScript program" if "TorchScript" in str(error) else "is damaged, or no weight file"
        raise ValueError(f"{path} {what}; fetch it again, or save a state dict") from error


_ONE_AT_A_TIME = Lock()
"""What torch holds for safe is one set for all threads."""

_HOLDS_CODE = (
    "{} holds code ({}), which is never run; save the state dict alone, or convert the file to .safetensors where you "
    "trust it"
)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0].partition(". ")[0][:120]


class _Called(Exception):  # noqa: N818 - nothing fails: what a file wants to be called is not
    """A file wants this to be called."""


class _Blank:
    """Stands for a number, a path or a date beside the weights."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Named(type):
    """Classes that stand for what a file names. They can be referred to, and built empty; they are never called."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        if cls.__name__ not in _VALUES:
            raise _Called(cls.__name__)
        return OrderedDict() if cls.__name__.endswith("dict") else _Blank()


def _stand_in(name: str) -> type:
    """Its objects are empty mappings, the one kind that torch fills with what such objects hold."""
    return _Named(name, (), {"__new__": lambda cls, *arguments, **named: OrderedDict()})


def _named(path: Path) -> list[str]:
    """What the pickle of a file names, by reading its instructions alone; of a damaged one, up to where it ends."""
    found: set[str] = set()
    try:
        with path.open("rb") as file:
            for part in _pickles(path, file):
                for name in _names_in(part):
                    found.add(name)
    except Exception as error:  # a damaged pickle can raise anything; loading it says so
        logger.debug("%s: %s", path, _line(error))
    return sorted(found)


def _pickles(path: Path, file: IO[bytes]) -> Iterator[Any]:
    """The pickles in which torch's formats name things: one inside a zip archive, else the first four of a file."""
    if is_zipfile(path):
        with ZipFile(path) as archive:
            yield archive.open(_pickle_in(path))
    else:
        for _ in range(4):
            yield file


def _pickle_in(path: Path) -> str:
    try:
        with ZipFile(path) as archive:
            return next((name for name in archive.namelist() if name.endswith("data.pkl")), "")
    except BadZipFile:
        return ""


def _names_in(pickle: IO[bytes]) -> Iterator[str]:
    words: list[str] = []
    for instruction, argument, _ in pickletools.genops(pickle):
        if isinstance(argument, str) and instruction.name in ("GLOBAL", "INST"):
            yield _spelt(*argument.split(" ", 1))
        elif instruction.name == "STACK_GLOBAL":
            yield ".".join(words[-2:])
        elif isinstance(argument, str):
            words.append(argument)


def _spelt(module: str, name: str) -> str:
    """The name of today for one that an old protocol spells as Python 2 did."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


def _without_wrappings(content: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """The weights inside of what training loops save; the content itself where nothing is wrapped around them."""
    sets = {name: value for name, value in content.items() if isinstance(value, Mapping) and _has_weights(value)}
    spelt = {str(name).lower().replace("-", "_"): name for name in sets}
    own = [name for short, name in spelt.items() if not short.startswith(_BESIDE) or short in _WRAPPINGS]
    known = [spelt[name] for name in _WRAPPINGS if name in spelt]
    if not known and len(own) > 1:
        raise ValueError(f"{path} holds several sets of weights, {some_of(map(str, own))}; save one of them alone")
    if not (known or own):
        return content
    chosen = (known or own)[0]
    if others := [str(name) for name in content if name is not chosen]:
        logger.info("%s: took the weights under %r, left out %s", path, chosen, some_of(others))
    return _without_wrappings(sets[chosen], path)


def _has_weights(value: Mapping[str, Any], depth: int = 3) -> bool:
    """Whether tensors have names in it, at most so many mappings deep; an optimizer's have numbers."""
    named = [inner for key, inner in value.items() if isinstance(key, str)]
    inside = (inner for inner in named if isinstance(inner, Mapping))
    return any(isinstance(inner, Tensor) for inner in named) or (
        depth > 0 and any(_has_weights(inner, depth - 1) for inner in inside)
    )


def _with_plain_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for inserted in _INSERTED:
        state = {key.replace(inserted, ""): value for key, value in state.items()}
    while all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return dict(state)
