"""The score of the NTIRE challenges on real-world face restoration, and their identity gate.

    score = CLIPIQA + MANIQA + MUSIQ / 100 + max(0, (10 - NIQE) / 10) + QALIGN / 5 + max(0, (100 - FID) / 100)

Every metric is averaged over each test set, the means are weighted by the sizes of the sets, and FID is taken once over
all outputs. The gate is not part of the score: an entry is invalid where more than ten faces are less like their input
than the threshold of their test set. Test sets are known by their names (`SIZES`). The years differ only in the
thresholds. 2026 has two sets of them: of its evaluation code (`ntire2026`) and of its README (`ntire2026-readme`).

Sources: eval.py and README of zhengchen1999/NTIRE2025_RealWorld_Face_Restoration and of
jkwang28/NTIRE2026_RealWorld_Face_Restoration (both MIT); arXiv 2504.14600 and 2604.10532.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

ALLOWED = 10
"""Faces that may be below the threshold."""

SIZES = {"CelebA": 100, "LFW-Test": 100, "CelebChild-Test": 50, "WebPhoto-Test": 100, "Wider-Test": 100}
"""Pictures of the official test sets, by which the evaluation code weights whatever it is given."""

GATE = "identity/adaface-ir50@ntire"
FID = "fid/vqfr"

_STRICT = {"CelebA": 0.5, "LFW-Test": 0.6, "CelebChild-Test": 0.6}
THRESHOLDS = {
    "ntire2025": _STRICT | {"Wider-Test": 0.3, "WebPhoto-Test": 0.3},
    "ntire2026": _STRICT | {"Wider-Test": 0.2, "WebPhoto-Test": 0.25},
    "ntire2026-readme": _STRICT | {"Wider-Test": 0.3, "WebPhoto-Test": 0.3},
}
"""The lowest valid likeness to the input, by variant of the score and test set."""


class Term(NamedTuple):
    """One summand: its protocol, and how it follows from the protocol's mean."""

    protocol: str
    of: Callable[[float], float]


TERMS = {
    "CLIPIQA": Term("clipiqa/rn50@native", lambda mean: mean),
    "MANIQA": Term("maniqa/koniq@native", lambda mean: mean),
    "MUSIQ": Term("musiq/koniq@native", lambda mean: mean / 100),
    "NIQE": Term("niqe/basicsr@native", lambda mean: max(0.0, (10 - mean) / 10)),
    "QALIGN": Term("qalign/one-align@native", lambda mean: mean / 5),
    "FID": Term(FID, lambda distance: max(0.0, (100 - distance) / 100)),
}

PROTOCOLS = [*(term.protocol for term in TERMS.values()), GATE]
"""The protocols of the score and its gate."""


def score(
    variant: str,
    values: Mapping[str, Sequence[float | None]],
    set_values: Mapping[str, float],
    datasets: Sequence[str],
) -> dict[str, Any]:
    """The score of one method, with its terms, those that were not run, and the gate.

    Where terms are missing, the score is the sum of the others, and `complete` is False.

    Args:
        variant: a key of `THRESHOLDS`.
        values: protocol -> one value per picture.
        set_values: protocol -> value over all pictures.
        datasets: the test set of each picture.

    Raises:
        ValueError: for an unknown variant.
    """
    if variant not in THRESHOLDS:
        raise ValueError(f"unknown score {variant!r}; there are {', '.join(THRESHOLDS)}")
    means = {protocol: aggregate(row, datasets) for protocol, row in values.items()} | dict(set_values)
    terms = {name: term.of(mean) for name, term in TERMS.items() if (mean := means.get(term.protocol)) is not None}
    missing = [name for name in TERMS if name not in terms]
    return {
        "score": sum(terms.values()) if terms else None,
        "terms": terms,
        "not run": missing,
        "complete": not missing,
        "N": len(datasets),
        "gate": gate(THRESHOLDS[variant], values.get(GATE), datasets),
    }


def aggregate(values: Sequence[float | None], datasets: Sequence[str]) -> float | None:
    """Mean of each test set, weighted by its size; None where a picture has no value.

    The sizes are the official ones where all five official sets are there, and only they, else those that are found.
    """
    if not values or any(value is None for value in values):
        return None
    numbers, places = np.array(values, float), np.array(datasets)
    means = {name: numbers[places == name].mean() for name in dict.fromkeys(datasets)}
    sizes = SIZES if means.keys() == SIZES.keys() else {name: int((places == name).sum()) for name in means}
    return float(sum(means[name] * sizes[name] for name in means) / sum(sizes.values()))


def gate(
    thresholds: Mapping[str, float], likeness: Sequence[float | None] | None, datasets: Sequence[str]
) -> dict[str, Any]:
    """How many faces are below the threshold of their set, and whether so many are allowed; else why it was not run."""
    strange = sorted(set(datasets) - thresholds.keys())
    if strange:
        return {"not run": f"no threshold for the test set {', '.join(strange)}"}
    if likeness is None or any(value is None for value in likeness):
        return {"not run": f"{GATE} was not run on every picture"}
    below = [name for name, value in zip(datasets, likeness, strict=True) if value < thresholds[name]]  # type: ignore
    counts = {name: below.count(name) for name in dict.fromkeys(datasets)}
    return {"valid": len(below) <= ALLOWED, "below": len(below), "allowed": ALLOWED, "below by set": counts}
