"""Saved adapters: written with all that is needed to load them, and compared with the host before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from ..core.adapter import ATTENTION, KINDS, Adapter
from ..core.quality import SET_SCALES
from ..core.sites import Layout
from ..scoring.scales import read_scale, read_set_scales, say_stale
from ..store import checkpoint, hub
from ..store.hub import HubOptions
from ..store.publishing import facts_of
from ..store.reading import Fields
from ..version import __version__
from .card import OURS
from .spec import HostSpec, fingerprint

KIND, RETRAINED = "adapter", "retrained"
"""Kinds of checkpoints: an adapter for a host as it is, and one with parameters of its host that were retrained."""

_PREFIX = "retrained."
"""Start of the keys of tensors that were retrained."""

_WIDEST = 1 << 20
"""The greatest size in a config, by far; what the weights do not have is never built."""


def host_entry(host: nn.Module, spec: HostSpec, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a saved adapter tells of its host.

    Args:
        state: the state dict that the host had when it was wrapped.
    """
    sizes = {} if spec.has else {"resolution": spec.resolution(host), "multiple": spec.multiple}
    return {"name": spec.name, "source": spec.source, "licence": spec.licence, **fingerprint(state), **sizes}


def save_adapter(
    save_directory: str | Path,
    adapter: Adapter,
    host: Mapping[str, Any],
    dtype: torch.dtype | None,
    facts: Mapping[str, Any],
) -> None:
    """Writes config.json and model.safetensors; the host's weights are told by their fingerprint, not stored.

    What was retrained is stored as float16, unless a dtype is given.

    Args:
        host: its entry, by `host_entry`.
        facts: by the names of `store.publishing.Facts`.

    Raises:
        ValueError: for numbers that the dtype does not have.
    """
    config = {
        "kind": RETRAINED if adapter.retrained else KIND,
        "version": __version__,
        "host": dict(host),
        "adapter": adapter.to_config(),
        **({"retrained": adapter.retrained.parts()} if adapter.retrained else {}),
        **adapter.facts,
        **facts,
    }
    usual = {key: torch.float16 if key.startswith(_PREFIX) else None for key in adapter.state_dict()}
    state = {key: _as(key, value, dtype or usual[key]) for key, value in adapter.state_dict().items()}
    checkpoint.save(save_directory, state, config)


