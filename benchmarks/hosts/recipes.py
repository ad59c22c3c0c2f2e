"""The recipes that are compared on hosts, each a small declaration: what learns, from what, and how."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from iqp_adapter.training.config import HOST, StageConfig

TARGETS = {"l1": 1.0, "perceptual": 0.3}
HELD = {**TARGETS, "from_bare": 0.0, "coarse": 0.0, "kl": 0.0}
REWARD = StageConfig(steps=2000, batch=8, rate=1e-3, ema=0.995, weights={"quality": 0.6, **HELD})
IMITATION = replace(REWARD, weights={**TARGETS, "code": 1.0})
DISTILLATION = replace(REWARD, weights={"code": 1.0}, options={"rounds": 2, "search_steps": 10, "kl_weight": 1.0})
RETRAINED = replace(REWARD, weights={"code": 0.5, "feature": 1.0}, options={"host_rate": 0.1, "smoothing": 0.0})
FURTHER = replace(IMITATION, rate=2e-4)


def holding(coarse: float, quality: float = 2.4) -> StageConfig:
    """A strong reward, which holds the coarse picture near the bare host's; by the weights of both."""
    return replace(REWARD, weights={**REWARD.weights, "quality": quality, "coarse": coarse})


@dataclass(frozen=True)
class Adapted:
    """An adapter that learns.

    Args:
        stages: of adapter training, by name.
        learns: what learns beside it, as in `AdapterConfig`.
        block: kind of its blocks; None for the one that is asked for.
        full: whether a score map has one map for each place of the features that codes stand for.
        sites: as in `AdapterConfig`; None for those that are asked for.
    """

    stages: dict[str, StageConfig]
    learns: str = "adapter"
    block: str | None = None
    full: bool = False
    sites: str | None = None

    def settings(self, pace: dict[str, int], block: str, sites: str | None, features: str | None) -> dict[str, Any]:
        """Those of `AdapterConfig`.

        Args:
            pace: steps and batch of each stage.
            block, sites: those that are asked for.
            features: path of the features that codes stand for.
        """
        stages = {name: replace(stage, **pace) for name, stage in self.stages.items()}
        sizes = {"sizes": {"full": features}} if self.full else {}
        return {**stages, "learns": self.learns, "block": self.block or block, "sites": self.sites or sites, **sizes}

    @property
    def model(self) -> str:
        """Place of the trained adapter in the folder of its run."""
        return f"{list(self.stages)[-1]}/model"

    @property
    def parts(self) -> int:
        """How many times it makes its updates."""
        return len(self.stages)


@dataclass(frozen=True)
class Further:
    """The bare host that learns further without a condition; `better` is whether from the better half of targets."""

    better: bool = False
    stage: StageConfig = field(default=FURTHER)
    model: str = "model"
    parts: int = 1


RECIPES: dict[str, Adapted | Further] = {
    "reward": Adapted({"reward": REWARD}),
    "strong": Adapted({"reward": holding(coarse=0.0)}),
    "fine": Adapted({"reward": holding(coarse=0.5)}),
    "finer": Adapted({"reward": holding(coarse=1.25)}),
    "finest": Adapted({"reward": holding(coarse=2.5)}),
    "imitation-fine": Adapted({"imitation": IMITATION, "reward": holding(coarse=0.25, quality=1.2)}),
    "imitation-finer": Adapted({"imitation": IMITATION, "reward": holding(coarse=0.25, quality=0.4)}),
    "distilled": Adapted({"distillation": DISTILLATION}, sites="codes"),
    "imitation": Adapted({"imitation": IMITATION}),
    "imitation-reward": Adapted({"imitation": IMITATION, "reward": REWARD}),
    "distilled-reward": Adapted({"distillation": DISTILLATION, "reward": replace(REWARD, rate=2e-4)}, sites="codes"),
    "retrained": Adapted({"imitation": RETRAINED}, learns=HOST, block="score_map", full=True),
    "finetuned": Further(),
    "filtered": Further(better=True),
}
"""By the name of the variant. The first ones are for every block; the last three have their own, or none."""
