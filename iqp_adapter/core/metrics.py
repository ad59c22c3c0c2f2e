"""Names of metrics: which version a name means, what an ensemble is made of, and what counts as the same metric.

    "iqp-lite"                      -> "iqp-lite@2", the newest
    "mean( niqe,iqp-lite@1)"        -> "mean(niqe, iqp-lite@1)"
    "minmax-mean( niqe,iqp-lite@1)" -> "minmax-mean(niqe, iqp-lite@1)"

Other names stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable

LITE, COLOUR, JUDGE = "iqp-lite", "iqp-colour", "iqp-judge"

NEWEST = {LITE: 2, COLOUR: 1, JUDGE: 1}
"""The metrics of this project, and the version that a name without one means; a version is a folder of `weights`."""

_FIRST = 1
"""The version that files mean which name none: they were written when there was no other."""

MEAN, MINMAX = "mean", "minmax-mean"
"""The kinds of ensembles: the mean of qualities, and the mean of scores between the minimum and the maximum."""

GFIQA = "musiq-gfiqa"
"""The face metric of the IQPIR paper. Its weights are not public: scores by it are known, and nobody can make more."""

_ENSEMBLE = re.compile(rf"\s*({MEAN}|{MINMAX})\s*\((.*)\)\s*", re.DOTALL)
_OPEN = re.compile(rf"\s*({MEAN}|{MINMAX})\s*\(")


def canonical(metric: str) -> str:
    """The name that says all: with its version, and without needless spaces.

    Raises:
        ValueError: for an ensemble that is nested, incomplete, or has a member twice.
    """
    return _named(metric, NEWEST.__getitem__)


def as_saved(metric: str) -> str:
    """The canonical name of a metric that a file names; without a version it is the first one."""
    return _named(metric, lambda _: _FIRST)


def members(metric: str) -> tuple[str, ...]:
    """The canonical names of an ensemble's members; none for a metric that is no ensemble.

    Raises:
        ValueError: as `canonical`.
    """
    return _members(metric, NEWEST.__getitem__)


def kind(metric: str) -> str:
    """Of an ensemble, `MEAN` or `MINMAX`; empty for a metric that is none."""
    found = _OPEN.match(metric)
    return found[1] if found else ""


def family(metric: str) -> str:
    """The metric without its version: all versions are one family."""
    name = metric.partition("@")[0]
    return name if name in NEWEST else metric


def families(metric: str) -> tuple[str, ...]:
    """Of the metric, or of every member; what raises one of them is no judge by another."""
    return tuple(dict.fromkeys(map(family, members(metric) or (metric,))))


def share_a_family(metric: str, others: str) -> bool:
    """Whether two metrics, or members of them, are versions of one."""
    return not set(families(metric)).isdisjoint(families(others))


def versions(name: str) -> tuple[str, ...]:
    """The canonical names of every version of a metric of this project, the oldest first; none of other metrics."""
    return tuple(f"{name}@{version}" for version in range(_FIRST, NEWEST.get(name, 0) + 1))


def refuse_unknown_version(metric: str) -> None:
    """
    Raises:
        ValueError: for a version that a metric of this project does not have.
    """
    name = family(metric)
    if name in NEWEST and canonical(metric) not in versions(name):
        raise ValueError(f"unknown metric {metric!r}; of {name} there are {', '.join(versions(name))}")


def is_computed(metric: str) -> bool:
    """Whether pictures can be scored by it; by MUSIQ-GFIQA, or with it as a member, they cannot."""
    return GFIQA not in (metric, *members(metric))


def refuse_uncomputed(metric: str) -> None:
    """
    Raises:
        ValueError: for a metric that can only be a condition, since nobody can score a picture by it.
    """
    if not is_computed(metric):
        raise ValueError(
            f"{metric} scores no picture: the weights of MUSIQ-GFIQA are not public, so that it can only be the "
            f"condition of a model, by its published score scale; name another metric, such as {LITE}"
        )


def refuse_judges(metric: str) -> None:
    """
    Raises:
        ValueError: for a metric that only judges, so that nothing may learn from it or be conditioned on it.
    """
    if JUDGE in families(metric):
        raise ValueError(f"{metric} is there to judge what learned from others; name another metric, such as {LITE}")


def _named(metric: str, version: Callable[[str], int]) -> str:
    if parts := _members(metric, version):
        return f"{kind(metric)}({', '.join(parts)})"
    return f"{metric}@{version(metric)}" if metric in NEWEST else metric


def _members(metric: str, version: Callable[[str], int]) -> tuple[str, ...]:
    found = _ENSEMBLE.fullmatch(metric)
    if not found:
        if _OPEN.match(metric):
            raise ValueError(f"{metric!r} has no closing bracket at its end; write it like 'mean(niqe, piqe)'")
        return ()
    parts = [part.strip() for part in found[2].split(",")]
    if "(" in found[2] or ")" in found[2]:
        raise ValueError(f"{metric!r} is an ensemble in an ensemble; name all members in one, like 'mean(niqe, piqe)'")
    if len(parts) < 2 or not all(parts):
        raise ValueError(f"{metric!r} needs two or more members, like 'mean(niqe, piqe)'")
    names = tuple(_named(part, version) for part in parts)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{metric!r} has {twice} twice; name every member once")
    return names
