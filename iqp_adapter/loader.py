"""`load`: whatever restores, in whatever form its owner has it, becomes a `Restorer`; the one way for every door."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .core.device import device_of, placed
from .engines.choice import AUTO, TORCH, run_by
from .engines.exported import Exported, as_asked, is_exported
from .engines.formats import FORMATS
from .hosts.loading import SUFFIXES, load_host
from .hosts.wrap import block_sizes, wrap
from .hosts.wrapped import WrappedHost
from .native import from_pretrained
from .native.pretrained import BUILT_IN
from .restorer import Restorer
from .store import hub
from .store.hub import HubOptions
from .store.keywords import of_kind, passes_on


@passes_on(wrap, more=block_sizes)
def load(
    source: Any,
    *,
    adapter: str | Path | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    engine: str | None = None,
    precision: str | None = None,
    compile: bool = False,
    **wrapping: Any,
) -> Restorer:
    """Loads a restorer, ready to restore.

    Args:
        source: "tiny", which ships with the library; a folder or "owner/name" on the Hugging Face Hub with a model of
            this library; a folder that `iqp export` wrote; or what `wrap` takes: a module, a spandrel descriptor, a
            weight file, a published name ("codeformer"), "owner/name/path/file" on the Hub. A restorer that is loaded
            already is taken as it is.
        adapter: folder or Hub id of a trained adapter for it.
        device: where it is to run; where it is loaded without one.
        dtype: of its weights, in which torch computes; as they are without one. Engines have a precision instead.
        engine, precision, compile: what runs it, as for `engines.choice.run_by`. Without them it is a module of torch,
            which can be trained. For an engine that it is exported for, it is brought to the CPU.
        wrapping: further arguments of `wrap`, such as `kind`, `sites` and `revision`.

    Raises:
        ValueError, TypeError: for a source that is none of these, an adapter that does not fit, an unknown argument,
            and a device that this machine does not have.
        OSError: where a file is missing and cannot be fetched.
        ImportError: where a package is missing that has the host's class.
    """
    place = None if device is None else device_of(device)
    if isinstance(source, (str, Path)) and is_exported(source):
        _refuse_more(source, {"adapter": adapter, "dtype": dtype, **wrapping, "compile": compile or None})
        return as_asked(Exported(source, place), engine, precision)
    if dtype is not None and (engine or precision or compile):
        raise ValueError(f"dtype is {dtype}, but an engine computes at a precision; give one of both")
    restorer = _restorer(source, adapter, wrapping)
    if isinstance(restorer, nn.Module):
        placed(restorer, "cpu" if engine in FORMATS else place, dtype).eval()
    if engine is None and precision is None and not compile:
        return restorer
    return run_by(restorer, engine or (TORCH if compile else AUTO), precision, compile, place)


def _refuse_more(source: str | Path, asked: dict[str, Any]) -> None:
    if more := [name for name, value in asked.items() if value is not None]:
        raise ValueError(
            f"{source} was exported, with its adapter in it, and takes no {more[0]}; export it again with it"
        )


def _restorer(source: Any, adapter: str | Path | None, given: dict[str, Any]) -> Restorer:
    options: Any = of_kind(HubOptions, given)
    wrapping = {name: value for name, value in given.items() if name not in options}
    of_host, of_adapter = hub.of_each(adapter, options)
    if isinstance(source, (str, Path)) and is_checkpoint(str(source)):
        source, options = from_pretrained(source, **of_host), of_adapter
    elif isinstance(source, (str, Path)) and not wrapping:
        source, options = load_host(source, **of_host), of_adapter
    if isinstance(source, Restorer) and adapter is None and not wrapping:
        hub.refuse_revision(source.name, options)
        return source
    bare = source.unwrap() if isinstance(source, WrappedHost) else source
    return wrap(bare, adapter=adapter, **wrapping, **options)


def is_checkpoint(name: str) -> bool:
    """Whether it names a checkpoint of this library: built in, a folder, or "owner/name" on the Hub."""
    on_the_hub = name.count("/") == 1 and not name.endswith(SUFFIXES)
    return name in hub.builtin(BUILT_IN) or os.path.isdir(name) or on_the_hub
