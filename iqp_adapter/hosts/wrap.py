"""`wrap`: an existing restorer, in whatever form its owner has it, becomes one with a dial for quality."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from ..core.adapter import ATTENTION, KINDS, Adapter, kind_of_block
from ..core.device import placed
from ..core.quality import ScoreScale
from ..core.sites import Site
from ..store.hub import HubOptions
from ..store.keywords import of_kind, passes_on
from .auto_sites import Example, at_rest, find_sites
from .hooks import check_sites, tapped
from .loading import load_host
from .registry import named, recognise
from .spec import HostSpec
from .unknown import Restore, described, find_sizes, first_output
from .wrapped import WrappedHost, check_host

AUTO, CODES = "auto", "codes"
"""Words for sites: those that a dry run finds, and those from which an adapter steers the codes."""


class WrapOptions(HubOptions, total=False):
    """What `wrap` takes beside its own arguments: options of the Hub, and sizes of a new adapter.

    Attributes:
        token_dim, tokens, inner: of attention, see `core.attention`.
        rows: of score maps.
        full: path of one site that gets a score map of its full grid.
    """

    token_dim: int
    tokens: int
    inner: int
    rows: int
    full: str


def block_sizes() -> list[str]:
    """Names of the sizes of every kind of block, of other people's kinds as well."""
    return [name for kind in KINDS.values() for name in kind.sizes]


@passes_on(WrapOptions, more=block_sizes)
def wrap(
    host: Any,
    *,
    adapter: str | Path | None = None,
    kind: str | None = None,
    into: nn.Module | None = None,
    sites: Sequence[Site] | Literal["auto", "codes"] | None = None,
    example: Example | None = None,
    restore: Restore | None = None,
    scales: Sequence[ScoreScale] = (),
    allow_other_weights: bool = False,
    block: str = ATTENTION,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **options: Unpack[WrapOptions],
) -> WrappedHost:
    """Gives an existing restorer a dial for quality; not a line of its code, not a number of its weights changes.

    Until an adapter is trained or loaded, the wrapped model answers exactly as the host does. An adapter that was
    trained together with its host has parameters that stand in for the host's; `unwrap` gives it its own back.

    Args:
        host: a module; a spandrel descriptor, whose `.model` is wrapped; a weight file (.safetensors, .pth, .ckpt); a
            known name ("codeformer"), which is downloaded once; or "owner/name/file" on the Hugging Face Hub.
        adapter: folder or Hub id of a trained adapter. The default quality is "best" then, else None (bare host).
        kind: name of the host's kind; by default it is told from the keys of its state dict.
        into: an instance of the host's class, which takes the weights of the file that `host` names, strictly; for
            hosts whose class is not here.
        sites: places of injection, for a model that no host file describes; "auto" finds them by a dry run. "codes" are
            those of a known kind from which an adapter steers which codes are decided; by default it acts behind them.
        example: an input of the host, or a tuple of its positional arguments, for dry runs.
        restore: (host, lq) -> restored in [0, 1], for `model.restore` of such a model; by default it is called with
            pictures in [0, 1], and its output, or the first one, is taken. Dry runs on the example tell whether it
            takes that size alone, or sides that are a multiple of a number; pictures of other sizes are then resized,
            or mirrored at their edges and cut back. A saved adapter remembers that, and its sites.
        scales: score scales of the metrics an adapter is to be trained with.
        allow_other_weights: loads an adapter although it was trained on other weights of the same shapes.
        block: what a new adapter puts at each site: "attention", "score_map", or "both".
        device, dtype: where host and adapter are to be, and of which numbers; by default they stay as they are. A host
            that is given as a module is moved itself, as by its `to`.
        options: of the Hub, see `store.hub.HubOptions`, and sizes of a new adapter, see `WrapOptions`. The revision is
            the adapter's where that is on the Hub, else the host's.

    Raises:
        ValueError: for a host that is wrapped already or of no known kind, an adapter that does not fit, and sites,
            blocks or sizes that are not there.
        TypeError: for something else than a host, and an unknown argument.
        OSError: where something is not on this machine and cannot be fetched.
    """
    hub_options: Any = of_kind(HubOptions, options)
    sizes = {name: value for name, value in options.items() if name not in hub_options}
    if adapter is not None:
        _refuse_new(adapter, {"scales": tuple(scales), "block": block != ATTENTION, **sizes})
        given: dict[str, Any] = {"kind": kind, "into": into, "restore": restore, "device": device, "dtype": dtype}
        return WrappedHost.from_pretrained(
            adapter, host, allow_other_weights=allow_other_weights, **given, **hub_options
        )
    module = load_host(host, kind, into, **hub_options)
    bare = getattr(module, "_orig_mod", module)
    check_host(bare)
    spec = _spec(bare, kind, sites, restore, example)
    places = _places(bare, spec, sites, example)
    fresh = _fresh(bare, spec, check_sites(bare, places), scales, example, block, sizes)
    return placed(WrappedHost(module, spec, fresh), device, dtype)


def _refuse_new(adapter: str | Path, asked: dict[str, Any]) -> None:
    """What a trained adapter has already cannot be asked for."""
    if more := [name for name, value in asked.items() if value]:
        raise ValueError(f"{adapter} is trained and has its own {', '.join(more)}; leave that out, or train a new one")


def _fresh(
    host: nn.Module,
    spec: HostSpec,
    sites: Sequence[Site],
    scales: Sequence[ScoreScale],
    example: Example | None,
    block: str,
    sizes: dict[str, Any],
) -> Adapter:
    """An adapter that has learned nothing, with sizes that may depend on the host."""
    kind = kind_of_block(block, sizes)
    return Adapter(sites, scales, block, **kind.settled(sizes, partial(positions, host, spec, sites, example)))


def positions(host: nn.Module, spec: HostSpec, sites: Sequence[Site], example: Example | None, path: str) -> int:
    """The length L of the site of a path in a dry run, on the example or on a grey picture of the host's own size.

    Raises:
        ValueError: where there is no such site, and nothing to run the host on.
    """
    site = next((site for site in sites if site.path == path), None)
    side = spec.resolution(host)
    if site is None or (example is None and side is None):
        known = ", ".join(site.path for site in sites)
        raise ValueError(f"{path!r} has no grid: it must be one of {known}, and a host of any size needs example=...")
    lengths: list[int] = []
    like = next(host.parameters())

    def measure(site: Site, x: Tensor) -> None:
        lengths.append(site.tokens(x).shape[1])

    with tapped(host, site, measure), at_rest(host), torch.random.fork_rng():
        if example is not None:
            host(*(example if isinstance(example, tuple) else (example,)))
        elif side is not None:
            spec.restore(host, torch.full((1, 3, side, side), 0.5).to(like))
    return lengths[0]


def _places(host: nn.Module, spec: HostSpec, sites: Any, example: Example | None) -> Sequence[Site]:
    if sites is None:
        return spec.sites(host)
    if sites == AUTO:
        return find_sites(host, example)
    if sites == CODES:
        return spec.sites_before_codes(host)
    if isinstance(sites, str):
        raise ValueError(f"sites is {sites!r}; give a list of sites, {AUTO!r} or {CODES!r}")
    return sites


def _spec(host: nn.Module, kind: str | None, sites: Any, restore: Restore | None, example: Example | None) -> HostSpec:
    """The named kind; where places of a model of no known kind are given, what is known then; else the kind that
    recognises the host."""
    if kind is not None:
        return named(kind)
    if sites is None or sites == CODES:
        return recognise(host)
    restore = restore or first_output
    return described(host, restore, find_sizes(host, restore, example))
