"""What can be chosen on the page: the models and adapters that are on this machine. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core.device import device_of
from ..engines.choice import AUTO
from ..engines.exported import is_exported
from ..hosts.loading import SUFFIXES, builder
from ..hosts.registry import hosts
from ..hosts.saved import KIND, RETRAINED
from ..loader import load
from ..native.pretrained import BUILT_IN
from ..photo.measures import embedder_of, scorers_of
from ..photo.options import Embedder
from ..restorer import Restorer
from ..scoring.scorer import Scorer
from ..store import hub
from ..store.checkpoint import CONFIG, WEIGHTS
from ..store.fetch import find
from ..store.reading import json_file
from ..training.state import PREVIOUS, STATE

NO_ADAPTER = "none"
"""The name of no adapter."""

MODELS = ("model", "iqpir")
"""Entries of the config of a model of this library; other checkpoints have none of them."""


@dataclass(frozen=True)
class Shelf:
    """Models and adapters by the names that people read.

    Attributes:
        models: what `iqp_adapter.load` takes, or a restorer that is loaded already.
        adapters: folders and Hub ids.
        device: where the models run; by default the best there is.
    """

    models: dict[str, Any] = field(default_factory=dict)
    adapters: dict[str, str] = field(default_factory=dict)
    device: str | None = None

    def take(self, model: str, adapter: str = NO_ADAPTER) -> Loaded:
        """A model, with an adapter, and what measures its faces; the last ones are kept for the next visitor.

        Raises:
            ValueError: for a name that is not on the shelf, and an adapter that does not fit.
            OSError, ImportError: as `iqp_adapter.load`.
        """
        _refuse_unknown("model", model, self.models)
        if adapter != NO_ADAPTER:
            _refuse_unknown("adapter", adapter, self.adapters)
        return _loaded(self.models[model], self.adapters.get(adapter), self.device)


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model that is ready to restore, and what measures the faces that it restores."""

    network: Restorer
    scorers: list[Scorer]
    embedder: Embedder | None
    takes_adapter: bool


def on_disk(folder: str | Path | None = None, device: str | None = None) -> Shelf:
    """What ships with the library, what `iqp fetch` has brought, and what lies in a folder and its subfolders.

    Raises:
        NotADirectoryError: where there is no such folder.
    """
    shelf = Shelf({name: name for name in [*hub.builtin(BUILT_IN), *_fetched()]}, device=device)
    if folder is not None:
        _add(shelf, Path(folder))
    return shelf


def _fetched() -> Iterator[str]:
    """Published names whose file is here, and whose class is."""
    for spec in hosts().values():
        yield from (name for name, file in spec.weights.items() if builder(spec) and find(file))


def _add(shelf: Shelf, folder: Path) -> None:
    if not folder.is_dir():
        raise NotADirectoryError(f"no folder {folder} to look for models in; name one that is there")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and _is_adapter(path):
            shelf.adapters[name] = str(path)
        elif _is_model(path):
            shelf.models[name] = str(path)


def _is_model(path: Path) -> bool:
    if path.is_dir():
        return is_exported(path) or any(entry in _config(path) for entry in MODELS)
    return path.suffix in SUFFIXES and path.name not in (WEIGHTS, STATE, PREVIOUS)


def _is_adapter(folder: Path) -> bool:
    return _config(folder).get("kind") in (KIND, RETRAINED)


def _config(folder: Path) -> Mapping[str, Any]:
    """What a checkpoint says of itself; nothing where there is none that can be read."""
    if not (folder / CONFIG).is_file():
        return {}
    try:
        return json_file(folder / CONFIG)
    except (OSError, ValueError):  # a file of that name that is someone else's
        return {}


def _refuse_unknown(what: str, name: str, known: Mapping[str, Any]) -> None:
    if name not in known:
        raise ValueError(f"no {what} {name!r} on this page; there are: {', '.join(known) or 'none'}")


@lru_cache(maxsize=2)
def _loaded(source: Any, adapter: str | None, device: str | None) -> Loaded:
    place = str(device_of(device))
    is_ready = isinstance(source, Restorer)
    if is_ready and adapter is not None:  # other visitors use it as it is
        raise ValueError(f"{source.name} was loaded as it is, and takes no adapter here")
    network = source if is_ready else load(source, adapter=adapter, device=place, engine=AUTO)
    scorers = scorers_of(network, place, driving=True, judge=True)
    takes_adapter = network.takes_adapter and not is_ready
    return Loaded(network, scorers, embedder_of(wanted=True, needed=False), takes_adapter)
