"""How near an engine comes to torch: on a seeded picture, at three qualities."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..core.quality import BEST
from ..restorer import Restorer
from .graph import NotExportableError

LEVELS = (round(1 - BEST, 4), 0.5, BEST)
"""Qualities at which both are asked."""

FAR = 1e-3
"""Mean difference of pictures, in [0, 1], above which an exact program is refused."""


def self_check(restorer: Restorer, engine: Restorer) -> dict[str, Any]:
    """What differs between a restorer and an engine that was made of it.

    Returns:
        By quality: the greatest and the mean difference of two pictures in [0, 1], and the share of equal codes, None
        for a restorer that does not tell its codes.
    """
    pictures = seeded_pictures(engine.resolution or 0)
    levels = LEVELS if restorer.takes_quality else (None,)
    return {str(level): _compared(restorer, engine, pictures, level) for level in levels}


def _compared(restorer: Restorer, engine: Restorer, pictures: Tensor, level: float | None) -> dict[str, float | None]:
    (ours, codes), (theirs, others) = (
        one.restore_with_codes(pictures.to(one.device), quality=level) for one in (restorer, engine)
    )
    difference = (ours.cpu() - theirs.cpu()).abs()
    equal = [(own.cpu() == other.cpu()).double().mean() for own, other in zip(codes, others, strict=False)]
    return {
        "max difference": float(difference.max()),
        "mean difference": float(difference.mean()),
        "equal codes": float(torch.stack(equal).mean()) if equal else None,
    }


def seeded_pictures(side: int, count: int = 2) -> Tensor:
    """Pictures (count, 3, side, side) in [0, 1] with structure at every size, of seed 0."""
    generator = torch.Generator().manual_seed(0)
    layers = [
        interpolate(torch.rand(count, 3, size, size, generator=generator), (side, side), mode="bicubic")
        for size in (2, 4, 8, 16, 32, 64)
    ]
    return torch.stack(layers).mean(0).clamp(0, 1)


def refuse_far(name: str, check: dict[str, Any], far: float = FAR) -> None:
    """Raises NotExportableError where the mean difference at some quality is above `far`, or no number."""
    differences = [each["mean difference"] for each in check.values()]
    if not all(math.isfinite(each) and each <= far for each in differences):
        raise NotExportableError(
            f"the exported {name} differs from torch by {max(differences):.3g} on average, where {far:g} is "
            f"allowed, so nothing was written; run it by the engine torch"
        )
