"""Which fidelity weight should be the default? Every judge at quality "best", on dev.

python -m benchmarks.native.fidelity --model FOLDER --faces FACES/dev
"""

from __future__ import annotations

import time

import typer

from benchmarks.judges import Panel
from benchmarks.native import report
from benchmarks.native.pictures import FacesOption, ModelOption, SeedsOption, load_model, load_pictures, restore
from benchmarks.native.report import RESULTS, OutOption
from iqp_adapter.bench.intervals import People

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
JUDGES = ("iqp-lite", "niqe", "piqe", "psnr", "ssim", "perceptual-lite2", "identity")


def main(model: ModelOption, faces: FacesOption, seeds: SeedsOption = 2, out: OutOption = RESULTS) -> None:
    """The input and five fidelity weights, by quality and by nearness to the originals."""
    started = time.perf_counter()
    panel, network = Panel(JUDGES), load_model(model)
    pictures = load_pictures(faces, network.resolution, seeds)
    images = {"input": pictures.degraded} | {
        f"fidelity {w:g}": restore(network, pictures.degraded, quality="best", fidelity=w) for w in WEIGHTS
    }
    scores = {name: panel(image, pictures.original) for name, image in images.items()}
    rows = report.summary(scores, People(pictures.people))
    content = {"methods": rows, "judges": panel.describe(), "seconds": time.perf_counter() - started}
    report.write_json(out / "fidelity.json", content | report.provenance(0, faces, model=model))
    report.write_text(out / "fidelity.md", report.table("Fidelity weights at quality best", rows, panel))


if __name__ == "__main__":
    typer.run(main)
