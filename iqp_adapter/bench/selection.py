"""Which protocols a benchmark runs: the named ones, and for a metric that a candidate raises, companions."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from . import ntire
from .protocols import PROTOCOLS, Protocol, find

COMPANIONS = ("niqe/basicsr@native", "perceptual/efficientnet-lite2@native", "identity/dlib")
BLIND_COMPANIONS = ("niqe/basicsr@native", "identity/dlib@input")
"""Run beside a metric that a candidate raises: with originals, and without."""

DEFAULTS = ("iqp-lite", "niqe", "piqe", "psnr", "ssim", "perceptual/efficientnet-lite2", "identity")
BLIND_DEFAULTS = ("iqp-lite", "niqe", "piqe", "identity@input")
"""Run where nothing is named, all without downloads: with originals, and without."""


def select(metrics: Sequence[str], scores: Sequence[str], raised: Collection[str], originals: bool) -> list[Protocol]:
    """The named protocols, and where a candidate raises one of them, companions that no candidate raises.

    Args:
        metrics: ids or short names; without metrics and scores the defaults, which need no download.
        scores: named scores, whose metrics are added.
        raised: metrics that a candidate is conditioned on.
        originals: whether test pictures have originals.

    Raises:
        ValueError: for an unknown name.
    """
    if strange := set(scores) - ntire.THRESHOLDS.keys():
        raise ValueError(f"unknown score {min(strange)!r}; there are {', '.join(ntire.THRESHOLDS)}")
    usual = DEFAULTS if originals else BLIND_DEFAULTS
    names = [*metrics, *(ntire.PROTOCOLS if scores else [])] or usual
    found = {protocol.id: protocol for protocol in map(find, names)}
    if any(protocol.is_raised_by(raised) for protocol in found.values()):
        companions = (PROTOCOLS[name] for name in (COMPANIONS if originals else BLIND_COMPANIONS))
        found |= {protocol.id: protocol for protocol in companions if not protocol.is_raised_by(raised)}
    return list(found.values())
