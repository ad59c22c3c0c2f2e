"""Damaged picture files through `iqp restore` and `iqp score`: each costs itself, and what is written is right."""

from __future__ import annotations

import io
import json
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageOps

from benchmarks.faults.children import Ended, iqp, run
from benchmarks.faults.mutations import bytes_mutated

AT_ONCE = 10
"""Damaged files of one command, beside one that is whole."""

LOSSY = 12
"""Mean difference in levels that coding as JPEG or WebP once more may make in damaged, noisy pictures."""


def campaign(number: int, folder: Path, seed: int) -> Iterator[Counter[str]]:
    """Counts, each time more of them are known."""
    rng, counts, forms = Random(seed), Counter[str](), list(forms_of_a_photo().items())
    while counts["files"] < number:
        place = folder / "damaged"
        shutil.rmtree(place, ignore_errors=True)
        (place / "in").mkdir(parents=True)
        whole = place / "in" / "whole.png"
        whole.write_bytes(forms[0][1])
        for position in range(AT_ONCE):
            name, content = forms[rng.randrange(len(forms))]
            (place / "in" / f"damaged_{position}_{name}").write_bytes(bytes_mutated(content, rng))
        counts += _restored(place) + _scored(place) + Counter(files=AT_ONCE)
        yield counts


def forms_of_a_photo() -> dict[str, bytes]:
    """One small photo in every form that is read, by a file name."""
    import tifffile
    from skimage.data import astronaut

    photo = Image.fromarray(np.ascontiguousarray(astronaut()[0:240, 110:350])).resize((160, 160))
    deep = np.asarray(photo).astype(np.uint16) * 257

    def coded(kind: str, image: Image.Image = photo, **options: object) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    def tiff(**options: object) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, deep, photometric="rgb", **options)
        return file.getvalue()

    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "described"
    return {
        "rgb.png": coded("PNG"),
        "grey.png": coded("PNG", photo.convert("L")),
        "palette.png": coded("PNG", photo.quantize(64)),
        "alpha.png": coded("PNG", photo.convert("RGBA")),
        "grey16.png": coded("PNG", Image.fromarray(deep[..., 1])),
        "text.png": coded("PNG", exif=exif, dpi=(300, 300)),
        "plain.jpg": coded("JPEG", quality=90),
        "turned.jpg": coded("JPEG", quality=90, exif=exif, progressive=True),
        "cmyk.jpg": coded("JPEG", photo.convert("CMYK"), quality=90),
        "lossy.webp": coded("WEBP", quality=90),
        "lossless.webp": coded("WEBP", lossless=True),
        "plain.bmp": coded("BMP"),
        "raw.tif": coded("TIFF"),
        "lzw.tif": coded("TIFF", compression="tiff_lzw"),
        "deep.tif": tiff(compression="zlib"),
        "planar.tif": tiff(planarconfig="separate"),
    }


def _restored(place: Path) -> Counter[str]:
    out, report, before = place / "out", place / "report.json", _contents(place / "in")
    log = place / "restore.log"
    ended = run(iqp("restore", place / "in", "-o", out, "--device", "cpu", "--report", report), log)
    counts = _ended(ended)
    counts["lost"] += _contents(place / "in") != before
    if not report.exists():
        return counts + Counter(lost=1)
    for photo in json.loads(report.read_text())["photos"]:
        source, target = Path(photo["source"]), Path(photo["output"])
        counts[photo["status"]] += 1
        if photo["status"] == "failed":
            counts["unnamed"] += source.name not in ended.output
            counts["half-written"] += target.exists()
        else:
            counts["wrong"] += not _same_picture(source, target)
    counts["lost"] += not (out / "whole.png").exists()
    return counts


def _scored(place: Path) -> Counter[str]:
    table = place / "scores.json"
    words = ("score", place / "in", "-m", "piqe", "--json", table, "--cache", place / "cache.sqlite", "--device", "cpu")
    ended = run(iqp(*words), place / "score.log")
    counts = _ended(ended)
    if not table.exists():
        return counts + Counter(lost=1)
    rows = {Path(row["path"]).name: row for row in json.loads(table.read_text())["files"]}
    counts["lost"] += "whole.png" not in rows or not rows["whole.png"]["scores"]
    return counts


def _ended(ended: Ended) -> Counter[str]:
    return Counter(traces=int(ended.traced), hangs=int(ended.status is None), commands=1)


def _same_picture(source: Path, result: Path) -> bool:
    """Whether the result shows what an independent reader sees in the source, far from the face."""
    wanted, found = _pixels(source), _pixels(result)
    if wanted is None or found is None or wanted.shape != found.shape:
        return False
    rim = max(1, min(wanted.shape[:2]) // 16)
    bound = LOSSY if result.suffix in (".jpg", ".webp") else 1
    return float(np.abs(wanted[-rim:] - found[-rim:]).mean()) <= bound


def _pixels(path: Path) -> np.ndarray | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                turned = image
                try:
                    turned = ImageOps.exif_transpose(image)
                except Exception:  # noqa: BLE001 - damaged EXIF does not make the pixels worse
                    turned.load()
                return np.asarray(turned.convert("RGB")).astype(float)
    except Exception:  # noqa: BLE001 - any failure of the independent reader means that it sees nothing
        return _deep_pixels(path)


def _deep_pixels(path: Path) -> np.ndarray | None:
    import cv2

    stored = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB)
    return None if stored is None else stored.astype(float)


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
