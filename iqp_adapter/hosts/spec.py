"""What must be known of a restorer to wrap it: a few facts and small functions. The files in adapters/ fill it in."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..core.own_dial import OwnDial
from ..core.sites import Site
from ..core.tracing import Weight
from ..store.fetch import WeightFile
from .keys import LORA, first, is_aside

Host = Any
"""A restorer: an `nn.Module` of a class that is not known here, whose parts are reached by name."""


@dataclass(frozen=True)
class CodeAccess:
    """Where a host decides its codes; what sampling, optimisation and fine-tuning of them ask for.

    Args:
        logits: the module whose output is the code logits, with K as `dim`.
        entry: the module whose first argument is the map of looked-up codes; other codes are put in there.
        features: the module whose output (B, D, h, w) the codes stand for.
        codebook: the host's code vectors (K, D).
        adain: whether a call with these arguments shifts the looked-up map to the features' mean and deviation; None
            where no call does.
    """

    logits: Site
    entry: Site
    features: str
    codebook: Callable[[nn.Module], Tensor]
    adain: Callable[[Mapping[str, Any]], bool] | None = None


@dataclass(frozen=True)
class HostSpec:
    """A kind of restorer. Its functions have names of their own (no lambdas), so that wrapped models can be pickled.

    Args:
        name: what people call it; also the name of its host file.
        source: its repository.
        licence: of its code.
        has: starts of state-dict keys that every instance has.
        any_of: starts of state-dict keys of which every instance has one or more; without them nothing is asked for.
        parts: starts of all state-dict keys that an instance may have: whatever has others is another kind. Without
            them, any others are allowed.
        lacks: starts of state-dict keys that no instance has, where another kind has all of `has` too.
        sites: the places of injection, read off an instance's modules; where codes are decided, those behind them if
            `code_sites` has the others.
        code_sites: the places from which an adapter steers the codes, for `wrap(sites="codes")`; None where `sites` are
            these, or nothing decides codes.
        restore: (host, lq, **arguments) -> restored, both (B, 3, R, R) RGB in [0, 1]; calls the host its own way. It
            takes the host's weight between detail (0) and likeness (1), if there is one, as `fidelity`.
        fidelity: the weight between detail and likeness of a call of `restore` that names none; None for a host, or an
            instance, that has no such weight.
        resolution: side R of the square pictures that an instance takes, in pixels; None for any size.
        multiple: what the sides of pictures must be a multiple of, where any size will do.
        build: makes an instance of the sizes of a state dict; None where no package has the class.
        classes: packages that have the class which `build` makes, any of them -> how to get it; empty where it needs
            none.
        prefix: that keys have in some weight files.
        surplus: keys that some weight files have beyond the instance's.
        codes: where an instance decides its codes; None where it has none, or more than one codebook.
        decide: (host, lq, **arguments) -> code logits and what decodes other codes, as `restorer.Decision` has them;
            for an instance that knows how to be asked. Arguments as for `restore`.
        traceable: within it an instance makes the same pictures by operators that can be exported; None where it always
            does.
        any_layout: whether an instance also runs with the weights of its convolutions in the layout channels-last,
            within `traceable` where that is given.
        dial: the dial that an instance has itself; None where it takes no score.
        swallowed: names of arguments that an instance takes and ignores -> what they do there, or what to use instead;
            None where it takes none in vain.
        weights: published weight files by the name that `wrap` and `iqp fetch` take.
    """

    name: str
    source: str
    licence: str
    has: tuple[str, ...]
    sites: Callable[[nn.Module], Sequence[Site]]
    restore: Callable[..., Tensor]
    resolution: Callable[[nn.Module], int | None]
    code_sites: Callable[[nn.Module], Sequence[Site]] | None = None
    fidelity: Callable[[nn.Module], float | None] | None = None
    any_of: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    multiple: int = 1
    lacks: tuple[str, ...] = ()
    build: Callable[[Mapping[str, Tensor]], nn.Module] | None = None
    classes: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    surplus: tuple[str, ...] = ()
    codes: Callable[[nn.Module], CodeAccess | None] | None = None
    decide: Callable[..., tuple[Any, Any]] | None = None
    traceable: Callable[[nn.Module], AbstractContextManager[None]] | None = None
    any_layout: bool = False
    dial: Callable[[nn.Module], OwnDial | None] | None = None
    swallowed: Callable[[nn.Module], Mapping[str, str]] | None = None
    weights: Mapping[str, WeightFile] = field(default_factory=dict)

    def sites_before_codes(self, host: nn.Module) -> Sequence[Site]:
        """The places from which an adapter steers the codes.

        Raises:
            ValueError: where there are none.
        """
        places = self.code_sites or self.sites
        found = places(host) if self.codes is not None or self.decide is not None else []
        if not found:
            raise ValueError(f"this {self.name} decides no codes that an adapter could steer; leave sites out")
        return found

    def plain(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state of a weight file with the keys of an instance, without what training keeps beside it."""
        own = {key.removeprefix(self.prefix): value for key, value in state.items() if not is_aside(key)}
        return {key: value for key, value in own.items() if key not in self.surplus}

    def recognises(self, keys: Collection[str]) -> bool:
        marked = not self.any_of or any(_starts(keys, start) for start in self.any_of)
        lacking = not any(_starts(keys, start) for start in self.lacks)
        return self.likeness(keys) == 1 and not self.foreign(keys) and marked and lacking

    def likeness(self, keys: Collection[str]) -> float:
        """Share of `has` that is there, in [0, 1]; what an error calls the nearest kind."""
        keys = [key.replace(LORA, ".") for key in keys]
        return sum(_starts(keys, start) for start in self.has) / len(self.has)

    def foreign(self, keys: Collection[str]) -> list[str]:
        """First names of keys that no instance has."""
        others = (key for key in keys if self.parts and not key.startswith(self.parts) and not is_aside(key))
        return sorted({first(key) for key in others})


