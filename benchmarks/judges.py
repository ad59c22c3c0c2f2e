"""The judges of the benchmarks: names onto protocols of `iqp_adapter.bench`, asked about pictures in memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iqp_adapter.bench.protocols import Protocol, find

Scores = dict[str, np.ndarray]
"""One value per picture (N,) by the name of the judge."""

CPU = torch.device("cpu")
"""Where judges work, so that numbers do not depend on the accelerator."""

_NAMES = (
    "iqp-lite", "iqp-colour", "niqe", "niqe@512", "piqe", "piqe@512", "psnr", "ssim", "fsim", "vsi", "gmsd",
    "ciede2000", "colourfulness", "uciqe", "uiqm",
)  # fmt: skip
JUDGES: dict[str, Protocol] = {name: find(name) for name in _NAMES} | {
    "perceptual-lite2": find("perceptual/efficientnet-lite2"),
    "identity": find("identity"),
    "perceptual-lite0": find("perceptual/efficientnet-lite0"),
    "vif": find("vif"),
    "nlpd": find("nlpd"),
}
"""NIQE and PIQE are also asked about pictures enlarged to 512 px: at 256 px NIQE sees four blocks only."""


class Panel:
    """The judges of one benchmark; those whose extra is not installed are left out and named in `skipped`.

    Attributes:
        judges: by name.
        skipped: name -> why.
        seconds: spent by each judge so far.
    """

    def __init__(self, names: Sequence[str]) -> None:
        wanted = {name: JUDGES[name] for name in names}
        self.skipped = {n: f"{', '.join(j.missing)} not installed" for n, j in wanted.items() if j.missing}
        self.judges = {name: judge for name, judge in wanted.items() if not judge.missing}
        self.seconds = dict.fromkeys(self.judges, 0.0)
        self._measures: dict[str, Any] = {name: judge.load(CPU, judge.files()) for name, judge in self.judges.items()}

    @torch.no_grad()
    def __call__(self, restored: Tensor, original: Tensor, only: Sequence[str] = (), batch: int = 10) -> Scores:
        """Restored and original pictures (N, 3, H, W) in [0, 1] -> (N,) by every judge, or by those named."""
        pairs = list(zip(restored.cpu().split(batch), original.cpu().split(batch), strict=True))
        scores = {}
        for name in [name for name in self.judges if not only or name in only]:
            started = time.perf_counter()
            scores[name] = torch.cat([self._measures[name].values(*pair, ()) for pair in pairs]).double().numpy()
            self.seconds[name] += time.perf_counter() - started
        return scores

    def gain(self, name: str, better: np.ndarray, worse: np.ndarray) -> np.ndarray:
        """By how much the first values beat the second ones, positive where they do, whatever the judge's direction."""
        return worse - better if self.judges[name].lower_better else better - worse

    def label(self, name: str) -> str:
        """Name, direction and, as a dagger, that it was trained on."""
        judge = self.judges[name]
        return f"{name} {'↓' if judge.lower_better else '↑'}{' †' if judge.trained_on else ''}"

    def describe(self) -> dict[str, Any]:
        """Everything about the judges that a reader of their numbers should know, ready for JSON."""
        return {
            name: {
                "better": "lower" if judge.lower_better else "higher",
                "trained_on": judge.trained_on or None,
                "protocol": self._measures[name].protocol,
                "seconds": self.seconds[name],
            }
            for name, judge in self.judges.items()
        } | {name: {"skipped": reason} for name, reason in self.skipped.items()}


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Per picture, over seeds of training."""
    return {name: np.mean([one[name] for one in scores], 0) for name in scores[0]}
