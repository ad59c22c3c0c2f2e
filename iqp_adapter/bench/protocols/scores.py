"""Metrics of the `Scorer`, this project's own and pyiqa's; other metrics without a reference have their own files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ...core.metrics import (
    COLOUR,
    LITE,
    NEWEST,
    canonical,
    families,
    family,
    members,
    refuse_uncomputed,
    refuse_unknown_version,
)
from .base import Measure, Protocol, resized


def no_reference(metric: str, side: int | None, device: torch.device, files: Sequence[Path]) -> Measure:
    """A metric of `Scorer`; with `side`, pictures are first resized to it (bicubic)."""
    from ...scoring.scorer import Scorer

    scorer = Scorer(metric, device=device, weights=files[0] if files else None)
    protocol = scorer.protocol if side is None else f"{scorer.protocol}@{side}px"
    return Measure(protocol, lambda restored, *_: scorer(resized(restored, side)))


def of_this_project(metric: str, side: int | None) -> Protocol | None:
    """The protocol of one version of a metric of this project, or of an ensemble; None for another name.

    Raises:
        ValueError: for what is no ensemble, though it begins like one, for a version that there is not, and for a
            metric that scores no picture.
    """
    name = canonical(metric)
    refuse_uncomputed(name)
    if not members(name) and family(name) not in NEWEST:
        return None
    for part in members(name) or (name,):
        refuse_unknown_version(part)
    return _own(f"{name}@{side or 'native'}", name, side, pinned=f"{name} {_scales_of(name)}")


def _scales_of(metric: str) -> str:
    """A hash of the score scales on which an ensemble is built."""
    from ...scoring.scales import digest_of, stored_scales

    known = stored_scales()
    return digest_of(*(known[name] for name in members(metric) if name in known))


def _entry(identifier: str, metric: str, lower_better: bool, side: int | None = None, **more: Any) -> Protocol:
    return Protocol(identifier, lower_better, "no-reference", partial(no_reference, metric, side), **more)


def _own(identifier: str, metric: str, side: int | None = None, **more: Any) -> Protocol:
    """From 0 to 100."""
    learned = ", ".join(name for name in families(metric) if name in (LITE, COLOUR))
    why = f"{learned}: the condition and stage 3's aim" if learned else ""
    return _entry(identifier, metric, False, side, trained_on=why, note="0 to 100", **more)


_NIQE = "pyiqa's NIQE (YIQ luma, blocks of 96 px) with the official parameters, which basicsr ships"

PROTOCOLS = (
    *(_own(f"{metric}@native", metric, pinned=canonical(metric)) for metric in NEWEST),
    _entry("niqe/basicsr@native", "niqe", True, note=_NIQE),
    _entry("niqe/basicsr@512", "niqe", True, 512, note=f"{_NIQE}; pictures resized to 512 px first (bicubic)"),
    _entry("piqe/pyiqa@native", "piqe", True, note="luma only"),
    _entry("piqe/pyiqa@512", "piqe", True, 512, note="luma only; pictures resized to 512 px first (bicubic)"),
    _entry("musiq/koniq@native", "musiq", False, note="0 to 100"),
    _entry("maniqa/koniq@native", "maniqa", False, note="mean over even crops of 224 px, about 0 to 1"),
    _entry("clipiqa/rn50@native", "clipiqa", False, note="0 to 1"),
    _entry("qalign/one-align@native", "qalign", False, note="1 to 5; a language model of 15 GB"),
)
