"""Which fidelity weight should be the default? Every judge at quality "best", on dev.

python -m benchmarks.native.fidelity --model FOLDER --faces FACES/dev
"""

from __future__ import annotations

import time

import typer

from benchmarks.common.inputs import FacesOption, ModelOption, SeedsOption, load_model, load_pictures, restore
from benchmarks.common.judges import panel_of
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json, write_text
from iqp_adapter.bench.intervals import People
from iqp_adapter.bench.panel import summary

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
JUDGES = ("iqp-lite@1", "niqe", "piqe", "psnr", "ssim", "perceptual-lite2", "identity")


def main(model: ModelOption, faces: FacesOption, seeds: SeedsOption = 2, out: OutOption = RESULTS / "native") -> None:
    """The input and five fidelity weights, by quality and by nearness to the originals."""
    started = time.perf_counter()
    panel, network = panel_of(JUDGES), load_model(model)
    pictures = load_pictures(faces, network.resolution, seeds)
    images = {"input": pictures.degraded} | {
        f"fidelity {w:g}": restore(network, pictures.degraded, quality="best", fidelity=w) for w in WEIGHTS
    }
    scores = {name: panel(image, pictures.original) for name, image in images.items()}
    rows = summary(scores, People(pictures.people))
    content = {"methods": rows, "judges": panel.describe(), "seconds": time.perf_counter() - started}
    write_json(out / "fidelity.json", content | provenance(0, faces, model=model))
    write_text(out / "fidelity.md", panel.table("Fidelity weights at quality best", rows))


if __name__ == "__main__":
    typer.run(main)
