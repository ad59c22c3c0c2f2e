"""How the entries of two codebooks make one token, and which feature each of them quantises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .presets import IQPFRConfig


class Joining(Protocol):
    """Z is the width of a token, D that of an entry."""

    def split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (..., Z) -> what the common and what the HQ+ codebook quantises, (..., D) each."""

    def join(self, common: Tensor, plus: Tensor) -> Tensor:
        """An entry of each codebook (..., D) -> token (..., Z)."""


class Concatenated:
    """Side by side: each codebook has half of the features, and the decoder can tell them apart."""

    def split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        common, plus = features.chunk(2, dim=-1)
        return common, plus

    def join(self, common: Tensor, plus: Tensor) -> Tensor:
        return torch.cat([common, plus], dim=-1)


@dataclass(frozen=True)
class Summed:
    """One feature, quantised by both codebooks, whose entries are added.

    Source: IQPIR (https://github.com/fengyang1399-pixel/IQPIR). Differs: entries have one length, as everywhere here.
    """

    plus_weight: float

    def split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return features, features

    def join(self, common: Tensor, plus: Tensor) -> Tensor:
        return common + self.plus_weight * plus


def joining_of(config: IQPFRConfig) -> Joining:
    return Summed(config.plus_weight) if config.joining == "summed" else Concatenated()
