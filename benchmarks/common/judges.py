"""The judges of the benchmarks: short names for protocols of `iqp_adapter.bench`."""

from __future__ import annotations

from collections.abc import Sequence

from iqp_adapter.bench.panel import Panel
from iqp_adapter.bench.protocols import Protocol, find

_NAMES = (
    "iqp-lite", "iqp-lite@1", "iqp-colour", "iqp-judge", "niqe", "niqe@512", "piqe", "piqe@512", "psnr", "ssim",
    "fsim", "vsi", "gmsd", "ciede2000", "colourfulness", "uciqe", "uiqm",
)  # fmt: skip
JUDGES: dict[str, Protocol] = {name: find(name) for name in _NAMES} | {
    "perceptual-lite2": find("perceptual/efficientnet-lite2"),
    "identity": find("identity"),
    "perceptual-lite0": find("perceptual/efficientnet-lite0"),
    "vif": find("vif"),
    "nlpd": find("nlpd"),
}
"""NIQE and PIQE also judge pictures enlarged to 512 px: at 256 px NIQE sees four blocks only."""


def panel_of(names: Sequence[str]) -> Panel:
    """These judges, on the CPU, so that numbers do not depend on the accelerator."""
    return Panel({name: JUDGES[name] for name in names})
