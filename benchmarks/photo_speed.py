"""What restoring photos costs beside the network: pasting, memory, and the time of a whole run.

    python -m benchmarks.photo_speed --model tiny

Pasting stands beside facexlib's helper, given the same photo, landmarks and faces: four astronauts in photos of
1 and 12 megapixels, in turn (facexlib, ours, facexlib, ours, ...), without the network; the ratio is the median over
pairs, with its 95 % interval by bootstrap. Memory is the peak of a separate process. Runs read files and write files.
Nothing else should run meanwhile.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from PIL import Image
from skimage.data import astronaut

from benchmarks.common.facexlib_loop import FACE, face_helper
from benchmarks.common.peak_memory import alone, peak_memory
from benchmarks.common.results import RESULTS, provenance, write_json
from benchmarks.common.timing import in_turn, noted, ratio
from iqp_adapter import load
from iqp_adapter.photo import CenterFace, Faces, restore_files
from iqp_adapter.photo.align import align, similarity, template
from iqp_adapter.photo.paste import enlarge, paste
from iqp_adapter.store.files import list_images

RESULT = RESULTS / "photo_speed.json"
SIZES = {"1 megapixel": (1000, 1000), "12 megapixels": (3000, 4000)}
LANDMARKS = np.array([[203.0, 98.5], [247.0, 102.0], [223.0, 122.5], [201.5, 142.5], [241.0, 145.5]])
CORNERS = np.array([[0, 0], [480, 0], [0, 480], [480, 480]])
"""Where the four astronauts are, left and top."""


def crowd(height: int, width: int) -> np.ndarray:
    """A photo with four astronauts in its upper left, on grey."""
    photo = np.full((height, width, 3), 128, np.uint8)
    for left, top in CORNERS:
        part = photo[top : top + 512, left : left + 512]
        part[...] = astronaut()[: part.shape[0], : part.shape[1]]
    return photo


def facexlib_paste(photo: np.ndarray) -> Callable[[], Any]:
    """Facexlib's paste of the photo's own four faces, ready to be called."""
    helper = face_helper()
    helper.read_image(np.ascontiguousarray(photo[..., ::-1]))
    helper.all_landmarks_5 = [LANDMARKS + corner for corner in CORNERS]
    helper.align_warp_face()
    helper.get_inverse_affine()
    helper.restored_faces = list(helper.cropped_faces)
    return helper.paste_faces_to_input_image


def our_paste(photo: np.ndarray) -> Callable[[], Any]:
    """The same by this library, the copy of the photo included."""
    matrices = [similarity(LANDMARKS + corner, template(FACE)) for corner in CORNERS]
    faces = [align(photo, matrix, FACE) / 255 for matrix in matrices]

    def run() -> np.ndarray:
        canvas = enlarge(photo, 1)
        for face, matrix in zip(faces, matrices, strict=True):
            paste(canvas, face, matrix)
        return canvas

    return run


def pasting(pairs: int) -> dict[str, Any]:
    """Milliseconds per face of both, and the median ratio of the pairs with its interval, for each size of photo."""
    results = {}
    for name, (height, width) in SIZES.items():
        photo = crowd(height, width)
        theirs, ours = facexlib_paste(photo), our_paste(photo)
        times = in_turn({"facexlib": theirs, "ours": ours}, pairs)
        results[name] = {
            "facexlib_ms_per_face": float(np.median(times["facexlib"])) * 1000 / len(CORNERS),
            "ours_ms_per_face": float(np.median(times["ours"])) * 1000 / len(CORNERS),
            **ratio(times["ours"], times["facexlib"]),
        }
    return results


def write_photos(folder: Path, count: int) -> list[Path]:
    """Photos of a megapixel with one astronaut each, at different places."""
    rng = np.random.default_rng(0)
    for index in range(count):
        photo = np.full((1000, 1000, 3), 128, np.uint8)
        left, top = rng.integers(0, 488, 2)
        photo[top : top + 512, left : left + 512] = astronaut()
        Image.fromarray(photo).save(folder / f"{index:03}.jpg", quality=90)
    return list_images([folder])


def restore_all(model: str, count: int, batch: int, threads: int) -> dict[str, float]:
    """A run from files to files: its time by part, after two photos that are not counted, and the peak memory."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    restorer, detector = load(model), TimedDetector()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        files = write_photos(folder / "in", count)
        list(restore_files(files[:2], folder / "warm", restorer, detector=detector, batch=batch))
        detector.seconds = 0.0
        with noted(restorer, "restore") as network:
            before, started = peak_memory(), time.perf_counter()
            done = list(restore_files(files, folder / "out", restorer, detector=detector, batch=batch))
            whole = time.perf_counter() - started
    faces = sum(report.restored for report in done)
    return {
        "faces": faces,
        "faces_per_second": faces / whole,
        "share_outside_network": 1 - network.seconds / whole,
        "share_detection": detector.seconds / whole,
        "peak_MiB": peak_memory(),
        "peak_MiB_before": before,
    }


class TimedDetector(CenterFace):
    """The default detector, adding up its seconds."""

    seconds = 0.0

    def __call__(self, rgb: np.ndarray) -> Faces:
        started = time.perf_counter()
        found = super().__call__(rgb)
        self.seconds += time.perf_counter() - started
        return found


def main(
    model: Annotated[str, typer.Option(help="tiny, a folder, or a Hub id.")] = "tiny",
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of each comparison.")] = 21,
    photos: Annotated[int, typer.Option(help="Photos of the longest run.")] = 200,
    threads: Annotated[int, typer.Option(help="Of torch and of OpenCV.")] = 1,
    out: Annotated[Path, typer.Option("-o", "--out", help="File of the result.")] = RESULT,
) -> None:
    """Measures and writes all of it."""
    cv2.setNumThreads(threads)
    content = provenance(0, model=model) | {
        "threads": threads,
        "pasting": pasting(pairs),
        "batch 1": alone(restore_all, model, 40, 1, threads),
        "batch 8": alone(restore_all, model, 40, 8, threads),
        "memory, 10 photos": alone(restore_all, model, 10, 8, threads),
        f"memory, {photos} photos": alone(restore_all, model, photos, 8, threads),
    }
    write_json(out, content)


if __name__ == "__main__":
    typer.run(main)