def _as(key: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    cast = value.to(dtype or value.dtype)
    if bool(value.isfinite().all()) and not bool(cast.isfinite().all()):
        raise ValueError(
            f"{key} reaches {float(value.abs().max()):.3g}, which {cast.dtype} does not have; pass dtype=torch.float32"
        )
    return cast


class SavedAdapter(NamedTuple):
    """An adapter as it was read, before it is known whether it fits a host."""

    name: str
    config: dict[str, Any]
    state: dict[str, Tensor]

    @property
    def host(self) -> dict[str, Any]:
        """What it says of the host that it was trained for: its name and, of one that no host file describes, the sizes
        of pictures that it takes. Empty where it says nothing, which `fitted` refuses."""
        host = self.config.get("host")
        return host if isinstance(host, dict) else {}

    def fitted(self, host: nn.Module, spec: HostSpec, allow_other_weights: bool = False) -> Adapter:
        """The adapter for a host.

        Raises:
            ValueError: where it was trained for another host, other sites or other weights, or is no adapter at all.
        """
        name, config, state = self
        if config.get("kind") not in (KIND, RETRAINED):
            raise ValueError(f"{name} holds no adapter but a model of its own; load it by iqp_adapter.load")
        _refuse_unknown(name, config)
        _compare(name, config, host, spec, allow_other_weights)
        weights = {key: value.float() for key, value in state.items()}
        names = _retrained_names(name, config, state)
        adapter = checkpoint.load_built(lambda: _built(config["adapter"], names, host), weights, source=name)
        for scale in config["adapter"]["score_scales"]:
            say_stale(name, scale["metric"])
        adapter.facts = facts_of(config, OURS)
        return adapter


def read_adapter(name: str | Path, **options: Unpack[HubOptions]) -> SavedAdapter:
    """Reads an adapter from a folder or the Hugging Face Hub.

    Raises:
        ValueError: for a name that is neither, and a damaged checkpoint.
        OSError: where it is not on this machine and cannot be fetched.
    """
    return SavedAdapter(str(name), *checkpoint.load(hub.resolve(name, **options)))


def _retrained_names(name: str, config: dict[str, Any], state: Mapping[str, Tensor]) -> list[str]:
    """Of the host's parameters that come with the adapter.

    Raises:
        ValueError: where the kind of the checkpoint and its tensors contradict each other.
    """
    names = [key.removeprefix(_PREFIX) for key in state if key.startswith(_PREFIX)]
    if bool(names) != (config["kind"] == RETRAINED):
        raise ValueError(
            f"{name} is of kind {config['kind']!r} and holds {len(names)} tensors of its host; save it again"
        )
    return names


def _built(config: dict[str, Any], names: Sequence[str], host: nn.Module) -> Adapter:
    adapter, own = Adapter.from_config(config), dict(host.named_parameters())
    adapter.retrain({name: own[name].float() for name in sorted(names, key=list(own).index)})
    return adapter


def _refuse_unknown(name: str, config: dict[str, Any]) -> None:
    """Every entry that the adapter is built of is understood."""
    fields = Fields(config, "its config")
    try:
        for entry in ("name", "shapes", "values"):
            fields.inside("host").text(entry)
        _check_adapter(fields.inside("adapter"))
    except ValueError as error:
        raise ValueError(
            f"{name} was saved by iqp_adapter {config.get('version', 'of another version')} and is not understood by "
            f"{__version__} ({error}); install the former"
        ) from None
    if not config["adapter"]["sites"]:
        raise ValueError(f"{name} is empty: it has no sites; train one by wrap(host), and save that")


def _check_adapter(adapter: Fields) -> None:
    kind = KINDS[adapter.text("block", KINDS, default=ATTENTION)]
    adapter.only(("sites", "score_scales", "block", *kind.sizes, SET_SCALES))
    for site in adapter.each("sites", (0, 10_000)):
        site.only(("path", "dim", "layout", "on", "optional"))
        site.text("path"), site.whole("dim", 1, _WIDEST), site.text("layout", get_args(Layout))
        site.text("on", ("output", "input"), default="output"), site.truth("optional", default=False)
    scales = [read_scale(scale) for scale in adapter.each("score_scales", (0, 100))]
    read_set_scales(adapter, [scale.metric for scale in scales])
    for size, usual in kind.sizes.items():
        _check_size(adapter, size, usual)


def _check_size(fields: Fields, name: str, usual: Any) -> None:
    """A size of a block is of the type of its default."""
    if isinstance(usual, Mapping):
        for entry in fields.inside(name).data:
            fields.inside(name).whole(entry, 1, _WIDEST)
    elif isinstance(usual, int):
        fields.whole(name, 1, _WIDEST)
    elif isinstance(usual, float):
        fields.number(name)
    else:
        fields.text(name)


def _compare(name: str, config: dict[str, Any], host: nn.Module, spec: HostSpec, allow_other_weights: bool) -> None:
    trained, sites = config["host"], config["adapter"]["sites"]
    if trained["name"] != spec.name:
        raise ValueError(
            f"{name} was trained for {trained['name']} ({len(sites)} sites of dim {sites[0]['dim']}), the host is "
            f"{spec.name}; load it onto a {trained['name']}, or train one for {spec.name}"
        )
    found = fingerprint(host.state_dict())
    if trained["shapes"] != found["shapes"]:
        raise ValueError(
            f"{name} was trained for a {spec.name} of other sizes (sites of dim {sites[0]['dim']}); build the host "
            f"with the sizes of its weight file, or train an adapter for this one"
        )
    if trained["values"] != found["values"] and not allow_other_weights:
        raise ValueError(
            f"{name} was trained for other weights of {spec.name}; load those into the host, or pass "
            f"allow_other_weights=True and judge the result"
        )
