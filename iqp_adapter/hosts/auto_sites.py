"""Places of injection in a model that no host file describes, found by watching it run."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.sites import Layout, Site

logger = logging.getLogger(__name__)

Example = Tensor | tuple[Tensor, ...]
"""An input of a host, or a tuple of its positional arguments, each with one row per picture."""

MOST = 8
"""Sites that are chosen at most: about as many as the Transformers of face restorers have blocks."""

_NARROWEST = 8
"""Fewer channels than that are a picture or a map of weights, no features."""


class _Axes(NamedTuple):
    """A layout's number of axes, and which of them are pictures, channels, and what grows with the pictures' width."""

    layout: Layout
    ndim: int
    rows: int
    channels: int
    width: int


_LAYOUTS = (
    _Axes("BLC", 3, rows=0, channels=2, width=1),
    _Axes("LBC", 3, rows=1, channels=2, width=0),
    _Axes("BCHW", 4, rows=0, channels=1, width=3),
    _Axes("BHWC", 4, rows=0, channels=3, width=2),
)

_ATTENTION = ("attn", "attention", "msa")
"""Parts of names by which an attention is told."""

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)

_Shape = tuple[int, ...]


@dataclass
class _Output:
    """One output of a module: its shape, that of what the module took, and whether the host wrote into it later."""

    shape: _Shape
    given: _Shape | None
    overwritten: bool = False


_Run = dict[str, list[_Output]]
"""What the modules put out in one call, by their paths, in the order in which they finished."""


@dataclass
class _Watch:
    """Notes what passes the hooks of a host in one call; of tensors it keeps the last one alone."""

    run: _Run = field(default_factory=dict)
    last: list[tuple[_Output, Tensor, int]] = field(default_factory=list)

    def note(self, path: str, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        first, taken = _first(output), _first(_first(arguments))
        if not isinstance(first, Tensor) or not first.is_floating_point():
            return
        self.settle()
        if self.last and self.last[0][1] is not first:
            self.last.clear()
        noted = _Output(tuple(first.shape), tuple(taken.shape) if isinstance(taken, Tensor) else None)
        self.run.setdefault(path, []).append(noted)
        self.last.append((noted, first, first._version))

    def settle(self) -> None:
        """Looks whether the last tensor has been written into since it was noted."""
        for noted, tensor, version in self.last:
            noted.overwritten |= tensor._version != version


@dataclass(frozen=True)
class _Seen:
    """What a module did in the dry runs.

    Args:
        path, module: the module.
        order: how many had finished before it.
        shape: of what it puts out for one picture; () where that differs within one call.
        site: its output as a place of injection; None where it has not a row of features per picture.
        keeps_shape: whether it puts out what it takes in, as residual blocks do.
        overwritten: whether the host writes into its output, as activations in place do.
    """

    path: str
    module: nn.Module
    order: int
    shape: tuple[int, ...]
    site: Site | None
    keeps_shape: bool
    overwritten: bool

    @property
    def positions(self) -> int:
        """How many a picture has in it."""
        return math.prod(self.shape) // self.site.dim if self.site else 0

    @property
    def is_layer(self) -> bool:
        return next(self.module.children(), None) is None

    @property
    def is_block(self) -> bool:
        return self.keeps_shape and not self.is_layer and not isinstance(self.module, _CONTAINERS)

    @property
    def attends(self) -> bool:
        """Whether an attention is in it, by the names of modules and of their classes."""
        names = (f"{path} {type(module).__name__}".lower() for path, module in self.module.named_modules())
        return any(word in name for name in names for word in _ATTENTION)


def find_sites(host: nn.Module, example: Example | None) -> list[Site]:
    """Chooses at most `MOST` places of injection by running the host on an example, without changing it.

    Repeated blocks with an attention, else other repeated blocks, else modules that put out the deepest features, else
    single layers that do: the outermost, from the stage with the fewest positions on, evenly spread. Each has been seen
    to change the host's output when a little noise was added, and all to leave it bit-exact when zeros were.

    Args:
        host: any model. It runs in eval mode without gradients; its training flags and the global generators stay as
            they are.
        example: its input, or a tuple of its positional arguments; the first row of each is used.

    Raises:
        ValueError: without an example, for one that the host does not take, and where no place is found.
    """
    if example is None:
        raise ValueError("sites='auto' watches the host run, so it needs an input of it; give example=...")
    given = example if isinstance(example, tuple) else (example,)
    with at_rest(host):
        seen = _look(host, given)
        for kind, places in _kinds([place for place in seen if place.site]):
            chosen = [place.site for place in _spread(places) if place.site]
            if sites := _heard(host, _pictures(given, 1), chosen):
                _log(host, kind, sites)
                return sites
    raise ValueError(_nothing_found(host, seen))


def _kinds(seen: Sequence[_Seen]) -> Iterator[tuple[str, list[_Seen]]]:
    """Places by what they are, the best kind first."""
    blocks = [place for place in seen if place.is_block]
    kept = [place for place in seen if not place.overwritten]
    yield "repeated attention blocks", _outermost(_repeated([place for place in blocks if place.attends]))
    yield "repeated blocks", _outermost(_repeated(blocks))
    yield "feature maps", _outermost(_deepest([place for place in kept if not place.is_layer]))
    yield "layers", _deepest([place for place in kept if place.is_layer])


def _repeated(places: Sequence[_Seen]) -> list[_Seen]:
    """Those of whose class there are several."""
    count = Counter(type(place.module) for place in places)
    return [place for place in places if count[type(place.module)] > 1]


def _outermost(places: Sequence[_Seen]) -> list[_Seen]:
    """Those that are in no other."""
    insides = tuple(f"{place.path}." for place in places)
    return [place for place in places if not place.path.startswith(insides)]


def _deepest(places: Sequence[_Seen]) -> list[_Seen]:
    """Those with the fewest positions."""
    fewest = min((place.positions for place in places), default=0)
    return [place for place in places if place.positions == fewest]


def _spread(places: Sequence[_Seen]) -> list[_Seen]:
    """At most `MOST`, in the host's order: stages with few positions first, evenly from each."""
    stages: dict[int, list[_Seen]] = {}
    for place in places:
        stages.setdefault(place.positions, []).append(place)
    chosen: list[_Seen] = []
    for _, stage in sorted(stages.items()):
        count = min(len(stage), MOST - len(chosen))
        chosen += [stage[(index + 1) * len(stage) // count - 1] for index in range(count)]
    return sorted(chosen, key=lambda place: place.order)


def _look(host: nn.Module, example: tuple[Tensor, ...]) -> list[_Seen]:
    """What the modules do with one picture, with two, and with a wider one where the host takes such."""
    one, two = (_watched_run(host, _pictures(example, count)) for count in (1, 2))
    try:
        wide = _run(host, _wider(_pictures(example, 1)))
    except Exception as error:  # a host may raise anything at a size that it was not made for
        logger.debug("%s takes no wider pictures: %s", type(host).__name__, error)
        wide = {}
    modules = dict(host.named_modules())
    return [
        _seen(path, modules[path], order, one[path], two.get(path, []), wide.get(path, []))
        for order, path in enumerate(one)
    ]


def _watched_run(host: nn.Module, pictures: tuple[Tensor, ...]) -> _Run:
    """`_run`, with what the host says of its input in one line."""
    try:
        return _run(host, pictures)
    except Exception as error:
        shapes = " and ".join(str(tuple(x.shape)) for x in pictures)
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(f"{type(host).__name__} does not run on {shapes}: {reason}; give another example") from error


def _run(host: nn.Module, pictures: tuple[Tensor, ...]) -> _Run:
    """What every module puts out in one call of the host."""
    watch = _Watch()
    modules = [(path, module) for path, module in host.named_modules() if path]
    with ExitStack() as stack:
        for path, module in modules:
            stack.callback(module.register_forward_hook(partial(watch.note, path)).remove)
        _call(host, pictures)
    watch.settle()
    return watch.run


def _seen(
    path: str, module: nn.Module, order: int, one: list[_Output], two: list[_Output], wide: list[_Output]
) -> _Seen:
    return _Seen(
        path,
        module,
        order,
        shape=_shape(one),
        site=_site(path, module, _shape(one), _shape(two), _shape(wide)),
        keeps_shape=all(output.given == output.shape for output in one),
        overwritten=any(output.overwritten for output in one),
    )


def _first(values: Any) -> Any:
    """The first of a tuple, which is where a site is; what is no tuple is itself."""
    return values[0] if isinstance(values, tuple) and values else values


def _shape(outputs: Sequence[_Output]) -> tuple[int, ...]:
    """The shape that a module always gave, () where it gave several or none."""
    shapes = {output.shape for output in outputs}
    return shapes.pop() if len(shapes) == 1 else ()


def _site(path: str, module: nn.Module, one: _Shape, two: _Shape, wide: _Shape) -> Site | None:
    """A module's output as a place of injection, told from its shapes for one picture, two and a wider one."""
    rows, grows = _changed(one, two), _changed(one, wide)
    if len(rows) != 1 or (one[rows[0]], two[rows[0]]) != (1, 2):
        return None  # no row per picture: windows or heads lie along its axis
    for axes in _LAYOUTS:
        if (axes.ndim, axes.rows) != (len(one), rows[0]):
            continue
        dim = one[axes.channels]
        fits = grows == [axes.width] if grows else _is_usual(module, one, axes.channels)
        if fits and _NARROWEST <= dim < math.prod(one):
            return Site(path, dim, axes.layout)
    return None


def _changed(before: _Shape, after: _Shape) -> list[int]:
    """Axes of which the sizes differ; none where the shapes are no pair."""
    if len(before) != len(after):
        return []
    return [axis for axis in range(len(before)) if before[axis] != after[axis]]


def _is_usual(module: nn.Module, shape: _Shape, axis: int) -> bool:
    """Whether the module's parameters have this axis' size more often than that of any other, or as often."""
    mentions = {size: sum(size in x.shape for x in module.parameters()) for size in shape if size > 1}
    return mentions.get(shape[axis], 0) == max(mentions.values(), default=0) > 0


def _heard(host: nn.Module, pictures: tuple[Tensor, ...], sites: Sequence[Site]) -> list[Site]:
    """Those of which noise at each changes the host's answer, while zeros at all of them leave it as it is."""
    bare = _call(host, pictures)
    loud = [site for site in sites if not _same(_nudged(host, pictures, [site], 0.1), bare)]
    if _same(_nudged(host, pictures, loud, 0.0), bare):
        return loud
    kept: list[Site] = []
    for site in loud:
        if _same(_nudged(host, pictures, [*kept, site], 0.0), bare):
            kept.append(site)
    return kept


def _nudged(host: nn.Module, pictures: tuple[Tensor, ...], sites: Sequence[Site], strength: float) -> list[Tensor]:
    """The host's answer when noise of so many standard deviations is added at the sites."""
    with ExitStack() as stack:
        for site in sites:
            hook = partial(_nudge, site, strength)
            stack.callback(host.get_submodule(site.path).register_forward_hook(hook).remove)
        return _call(host, pictures)


def _nudge(site: Site, strength: float, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
    tokens = site.tokens(_first(output))
    noise = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(0)).to(tokens)
    changed = _first(output) + site.untokens(strength * (tokens.std() + 1e-3) * noise, _first(output))
    return (changed, *output[1:]) if isinstance(output, tuple) else changed


def _call(host: nn.Module, pictures: tuple[Tensor, ...]) -> list[Tensor]:
    """Every tensor of the host's answer; the global generators go on from where they were."""
    device = pictures[0].device
    sources: list[Any] = [torch] if device.type == "cpu" else [torch, torch.get_device_module(device)]
    states = [source.get_rng_state() for source in sources]
    try:
        return list(_tensors(host(*(x.clone() for x in pictures))))  # some hosts overwrite what they are given
    finally:
        for source, state in zip(sources, states, strict=True):
            source.set_rng_state(state)


def _tensors(output: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists and dictionaries."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from _tensors(list(output.values()))
    elif isinstance(output, (tuple, list)):
        for item in output:
            yield from _tensors(item)


def _same(answer: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return len(answer) == len(other) and all(map(torch.equal, answer, other))


def _pictures(example: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
    """The first row of every argument, so many times."""
    return tuple(torch.cat([x[:1]] * count) for x in example)


def _wider(pictures: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Maps (B, C, H, W) -> (B, C, H, 2 * W); others stay."""
    return tuple(torch.cat([x, x], -1) if x.ndim == 4 else x for x in pictures)


@contextmanager
def at_rest(host: nn.Module) -> Iterator[None]:
    """Within it, the host is in eval mode and nothing records gradients; what it keeps in buffers is given back."""
    training = {module: module.training for module in host.modules()}
    places = [(module, name, buffer) for module in training for name, buffer in module._buffers.items()]
    kept = [(module, name, buffer, buffer.clone()) for module, name, buffer in places if buffer is not None]
    try:
        host.eval()
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        for module, mode in training.items():
            module.training = mode
        for module, name, buffer, value in kept:
            module._buffers[name] = buffer
            if not torch.equal(buffer, value):
                buffer.data.copy_(value)


def _log(host: nn.Module, kind: str, sites: Sequence[Site]) -> None:
    logger.info("%s: chose %d sites among its %s", type(host).__name__, len(sites), kind)
    for site in sites:
        logger.info("site %s: %s, %d channels", site.path, site.layout, site.dim)


def _nothing_found(host: nn.Module, seen: Sequence[_Seen]) -> str:
    features = [place for place in seen if place.site]
    last = ", ".join(f"{place.path} {place.shape}" for place in (features or seen)[-3:]) or "none"
    return (
        f"found no sites in {type(host).__name__}: {len(seen)} modules ran, {len(features)} of them put out a row of "
        f"features per picture, and of none was a change seen in the output (last: {last}); name some by "
        f"sites=[Site(path, dim, layout)]"
    )
