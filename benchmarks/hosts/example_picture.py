"""The README's second picture: scikit-image's astronaut by the host of the examples, bare and at three qualities.

python -m benchmarks.hosts.example_picture

Faces keep the light and the white balance of what is restored, as in `iqp restore`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import iqp_adapter as iqp
from benchmarks.common.inputs import as_batch
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json
from benchmarks.common.sheets import write_sheet
from benchmarks.hosts import small
from benchmarks.hosts.ship_example import EXAMPLES
from benchmarks.native.astronaut import QUALITIES, SEED
from iqp_adapter.photo import restore_photo
from iqp_adapter.pictures import as_pixels, read_tensor
from iqp_adapter.store.files import sha256_of

PICTURE = "restoreformer-astronaut.png"


def main(
    folder: Annotated[Path, typer.Option(help="where host, adapter and face are")] = EXAMPLES / "restoreformer",
    out: OutOption = RESULTS / "hosts",
) -> None:
    """Degraded | bare host | quality 0.1 | 0.5 | best | original, first draw, unselected."""
    model = iqp.wrap(str(folder / "host.safetensors"), adapter=folder / "adapter")
    face = read_tensor(folder / "face.png")  # (3, H, W)
    columns = {"degraded": face[None]}
    for name, quality in {"bare host": None, **QUALITIES}.items():
        restored = restore_photo(as_pixels(face), model, quality=quality, aligned=True)
        columns[name] = as_batch(np.float32(restored / 255))
    write_sheet(out / PICTURE, columns | {"original": small.astronaut()["original"]})
    made = {"picture": PICTURE, "host": sha256_of(folder / "host.safetensors")}
    write_json(out / "restoreformer-astronaut.json", made | provenance(SEED, adapter=folder / "adapter"))


if __name__ == "__main__":
    typer.run(main)
