"""The README's picture: scikit-image's astronaut degraded with seed 0, restored at three qualities, and as she is.

python -m benchmarks.native.astronaut --model tiny
"""

from __future__ import annotations

import typer

from benchmarks.common.inputs import ModelOption, as_batch, astronaut_face, load_model, restore
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json
from benchmarks.common.sheets import write_sheet
from iqp_adapter.degradations.face import Degradation
from iqp_adapter.pictures import resize

SEED = 0
SHOWN = 288
"""Side in pixels of the faces on the sheet, which a page shows no larger."""

QUALITIES = {"quality 0.1": 0.1, "quality 0.5": 0.5, 'quality "best"': "best"}


def main(model: ModelOption = "tiny", out: OutOption = RESULTS / "native") -> None:
    """Degraded | quality 0.1 | 0.5 | best | original, first draw, unselected."""
    network = load_model(model)
    original = astronaut_face(network.resolution)
    degraded = as_batch(Degradation.for_resolution(network.resolution)(original, SEED))
    restored = {name: restore(network, degraded, quality=quality) for name, quality in QUALITIES.items()}
    pictures = {"degraded": degraded} | restored | {"original": as_batch(original)}
    write_sheet(out / "astronaut.png", {name: resize(of, (SHOWN, SHOWN)) for name, of in pictures.items()})
    write_json(out / "astronaut.json", {"picture": "astronaut.png"} | provenance(SEED, model=model))


if __name__ == "__main__":
    typer.run(main)
