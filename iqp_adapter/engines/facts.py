"""What people may ask of a restorer besides pictures, frozen when an engine is made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..core.numbers import check_number
from ..core.quality import BEST, WORDS, ScoreScale, set_scales_entry
from ..restorer import Restorer
from ..scoring.scales import read_scale, read_set_scales
from ..store.reading import Fields


@dataclass(frozen=True)
class Facts:
    """What an engine knows of the restorer that it was made of, by the names of `Restorer`.

    Attributes:
        resolution: side of the square faces, in pixels; None for any size.
        scale: strength of the guidance where a call names none.
        guided: whether it takes another one.
        fingerprint: of the restorer.
    """

    name: str
    licence: str
    resolution: int | None
    takes_quality: bool
    guided: bool
    quality: float | str | None
    scale: float
    fidelity: float | None
    conditioned_on: tuple[str, ...]
    score_scale: ScoreScale | None
    fingerprint: str
    set_scales: Mapping[str, ScoreScale] = field(default_factory=dict)

    @classmethod
    def of(cls, restorer: Restorer) -> Facts:
        """Those of a restorer.

        Raises:
            ValueError: for a quality or scale of its own that is no single number.
        """
        scale = getattr(restorer, "scale", 1.0)
        return cls(
            name=restorer.name,
            licence=restorer.licence,
            resolution=restorer.resolution,
            takes_quality=restorer.takes_quality,
            guided=restorer.takes_quality and _is_guided(restorer),
            quality=_single(restorer.quality),
            scale=float(check_number("model.scale", scale)),
            fidelity=restorer.own_fidelity,
            conditioned_on=tuple(restorer.conditioned_on),
            score_scale=restorer.score_scale,
            fingerprint=restorer.fingerprint(BEST if restorer.takes_quality else None),
            set_scales=dict(restorer.set_scales),
        )

    def of_side(self, side: int | None) -> Facts:
        """The same for pictures of one size: the restorer's, or of one that takes any the one that is given.

        Raises:
            ValueError: for a side that is missing, or another one than the restorer has.
        """
        if self.resolution is None and side is None:
            raise ValueError(f"{self.name} takes pictures of any size; say for which side in pixels, such as size=512")
        if self.resolution is not None and side not in (None, self.resolution):
            raise ValueError(f"size is {side}, but {self.name} takes pictures of {self.resolution} px; leave it out")
        return replace(self, resolution=self.resolution or side)

    def to_config(self) -> dict[str, Any]:
        """As JSON can hold it."""
        plain = ("name", "licence", "resolution", "takes_quality", "guided", "quality", "scale", "fidelity")
        return {
            **{entry: getattr(self, entry) for entry in plain},
            "conditioned_on": list(self.conditioned_on),
            "score_scale": self.score_scale and self.score_scale.to_dict(),
            "fingerprint": self.fingerprint,
            **set_scales_entry(self.set_scales),
        }

    @classmethod
    def from_config(cls, fields: Fields) -> Facts:
        """What `to_config` gave.

        Raises:
            ValueError: for an entry that is missing, or of another type or range.
        """
        scale = read_scale(fields.inside("score_scale")) if fields.data.get("score_scale") is not None else None
        has_fidelity = fields.data.get("fidelity") is not None
        return cls(
            name=fields.text("name"),
            licence=fields.text("licence"),
            resolution=fields.whole("resolution", 1, 1 << 14),
            takes_quality=fields.truth("takes_quality"),
            guided=fields.truth("guided"),
            quality=_read_quality(fields),
            scale=fields.number("scale", -1e6, 1e6),
            fidelity=fields.number("fidelity", 0, 1) if has_fidelity else None,
            conditioned_on=fields.texts("conditioned_on", (0, 100)),
            score_scale=scale,
            fingerprint=fields.text("fingerprint"),
            set_scales=read_set_scales(fields, [scale.metric] if scale else []),
        )


def _is_guided(restorer: Restorer) -> bool:
    """Whether the strength of its guidance can be changed; those that cannot refuse it."""
    try:
        restorer.check({"scale": 0.5})
    except ValueError:
        return False
    return True


def _single(quality: Any) -> float | str | None:
    """A model's own quality, as JSON can hold it."""
    if isinstance(quality, Tensor) and quality.numel() == 1:
        quality = float(quality)
        return "any" if math.isnan(quality) else quality
    if isinstance(quality, Tensor):
        raise ValueError(f"model.quality has shape {tuple(quality.shape)}; set a single number or a word, then export")
    return quality


def _read_quality(fields: Fields) -> float | str | None:
    value = fields.data.get("quality")
    if value is None:
        return None
    return fields.text("quality", WORDS) if isinstance(value, str) else fields.number("quality", 0, 1)


def rows_of(values: float | Tensor, batch: int) -> Tensor:
    """A number, or one for each picture (B,) -> (B,)."""
    return torch.as_tensor(values, dtype=torch.float32, device="cpu").detach().reshape(-1).expand(batch)
