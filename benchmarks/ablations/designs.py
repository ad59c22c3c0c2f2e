"""Our native model against the authors' code, IQPIR, one difference at a time, at a size that trains in minutes.

ours         the defaults: attention to tokens, quantiles, concatenated codebooks, a learned null, logits, "any"
map          the score enters as theirs: a full map for each of ten bins, added once to the encoder's features
both         attention and the map
minmax       the score scale runs from the minimum to the maximum, and not by quantiles
sum          both codebooks quantise one feature, and their entries are summed
zero         nothing stands for HQ+ below the threshold
latent       stage 3 through the encoder's features, and not through the logits
map-latent   the same for `map`, where the encoder's features know the quality
no-any       "any" is not trained
theirs       all of the above
ensemble     ours, conditioned on the mean of two metrics; without stage 3, since one of them has no gradient
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.ablations.variants import DEGRADATION, SIZE
from iqp_adapter.training.config import StageConfig, TrainConfig

OURS, FIRST = "ours", 1

STAGES = {
    "stage1": StageConfig(
        steps=240, batch=6, rate=8e-4, warmup=20, ema=0.98, weights={"l1": 2.0, "perceptual": 0.15, "commitment": 0.25}
    ),
    "stage2": StageConfig(
        steps=220,
        batch=6,
        rate=8e-4,
        warmup=20,
        ema=0.98,
        weights={"common": 0.3, "plus": 0.3, "feature": 1.0, "l1": 2.0, "perceptual": 0.15},
        options={"drop": 0.15, "pictures": 3},
    ),
    "stage3": StageConfig(steps=40, batch=4, rate=2e-4, warmup=5, ema=0.9, weights={"quality": 1.0, "kl": 0.05}),
}


@dataclass(frozen=True)
class Design:
    """What a design replaces.

    Args:
        changes: of the model.
        settings: of the run.
        drop: share of the samples that train "any".
        base: the design that it differs from in one thing.
        own: the first stage that it trains itself; it has the stages before from `base`.
        last: the last stage that it trains.
        pooled: whether all pictures are one set, so that quality counts among all of them.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    drop: float = 0.15
    base: str = OURS
    own: int = FIRST
    last: int = len(STAGES)
    pooled: bool = False


MAP = {"injection": "score_map"}
SUM = {"joining": "summed", "code_dim": 64}
"""The decoder takes as many channels as that of `ours`, which takes two entries of 32."""
ZERO = {"null": "zero"}
MINMAX = {"plus_above": 0.635}
"""The same score as quality 0.5 by quantiles: 0.57 in the London set, 0.66 in the portraits. Codebooks are the same."""
LATENT = {"optimised": "latent"}

DESIGNS = {
    OURS: Design(),
    "map": Design(MAP, own=2),
    "both": Design({"injection": "both"}, own=2),
    "minmax": Design(MINMAX, {"scale_knots": 2}, own=2),
    "sum": Design(SUM),
    "zero": Design(ZERO),
    "latent": Design(settings=LATENT, own=3),
    "map-latent": Design(MAP, LATENT, base="map", own=3),
    "no-any": Design(drop=0.0, own=2),
    "pooled": Design(pooled=True),
    "theirs": Design(MAP | SUM | ZERO | MINMAX, LATENT | {"scale_knots": 2}, drop=0.0),
    "ensemble": Design(settings={"metric": "mean(iqp-lite, piqe)"}, own=2, last=2),
}


def config_of(name: str, seed: int, longer: float = 1.0) -> TrainConfig:
    """The settings of a design, whose stages have `longer` times as many steps."""
    design, stages = DESIGNS[name], {k: replace(of, steps=round(longer * of.steps)) for k, of in STAGES.items()}
    stages["stage2"] = replace(stages["stage2"], options=stages["stage2"].options | {"drop": design.drop})
    return TrainConfig(
        preset="tiny-256",
        changes=SIZE | design.changes,
        stages=stages,
        degradation=DEGRADATION,
        precision="fp32",
        seed=seed,
        **design.settings,
    )
