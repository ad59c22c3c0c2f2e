"""Several metrics as one, which averages what each of them makes of a picture.

"mean(niqe, piqe)" takes the quality by the score scale of each, and "minmax-mean(niqe, piqe)" the place of the score
between the scale's minimum and maximum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..core.metrics import MINMAX, canonical, kind
from ..core.quality import ScoreScale
from .metric import Metric
from .scales import digest_of, published_of, stored_scales


class Member(Protocol):
    """A metric of its own, with a device of its own; a `Scorer` is one."""

    metric: str
    protocol: str
    lower_better: bool
    tiled: bool
    differentiable: bool
    smallest: int

    def __call__(self, images: Tensor) -> Tensor: ...

    def to(self, device: torch.device | str) -> Any: ...


class Mean(nn.Module):
    """The mean quality by some metrics: 0 (as bad as the worst that their scales have seen) to 100 (the best).

    A scale of two knots makes the score's place between minimum and maximum of it.

    A member that leaves its scale stays at its end, and its gradient is zero there: no score beyond the best that was
    seen is rewarded. The gradient is finite everywhere.

    Args:
        members: the metrics.
        scales: the score scale of each.
    """

    def __init__(self, members: Sequence[Member], scales: Sequence[ScoreScale]) -> None:
        super().__init__()
        self.members, self.scales = tuple(members), tuple(scales)

    def forward(self, images: Tensor) -> Tensor:
        """RGB images (B, 3, H, W) in [0, 1] -> scores (B,)."""
        parts = [scale.quality(member(images)) for member, scale in zip(self.members, self.scales, strict=True)]
        return 100 * torch.stack(parts).mean(0)  # (members, B) -> (B,)

    def to(self, device: torch.device | str) -> Mean:  # type: ignore[override]
        """Every member goes there, or where it has to."""
        for member in self.members:
            member.to(device)
        return self


def build(metric: str, members: Sequence[Member], given: Mapping[str, ScoreScale]) -> Metric:
    """An ensemble as a metric.

    Args:
        metric: its canonical name; of a "minmax-mean" every scale counts by its ends alone.
        members: in the order of the name.
        given: scales by the names of members, in place of those that the library stores.

    Raises:
        ValueError: for a member without a scale, and for scales of something else.
    """
    scales = _scales(metric, members, {canonical(name): scale for name, scale in given.items()})
    stored = [stored_scales().get(member.metric) for member in members]
    usual = scales == stored
    if kind(metric) == MINMAX:
        scales = [scale.ends() for scale in scales]
    return Metric(
        metric,
        Mean(members, scales),
        lower_better=False,
        protocol=f"{kind(metric)}({', '.join(member.protocol for member in members)})/{digest_of(*scales)}",
        tiled=all(member.tiled for member in members),
        differentiable=all(member.differentiable for member in members),
        smallest=max(member.smallest for member in members),
        member_scales=() if usual else tuple(scales),
    )


def _scales(metric: str, members: Sequence[Member], given: Mapping[str, ScoreScale]) -> list[ScoreScale]:
    names = [member.metric for member in members]
    if strange := [name for name in given if name not in names]:
        raise ValueError(f"there is a scale for {strange[0]}, which is no member; members are {', '.join(names)}")
    known = {**stored_scales(), **given}
    for name in names:
        if name not in known:
            raise ValueError(_missing(name, metric))
    for member in members:
        _check(member, known[member.metric])
    return [known[name] for name in names]


def _missing(name: str, metric: str) -> str:
    published = next((f'named_scale("{scale}")' for scale in published_of(name)), "ScoreScale(...)")
    return (
        f"{name} has no stored score scale (stored: {', '.join(stored_scales()) or 'none'}); pass one: "
        f'Scorer("{metric}", scales={{"{name}": {published}}}), or --scales FILE.json'
    )


def _check(member: Member, scale: ScoreScale) -> None:
    wanted, found = (f"{one.metric}, {'lower' if one.lower_better else 'higher'} is better" for one in (member, scale))
    if found != wanted:
        raise ValueError(f"the scale for {member.metric} is of another metric ({found}); give one of {wanted}")
