"""Hosts from what their owners have: a weight file, a published name, a file on the Hub, spandrel's descriptor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..compat import make_importable
from ..store import hub
from ..store.checkpoint import load_strict, read_foreign
from ..store.fetch import fetch
from .registry import hosts, kind_of, named, published
from .spec import HostSpec

SUFFIXES = (".safetensors", ".pth", ".ckpt", ".pt")


def load_host(source: Any, kind: str | None = None) -> nn.Module:
    """The restorer that `source` stands for; what is read from a file is in eval mode, on the CPU.

    Args:
        source: a spandrel descriptor, whose own module is taken; the path of a weight file; a published name
            ("codeformer"), which is fetched once; or "owner/name/path/file" on the Hugging Face Hub.
        kind: name of the kind that a file is of; by default it is told from its keys.

    Raises:
        TypeError: for something else.
        ValueError: for a name that is none of these, and for a file whose kind is not known or cannot be built.
        ImportError: where a package is missing that has the host's class.
        OSError: where a file is missing and cannot be fetched.
    """
    if is_descriptor(source):
        return source.model
    if not isinstance(source, (str, Path)):
        raise TypeError(f"cannot wrap a {type(source).__name__}; give {_FORMS}")
    if Path(source).is_file() or isinstance(source, Path):
        return load_file(source, kind)
    if source in published():
        return load_file(fetch(published()[source]), kind)
    if re.fullmatch(rf"({hub.DATASETS})?[\w-][\w.-]*/[\w.-]+/.*({'|'.join(map(re.escape, SUFFIXES))})", source):
        return load_file(hub.fetch_file(source), kind)
    close = get_close_matches(source, published(), n=1)
    hint = f"did you mean {close[0]!r}" if close else f"published names: {', '.join(sorted(published()))}"
    raise ValueError(f"{source!r} is neither a file here nor a published name; {hint}; else give {_FORMS}")


_FORMS = "a module, a spandrel descriptor, a weight file, a published name, or 'owner/name/path/file' on the Hub"


def is_descriptor(source: Any) -> bool:
    """Whether it is a model as spandrel describes it; told by what it has, so that spandrel need not be there."""
    return isinstance(getattr(source, "model", None), nn.Module) and hasattr(source, "architecture")


def load_file(path: str | Path, kind: str | None = None) -> nn.Module:
    """The restorer of a weight file: of the named kind, of the one whose keys fit, else of one that spandrel knows."""
    state = read_foreign(path)
    spec = kind_of(lambda spec: spec.plain(state), str(path)) if kind is None else named(kind)
    if spec is None:
        return _by_spandrel(state, str(path)).eval()
    try:
        return build(spec, state, str(path)).eval()
    except ImportError as error:
        return _by_spandrel(state, str(path), error).eval()


def build(spec: HostSpec, state: Mapping[str, Tensor], source: str) -> nn.Module:
    """An instance of a kind with the weights of a file, strictly; draws nothing from the global generator."""
    if spec.build is None:
        raise ValueError(
            f"{source} has weights of {spec.name}, which no package can build from a file; build the official class "
            f"({spec.source}) yourself, load the file into it and wrap the instance"
        )
    make_importable()
    own = spec.plain(state)
    try:
        with torch.random.fork_rng():
            host = spec.build(own)
    except KeyError as error:
        raise ValueError(f"{source} has weights of {spec.name}, but not all: no {error}; fetch it again") from error
    load_strict(host, own, source)
    return host


def _by_spandrel(state: Mapping[str, Tensor], source: str, reason: ImportError | None = None) -> nn.Module:
    try:
        import spandrel
        import spandrel_extra_arches
    except ImportError:
        raise reason or ImportError(
            f"{source} is no kind of {', '.join(sorted(hosts()))}; the extra 'spandrel' knows more: pip install "
            f"iqp_adapter[spandrel]"
        ) from None
    spandrel_extra_arches.install(ignore_duplicates=True)
    try:
        with torch.random.fork_rng():
            return spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(state)).model
    except (spandrel.UnsupportedModelError, KeyError, RuntimeError, ValueError) as error:
        raise reason or ValueError(
            f"{source} is no kind of {', '.join(sorted(hosts()))}, and spandrel cannot load it either "
            f"({type(error).__name__}); build the host, load the file into it and wrap the instance"
        ) from error
