"""A model that no host file describes: what its owner says of it, what a dry run tells, what an adapter remembers."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..core.sites import Site
from .auto_sites import Example, at_rest
from .spec import HostSpec

logger = logging.getLogger(__name__)

Restore = Callable[..., Tensor]
"""(host, pictures (B, 3, H, W) in [0, 1]) -> restored ones in [0, 1], at the same size or an enlarged one."""


@dataclass(frozen=True)
class Sizes:
    """Which pictures a host takes.

    Args:
        resolution: side of the square pictures that it takes, in pixels; None for any size.
        multiple: what sides must be a multiple of.
    """

    resolution: int | None = None
    multiple: int = 1

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Sizes:
        """Those that an adapter was saved with, if it was; any size where they make no sense."""
        return cls(_size(data.get("resolution")), _size(data.get("multiple")) or 1)


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def described(host: nn.Module, restore: Restore, sizes: Sizes) -> HostSpec:
    """What can be said of a model: the name of its class, and what is given here."""
    return HostSpec(
        name=type(host).__name__,
        source="not known",
        licence="not known",
        has=(),
        sites=_no_sites,
        restore=restore,
        resolution=partial(_resolution, sizes.resolution),
        multiple=sizes.multiple,
    )


def _no_sites(host: nn.Module) -> Sequence[Site]:
    return ()


def _resolution(resolution: int | None, host: nn.Module) -> int | None:
    return resolution


def first_output(host: nn.Module, lq: Tensor) -> Tensor:
    """Calls a host with pictures in [0, 1] and takes its output, or the first one."""
    output = host(lq)
    return output[0] if isinstance(output, (tuple, list)) else output


def find_sizes(host: nn.Module, restore: Restore, example: Example | None) -> Sizes:
    """Runs the host on pictures a little larger than the example; it must be one picture or more (B, 3, H, W).

    Sides are a multiple of the smallest divisor of the example's that may be added to them. Where none may be, the host
    takes the example's size alone.
    """
    [lq] = example if isinstance(example, tuple) and len(example) == 1 else [example]
    if not isinstance(lq, Tensor) or lq.ndim != 4 or lq.shape[1] != 3:
        return Sizes()
    height, width = lq.shape[-2:]
    with at_rest(host), torch.random.fork_rng():
        factor = _enlargement(host, restore, lq[:1])
        common = math.gcd(height, width)
        for more in (divisor for divisor in range(1, common + 1) if common % divisor == 0):
            if factor and _enlargement(host, restore, padded(lq[:1], height + more, width + more)) == factor:
                return Sizes(multiple=more)
    return Sizes(resolution=height) if height == width else Sizes()


def _enlargement(host: nn.Module, restore: Restore, lq: Tensor) -> float | None:
    """By how much the host enlarges pictures of that size; None where it does not take them."""
    try:
        shape = restore(host, lq.clone()).shape
    except Exception as error:  # a host may raise anything at a size that it was not made for
        logger.debug("%s takes no pictures of %s: %s", type(host).__name__, tuple(lq.shape), error)
        return None
    factor = shape[-1] / lq.shape[-1]
    return factor if tuple(shape) == (1, 3, factor * lq.shape[-2], factor * lq.shape[-1]) else None


def padded(lq: Tensor, height: int, width: int) -> Tensor:
    """Pictures (B, 3, H, W) mirrored beyond their right and lower edge -> (B, 3, height, width)."""
    down, right = height - lq.shape[-2], width - lq.shape[-1]
    mirrors = down < lq.shape[-2] and right < lq.shape[-1]
    return pad(lq, (0, right, 0, down), "reflect" if mirrors else "replicate")


def restored_in_multiples(restore: Restore, host: nn.Module, lq: Tensor, multiple: int, **arguments: Any) -> Tensor:
    """Restores pictures (B, 3, H, W) of any size by a host that wants multiples: mirrored to one, and cut back."""
    height, width = lq.shape[-2:]
    larger = padded(lq, *(math.ceil(side / multiple) * multiple for side in (height, width)))
    restored = restore(host, larger, **arguments)
    factor = restored.shape[-1] / larger.shape[-1]
    return restored[..., : round(factor * height), : round(factor * width)]
