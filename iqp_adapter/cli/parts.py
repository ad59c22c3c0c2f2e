"""What a run over photos or films is made of: as the command names it, to be made here or by an actor of Ray."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Parts:
    """Makes the model and what works beside it, as arguments of `photo.restore_files`.

    Attributes:
        drives: whether faces are scored by what conditions the model.
        reports: whether there is a report, which wants a judge and identities.
        identifies: whether identities are needed.
    """

    model: str
    adapter: str | None
    device: str | None
    engine: str | None
    precision: str | None
    compile: bool
    detector: str
    background: Path | None
    drives: bool
    reports: bool
    identifies: bool

    def tried(self) -> dict[str, Any]:
        """The parts as torch makes them on the CPU: a mistake is found here before an actor makes it."""
        return replace(self, device="cpu", engine=None, precision=None, compile=False)()

    def __call__(self) -> dict[str, Any]:
        from ..core.device import device_of
        from ..engines.formats import FORMATS
        from ..loader import load
        from ..photo import Background
        from ..photo.detectors import detector
        from ..photo.measures import embedder_of, scorers_of

        place = str(device_of(self.device))
        model = load(
            self.model,
            adapter=self.adapter,
            device=self.device if self.engine in FORMATS else place,
            engine=self.engine,
            precision=self.precision,
            compile=self.compile,
        )
        return {
            "model": model,
            "detector": detector(self.detector, place),
            "scorers": scorers_of(model, place, driving=self.drives or self.reports, judge=self.reports),
            "embedder": embedder_of(wanted=self.reports, needed=self.identifies),
        } | ({} if self.background is None else {"background": Background(self.background, place)})
