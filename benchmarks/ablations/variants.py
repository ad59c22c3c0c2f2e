"""The ablations of the native model as data: what each of them replaces, at a size that trains in minutes.

dual           two codebooks, the second for the better pictures alone, and a condition
single         one codebook of as many entries, for every picture
unreserved     two codebooks, both for every picture
unconditioned  no condition
filtered       no condition, and only the better half of the targets
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from iqp_adapter.training.config import StageConfig, TrainConfig


class Variant(str, Enum):
    __str__ = str.__str__  # the value, as of `StrEnum`, which needs Python 3.11

    DUAL = "dual"
    SINGLE = "single"
    UNRESERVED = "unreserved"
    UNCONDITIONED = "unconditioned"
    FILTERED = "filtered"


BOOKS: dict[Variant, dict[str, Any]] = {
    Variant.DUAL: {"common_codes": 512, "plus_codes": 256},
    Variant.SINGLE: {"common_codes": 767, "plus_codes": 1, "plus_above": 1.0},
    Variant.UNRESERVED: {"common_codes": 512, "plus_codes": 256, "plus_above": -1.0},
}
"""768 entries each. No picture has a quality above 1, so that the one HQ+ code of the single codebook is never used."""

UNCONDITIONED = (Variant.UNCONDITIONED, Variant.FILTERED)
"""They start from the codebooks of `dual`."""

SIZE: dict[str, Any] = {
    "resolution": 128,
    "widths": (64, 160),
    "dim": 160,
    "heads": 5,
    "layers": 3,
}
"""Of the preset "tiny", with its 16 x 16 tokens at half the side."""

DEGRADATION: dict[str, Any] = {"kernel_size": 21, "blur_sigma": [0.1, 5.0], "downsample": [1.0, 8.0]}
"""Of the inputs: what is usual at twice the size, since at this size the usual one leaves little to restore."""

CODEBOOKS = StageConfig(
    steps=360, batch=8, rate=8e-4, warmup=30, ema=0.99, weights={"l1": 2.0, "perceptual": 0.15, "commitment": 0.25}
)
PREDICTION = StageConfig(
    steps=260,
    batch=8,
    rate=8e-4,
    warmup=30,
    ema=0.98,
    weights={"common": 0.3, "plus": 0.3, "feature": 1.0, "l1": 2.0, "perceptual": 0.15},
    options={"drop": 0.15, "pictures": 4},
)


def books_of(variant: Variant) -> Variant:
    """The variant whose codebooks this one has."""
    return Variant.DUAL if variant in UNCONDITIONED else variant


def config_of(variant: Variant, seed: int) -> TrainConfig:
    changes = SIZE | BOOKS[books_of(variant)] | {"condition": variant not in UNCONDITIONED}
    return TrainConfig(
        preset="tiny-256",
        changes=changes,
        stages={"stage1": CODEBOOKS, "stage2": PREDICTION},
        degradation=DEGRADATION,
        precision="fp32",
        seed=seed,
    )