def _starts(keys: Collection[str], start: str) -> bool:
    return any(key.startswith(start) for key in keys)


def symmetric(host: Callable[..., Any], lq: Tensor, **arguments: Any) -> Any:
    """Calls a host that works in [-1, 1], as most do, on pictures in [0, 1]; its own returns."""
    return host(2 * lq - 1, **arguments)


def weight_of(fidelity: float | Tensor) -> Any:
    """A fidelity as hosts take it, who compare and multiply it: a number, or one for each picture (B,)."""
    return Weight(fidelity.reshape(-1, 1, 1, 1)) if isinstance(fidelity, Tensor) else fidelity  # (B,) -> (B, 1, 1, 1)


def takes(host: nn.Module, name: str) -> bool:
    """Whether the host's call has an argument of this name."""
    return name in inspect.signature(getattr(host, "_orig_mod", host).forward).parameters


def takes_any_name(host: nn.Module) -> bool:
    """Whether the host's call also takes names that it does not know, and drops what they give."""
    arguments = inspect.signature(getattr(host, "_orig_mod", host).forward).parameters.values()
    return any(argument.kind is argument.VAR_KEYWORD for argument in arguments)


def width_of(block: nn.Module) -> int:
    """Channels that come out of a block: those of its last convolution."""
    [*_, last] = (module for module in block.modules() if isinstance(module, nn.Conv2d))
    return int(last.out_channels)


def to_unit(image: Tensor) -> Tensor:
    """A picture in [-1, 1] -> in [0, 1]."""
    return image / 2 + 0.5


@torch.no_grad()
def fingerprint(state: Mapping[str, Tensor], samples: int = 64) -> dict[str, str]:
    """Tells two hosts apart by their state dicts: a hash of keys and shapes, and one of strided values of every tensor,
    as fp16."""
    tensors = sorted(state.items())
    shapes = hashlib.sha256("\n".join(f"{key} {tuple(value.shape)}" for key, value in tensors).encode())
    values = hashlib.sha256()
    for _, value in tensors:
        flat = value.detach().reshape(-1)
        values.update(flat[:: max(1, len(flat) // samples)][:samples].to("cpu", torch.float16).numpy().tobytes())
    return {"shapes": shapes.hexdigest(), "values": values.hexdigest()}
