"""A metric as a scorer holds it, whoever made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from ..core.quality import ScoreScale


@dataclass(frozen=True)
class Metric:
    """A network that scores pictures, and what a scorer must know of it.

    Attributes:
        name: the canonical name.
        network: pictures (B, 3, H, W) in [0, 1] -> scores, one for each.
        lower_better: whether a lower score means a better picture.
        protocol: metric, version and weights in one word.
        tiled: whether it takes large pictures in tiles.
        differentiable: whether scores have a gradient to the pictures.
        smallest: side in pixels below which it fails.
        float64: whether it computes in float64, which MPS has not.
        scales: its score scales by the set of pictures that each was fitted on.
        default_scale: the one of them that is used where none is named; None where one has to be named.
        member_scales: of an ensemble, the scales of its members, where they are not those that the library stores.
        earlier: protocols of its earlier versions, whose scores are not comparable.
    """

    name: str
    network: nn.Module
    lower_better: bool
    protocol: str
    tiled: bool = False
    differentiable: bool = True
    smallest: int = 32
    float64: bool = False
    scales: Mapping[str, ScoreScale] = field(default_factory=dict)
    default_scale: str | None = None
    member_scales: tuple[ScoreScale, ...] = ()
    earlier: tuple[str, ...] = ()
