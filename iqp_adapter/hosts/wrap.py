"""`wrap`: an existing restorer, in whatever form its owner has it, becomes one with a dial for quality."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core.adapter import ATTENTION, Adapter, kind_of_block
from ..core.quality import ScoreScale
from ..core.sites import Site
from .auto_sites import Example, at_rest, find_sites
from .forms import check_form
from .hooks import check_sites, is_wrapped, tapped
from .loading import load_host
from .registry import is_known, named, recognise
from .saved import load_adapter, trained_host
from .spec import HostSpec
from .unknown import Restore, Sizes, described, find_sizes, first_output
from .wrapped import WrappedHost


def wrap(
    host: Any,
    *,
    adapter: str | Path | None = None,
    kind: str | None = None,
    into: nn.Module | None = None,
    sites: Sequence[Site] | Literal["auto"] | None = None,
    example: Example | None = None,
    restore: Restore | None = None,
    scales: Sequence[ScoreScale] = (),
    allow_other_weights: bool = False,
    block: str = ATTENTION,
    **sizes: Any,
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
        sites: places of injection, for a model that no host file describes; "auto" finds them by a dry run.
        example: an input of the host, or a tuple of its positional arguments, for dry runs.
        restore: (host, lq) -> restored in [0, 1], for `model.restore` of such a model; by default it is called with
            pictures in [0, 1], and its output, or the first one, is taken. Dry runs on the example tell whether it
            takes that size alone, or sides that are a multiple of a number; pictures of other sizes are then resized,
            or mirrored at their edges and cut back. A saved adapter remembers that, and its sites.
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
    module = host if isinstance(host, nn.Module) and into is None else load_host(host, kind, into)
    bare = getattr(module, "_orig_mod", module)
    _check(bare)
    spec = _spec(bare, kind, sites, restore, adapter, example)
    if adapter is not None:
        trained = load_adapter(adapter, bare, spec, allow_other_weights)
        wrapped = WrappedHost(module, spec, trained).eval()
        wrapped.quality = "best"
        return wrapped
    places = find_sites(bare, example) if sites == "auto" else sites if sites is not None else spec.sites(bare)
    return WrappedHost(module, spec, _fresh(bare, spec, check_sites(bare, places), scales, example, block, sizes))


def _check(host: nn.Module) -> None:
    """Refuses what is wrapped already, and forms that cannot be."""
    wrapper = next((path for path, module in host.named_modules() if isinstance(module, WrappedHost)), None)
    if wrapper is not None or is_wrapped(host):
        where = f"the .{wrapper} of this" if wrapper else "this"
        raise ValueError(f"{where} {type(host).__name__} is wrapped already; use its wrapper, or unwrap() it first")
    check_form(host)


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


def _spec(
    host: nn.Module,
    kind: str | None,
    sites: Any,
    restore: Restore | None,
    adapter: str | Path | None,
    example: Example | None,
) -> HostSpec:
    """The named kind; where sites are given, or those of an adapter that was trained so, what is known then; else the
    kind that recognises the host."""
    if kind is not None:
        return named(kind)
    restore = restore or first_output
    trained = trained_host(adapter) if adapter is not None else {}
    if is_known(trained.get("name")) or (not trained and sites is None):
        return recognise(host)
    return described(host, restore, Sizes.from_dict(trained) if trained else find_sizes(host, restore, example))
