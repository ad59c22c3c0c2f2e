"""Hosts from what their owners have: a weight file, a published name, a file on the Hub, spandrel's descriptor."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from ..compat import make_importable
from ..store import hub
from ..store.checkpoint import load_strict
from ..store.fetch import fetch
from ..store.files import some_of
from ..store.foreign import read_foreign
from ..store.hub import HubOptions
from ..store.printed import logged
from .keys import first, readings
from .registry import hosts, is_known, kind_of, named, nearest, published, recognise
from .saved import SavedAdapter
from .spec import HostSpec
from .unknown import Restore, Sizes, described, first_output

logger = logging.getLogger(__name__)

SUFFIXES = (".safetensors", ".pth", ".ckpt", ".pt")


def load_host(
    source: Any, kind: str | None = None, into: nn.Module | None = None, **options: Unpack[HubOptions]
) -> nn.Module:
    """The restorer that `source` stands for; what is read from a file is in eval mode, on the CPU.

    Args:
        source: a module, which is taken as it is; a spandrel descriptor, whose own module is taken; the path of a
            weight file; a published name ("codeformer"), which is fetched once; or "owner/name/path/file" on the
            Hugging Face Hub.
        kind: name of the kind that a file is of; by default it is told from its keys.
        into: an instance of the host's class that takes the weights of the file, strictly, and stays on its device; for
            hosts whose class no package has.

    Raises:
        TypeError: for something else.
        ValueError: for a name that is none of these, for a file whose kind is not known or cannot be built, and for a
            revision of something that is not on the Hub.
        ImportError: where a package is missing that has the host's class.
        OSError: where a file is missing and cannot be fetched.
    """
    if into is not None and not isinstance(source, (str, Path)):
        raise TypeError(f"into= takes the weights of a file, and this is a {type(source).__name__}; wrap it without")
    if not isinstance(source, (str, Path)):
        hub.refuse_revision(f"a {type(source).__name__}", options)
        return _module(source)
    file = _file(source, into is None, options)
    return load_file(file, kind) if into is None else load_into(into, file, kind)


def published_for(adapter: SavedAdapter) -> str:
    """The published weights of the host that an adapter was trained for: those that have the name of its kind.

    Raises:
        ValueError: where there are none.
    """
    kind = str(adapter.host.get("name"))
    names = list(named(kind).weights) if is_known(kind) else []
    if kind not in names and len(names) != 1:
        ways = f"published are {', '.join(names)}" if names else "no weights of which are published"
        raise ValueError(f"{adapter.name} was trained for {kind}, {ways}; give host=, as wrap takes it")
    return kind if kind in names else names[0]


def spec_for(adapter: SavedAdapter, host: nn.Module, kind: str | None, restore: Restore | None) -> HostSpec:
    """What is known of the host of an adapter: the kind that is named, or the one that recognises it; of a host that no
    host file describes, what the adapter remembers."""
    if kind is not None:
        return named(kind)
    if is_known(adapter.host.get("name")):
        return recognise(host)
    return described(host, restore or first_output, Sizes.from_dict(adapter.host))


def _module(source: Any) -> nn.Module:
    if isinstance(source, nn.Module):
        return source
    if is_descriptor(source):
        return source.model
    raise TypeError(f"cannot wrap a {type(source).__name__}; give {_FORMS}")


def _file(source: str | Path, buildable: bool, options: HubOptions) -> Path:
    """The weight file of a source, fetched if need be; if it is to be built, only where that can be done."""
    if os.path.isfile(source) or isinstance(source, Path):
        hub.refuse_revision(source, options)
        return Path(source)
    if source in published():
        if buildable:
            refuse_unbuildable(next(spec for spec in hosts().values() if source in spec.weights), source)
        return fetch(published()[source], **options)
    if re.fullmatch(rf"({hub.DATASETS})?[\w-][\w.-]*/[\w.-]+/.*({'|'.join(map(re.escape, SUFFIXES))})", source):
        return hub.fetch_file(source, **options)
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
    spec, own = _recognised(state, str(path)) if kind is None else _read_as(named(kind), state)
    if spec is None:
        return _by_spandrel(own, str(path)).eval()
    try:
        host = build(spec, own, str(path)).eval()
    except ImportError as error:
        reason = ImportError(f"{error}; or build an instance and give wrap({str(path)!r}, into=instance)")
        return _by_spandrel(spec.plain(own), str(path), reason).eval()
    _say_left_out(path, state, spec.plain(own))
    return host


def load_into(host: nn.Module, path: str | Path, kind: str | None = None) -> nn.Module:
    """An instance that its owner built, with the weights of a file; its mode and device stay.

    Raises:
        ValueError: for weights that do not fit it.
    """
    state, keys = read_foreign(path), host.state_dict().keys()
    spec = named(kind) if kind else kind_of(lambda spec: keys, type(host).__name__)
    forms = [form for own in readings(state) for form in (own, *([spec.plain(own)] if spec else []))]
    nearest_form = max(forms, key=lambda form: len(form.keys() & keys) - len(form.keys() ^ keys))
    load_strict(host, nearest_form, str(path))
    _say_left_out(path, state, nearest_form)
    return host


def _recognised(state: dict[str, Tensor], source: str) -> tuple[HostSpec | None, dict[str, Tensor]]:
    """The kind of a state, and the state with the names that the kind knows."""
    for own in readings(state):
        if spec := kind_of(lambda spec: spec.plain(own), source):  # noqa: B023 - called at once
            return spec, own
    return None, state


def _read_as(spec: HostSpec, state: dict[str, Tensor]) -> tuple[HostSpec, dict[str, Tensor]]:
    return spec, max(readings(state), key=lambda own: spec.likeness(spec.plain(own)))


def _say_left_out(path: str | Path, state: Mapping[str, Tensor], used: Mapping[str, Tensor]) -> None:
    taken = {id(value) for value in used.values()}
    if left := {first(key) for key, value in state.items() if id(value) not in taken}:
        logger.info("%s: left out %s", path, some_of(sorted(left)))


def build(spec: HostSpec, state: Mapping[str, Tensor], source: str) -> nn.Module:
    """An instance of a kind with the weights of a file, strictly; draws nothing from the global generator.

    What its constructor prints, as those of the official classes do, is logged.
    """
    if spec.build is None:
        raise ValueError(_ask_for_an_instance(spec, source))
    make_importable()
    own = spec.plain(state)
    try:
        with torch.random.fork_rng(), logged(logger):
            host = spec.build(own)
    except KeyError as error:
        raise ValueError(f"{source} has weights of {spec.name}, but not all: no {error}; fetch it again") from error
    except (ImportError, ValueError):
        raise
    except Exception as error:  # sizes that no class can have, read off shapes that do not belong together
        raise ValueError(
            f"{source} has weights of {spec.name} that fit no instance ({error}); fetch it again"
        ) from error
    load_strict(host, own, source)
    return host


def builder(spec: HostSpec) -> str | None:
    """The package here that has the class of a kind, so that its files can be built; None where there is none."""
    if spec.build is None:
        return None
    return next(filter(_importable, spec.classes), None) if spec.classes else "iqp_adapter"


def _importable(name: str) -> bool:
    return bool(sys.modules[name] if name in sys.modules else find_spec(name))


def refuse_unbuildable(spec: HostSpec, source: str) -> None:
    """For a host whose class is not here, before anything is fetched.

    Raises:
        ValueError, ImportError: says how to get the class, and how to do without.
    """
    if spec.build is None:
        raise ValueError(_ask_for_an_instance(spec, source))
    if builder(spec) is None:
        ways = ", or ".join(f"{name} ({way})" for name, way in spec.classes.items())
        raise ImportError(
            f"the class of {spec.name} is in {ways}; or build an instance and give wrap({source!r}, into=instance)"
        )


def _ask_for_an_instance(spec: HostSpec, source: str) -> str:
    return (
        f"{source} has weights of {spec.name}, whose class no package has; build an instance of the official class "
        f"({spec.source}) and give wrap({source!r}, into=instance)"
    )


def _by_spandrel(state: Mapping[str, Tensor], source: str, reason: ImportError | None = None) -> nn.Module:
    try:
        import spandrel
        import spandrel_extra_arches
    except ImportError:
        raise reason or ImportError(
            f"{source} is no kind of {', '.join(sorted(hosts()))} ({_nearest(state)}); the extra 'spandrel' knows "
            f"more: pip install iqp_adapter[spandrel]"
        ) from None
    spandrel_extra_arches.install(ignore_duplicates=True)
    try:
        with torch.random.fork_rng():
            return spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(state)).model
    except Exception as error:  # whatever its many loaders meet in a state that is not theirs
        raise reason or ValueError(
            f"{source} is no kind of {', '.join(sorted(hosts()))} ({_nearest(state)}), and spandrel cannot load it "
            f"either ({type(error).__name__}); build the host yourself and give wrap({source!r}, into=instance)"
        ) from error


def _nearest(state: Mapping[str, Tensor]) -> str:
    [*_, bare] = readings(state)
    return nearest(lambda spec: spec.plain(bare))
