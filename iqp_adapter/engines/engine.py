"""The engine: a restorer that was made of another one, of which it keeps what people may ask."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from ..core.quality import ScoreScale
from ..restorer import Restorer
from .facts import Facts


class Engine(Restorer):
    """Restores as the model that it was made of, by other means.

    Args:
        facts: of that model.
        engine: name of the means: "torch", "openvino" or "onnx".
        precision: "fp32", "bf16", "fp16" or "int8".
        device: where it runs.
    """

    def __init__(self, facts: Facts, engine: str, precision: str, device: torch.device):
        self.facts, self.engine, self.precision = facts, engine, precision
        self._device = device
        self.quality = facts.quality

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def licence(self) -> str:
        return self.facts.licence

    @property
    def resolution(self) -> int | None:
        return self.facts.resolution

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def takes_quality(self) -> bool:
        return self.facts.takes_quality

    @property
    def score_scale(self) -> ScoreScale | None:
        return self.facts.score_scale

    @property
    def set_scales(self) -> Mapping[str, ScoreScale]:
        return self.facts.set_scales

    @property
    def own_fidelity(self) -> float | None:
        return self.facts.fidelity

    @property
    def conditioned_on(self) -> tuple[str, ...]:
        return self.facts.conditioned_on

    @property
    def settings(self) -> Mapping[str, Any]:
        """Engine and precision among them, so that no result of one is taken for one of another."""
        return {"engine": self.engine, "precision": self.precision, "of": self.facts.fingerprint}


def refuse_precision(engine: str, precision: str, known: Collection[str]) -> None:
    """Raises ValueError for a precision that an engine does not know."""
    if precision not in known:
        raise ValueError(f"precision is {precision!r}; {engine} has {', '.join(known)}")


def refuse_engine(restorer: Restorer) -> None:
    """Raises ValueError for a restorer that is run by an engine already: of that, no other can be made."""
    if isinstance(restorer, Engine):
        raise ValueError(
            f"{restorer.name} is run by {restorer.engine} {restorer.precision} already; give the model itself"
        )
