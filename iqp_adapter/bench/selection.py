"""Which protocols a benchmark runs: those that are named, and beside a metric that is raised, some that are not."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from . import ntire
from .protocols import PROTOCOLS, Protocol, find

COMPANIONS = ("niqe/basicsr@native", "perceptual/efficientnet-lite2@native", "identity/dlib")
BLIND_COMPANIONS = ("niqe/basicsr@native", "identity/dlib@input")
"""What is judged beside a metric that a candidate raises, with originals and without."""

DEFAULTS = ("iqp-lite", "niqe", "piqe", "psnr", "ssim", "perceptual/efficientnet-lite2", "identity")
BLIND_DEFAULTS = ("iqp-lite", "niqe", "piqe", "identity@input")
"""What is run where nothing is named: no download, with originals and without."""


def chosen(metrics: Sequence[str], scores: Sequence[str], raised: Collection[str], originals: bool) -> list[Protocol]:
    """The protocols that are named, and where one of them is raised by a candidate, companions that nobody raises.

    Args:
        metrics: ids or short names; where neither metrics nor scores are given, what needs no download.
        scores: named scores, whose metrics are taken too.
        raised: metrics that some candidate is conditioned on.
        originals: whether test pictures have originals.

    Raises:
        ValueError: for a name that is not known.
    """
    if strange := set(scores) - ntire.THRESHOLDS.keys():
        raise ValueError(f"unknown score {min(strange)!r}; there are {', '.join(ntire.THRESHOLDS)}")
    usual = DEFAULTS if originals else BLIND_DEFAULTS
    names = [*metrics, *(ntire.PROTOCOLS if scores else [])] or usual
    found = {protocol.id: protocol for protocol in map(find, names)}
    if any(protocol.metric in raised for protocol in found.values()):
        companions = (PROTOCOLS[name] for name in (COMPANIONS if originals else BLIND_COMPANIONS))
        found |= {protocol.id: protocol for protocol in companions if protocol.metric not in raised}
    return list(found.values())
