"""Tiles of the photos that packages ship, as a small data set of things that are not faces; split by photo.

python -m benchmarks.underwater.packaged_photos OUT

Writes OUT/train, OUT/val and OUT/photos.json with where every photo is from, and its licence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from rich.progress import track

from iqp_adapter.store.files import atomic_path

SIDE, STRIDE = 192, 64
"""Of tiles, in pixels."""

HEIGHT = 320
"""Shorter side of a photo before it is cut, in pixels."""


@dataclass(frozen=True)
class Photo:
    """A photo inside a package.

    Attributes:
        name: of its tiles, which are `<name>_<number>.png`.
        part: "train" or "val"; no photo is in both.
        package: to install.
        path: module and file.
        licence, author: of the photo, as its package states them.
    """

    name: str
    part: str
    package: str
    path: str
    licence: str
    author: str


PHOTOS = (
    Photo("chelsea", "train", "scikit-image", "skimage.data/chelsea.png", "CC0", "Stefan van der Walt"),
    Photo("coffee", "train", "scikit-image", "skimage.data/coffee.png", "CC0", "Rachel Michetti"),
    Photo("rocket", "train", "scikit-image", "skimage.data/rocket.jpg", "public domain", "SpaceX"),
    Photo(
        "hopper", "train", "matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg", "public domain", "US Navy"
    ),
    Photo("china", "train", "scikit-learn", "sklearn.datasets/images/china.jpg", "CC BY 2.0", "danielbuechele"),
    Photo("astronaut", "val", "scikit-image", "skimage.data/astronaut.png", "public domain", "NASA"),
    Photo("flower", "val", "scikit-learn", "sklearn.datasets/images/flower.jpg", "CC BY 2.0", "vultilion"),
)


def opened(photo: Photo) -> Image.Image:
    """The photo with HEIGHT as its shorter side.

    Raises:
        typer.BadParameter: where its package is not installed.
    """
    module, _, inside = photo.path.partition("/")
    try:
        with files(module).joinpath(inside).open("rb") as file, Image.open(file) as image:
            ratio = HEIGHT / min(image.size)
            size = round(ratio * image.width), round(ratio * image.height)
            return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise typer.BadParameter(f"{photo.name} is part of {photo.package}: pip install {photo.package}") from error


def tiles(image: Image.Image) -> Iterator[Image.Image]:
    """Overlapping squares of a photo, row by row."""
    for top in range(0, image.height - SIDE + 1, STRIDE):
        for left in range(0, image.width - SIDE + 1, STRIDE):
            yield image.crop((left, top, left + SIDE, top + SIDE))


def main(out: Annotated[Path, typer.Argument(help="folder of the tiles")]) -> None:
    facts = []
    for photo in track(PHOTOS, "photos"):
        (out / photo.part).mkdir(parents=True, exist_ok=True)
        pieces = list(tiles(opened(photo)))
        for number, piece in enumerate(pieces):
            with atomic_path(out / photo.part / f"{photo.name}_{number:02}.png") as partial:
                piece.save(partial, format="PNG")
        facts.append(asdict(photo) | {"tiles": len(pieces), "version": version(photo.package)})
    with atomic_path(out / "photos.json") as partial:
        partial.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
