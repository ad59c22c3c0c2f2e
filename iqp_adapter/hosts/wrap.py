"""`wrap`: an existing restorer, in whatever form its owner has it, becomes one with a dial for quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core.adapter import ATTENTION, Adapter, kind_of_block
from ..core.quality import ScoreScale
from ..core.sites import Site
from .auto_sites import Example, at_rest, find_sites
from .hooks import check_sites, is_wrapped, tapped
from .loading import load_host
from .registry import named, recognise
from .saved import load_adapter
from .spec import HostSpec
from .wrapped import WrappedHost


def wrap(
    host: Any,
    *,
    adapter: str | Path | None = None,
    kind: str | None = None,
    sites: Sequence[Site] | Literal["auto"] | None = None,
    example: Example | None = None,
    restore: Callable[..., Tensor] | None = None,
    scales: Sequence[ScoreScale] = (),
    allow_other_weights: bool = False,
    block: str = ATTENTION,
    **sizes: Any,
) -> WrappedHost:
    """Gives an existing restorer a dial for quality; not a line of its code, not a number of its weights changes.

    Until an adapter is trained or loaded, the wrapped model answers exactly as the host does.

    Args:
        host: a module; a spandrel descriptor, whose `.model` is wrapped; a weight file (.safetensors, .pth, .ckpt); a
            known name ("codeformer"), which is downloaded once; or "owner/name/file" on the Hugging Face Hub.
        adapter: folder or Hub id of a trained adapter. The default quality is "best" then, else None (bare host).
        kind: name of the host's kind; by default it is told from the keys of its state dict.
        sites: places of injection, for a model that no host file describes; "auto" finds them by a dry run.
        example: an input of the host, or a tuple of its positional arguments, for dry runs.
        restore: (host, lq) -> restored in [0, 1], for `model.restore` of such a model; by default it is called with
            pictures in [0, 1], and its output, or the first one, is taken.
        scales: score scales of the metrics an adapter is to be trained with.
        allow_other_weights: loads an adapter although it was trained on other weights of the same shapes.
        block: what a new adapter puts at each site: "attention" or "score_map".
        sizes: of a new adapter: `token_dim`, `tokens`, `inner` of attention; `rows` of score maps, and `full`, the path
            of one site that gets a map of its full grid.

    Raises:
        ValueError: for a host that is wrapped already or of no known kind, an adapter that does not fit, and sites,
            blocks or sizes that are not there.
        TypeError: for something else than a host.
    """
    module = host if isinstance(host, nn.Module) else load_host(host, kind)
    bare = getattr(module, "_orig_mod", module)
    if is_wrapped(bare):
        raise ValueError(f"this {type(bare).__name__} is wrapped already; use its wrapper, or unwrap() it first")
    spec = _spec(bare, kind, sites, restore)
    if adapter is not None:
        trained = load_adapter(adapter, bare, spec, allow_other_weights)
        wrapped = WrappedHost(module, spec, trained).eval()
        wrapped.quality = "best"
        return wrapped
    places = find_sites(bare, example) if sites == "auto" else sites if sites is not None else spec.sites(bare)
    return WrappedHost(module, spec, _fresh(bare, spec, check_sites(bare, places), scales, example, block, sizes))


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


def _spec(host: nn.Module, kind: str | None, sites: Any, restore: Callable[..., Tensor] | None) -> HostSpec:
    if kind is not None:
        return named(kind)
    return recognise(host) if sites is None else _unknown(host, restore or _first_output)


def _unknown(host: nn.Module, restore: Callable[..., Tensor]) -> HostSpec:
    """What can be said of a model that no host file describes."""
    return HostSpec(
        name=type(host).__name__,
        source="not known",
        licence="not known",
        has=(),
        sites=_no_sites,
        restore=restore,
        resolution=_any_size,
    )


def _no_sites(host: nn.Module) -> Sequence[Site]:
    return ()


def _any_size(host: nn.Module) -> None:
    return None


def _first_output(host: nn.Module, lq: Tensor) -> Tensor:
    output = host(lq)
    return output[0] if isinstance(output, (tuple, list)) else output
