"""What pasting a face back into its photo costs, beside facexlib's helper.

    python -m benchmarks.photo_paste

Both are given the same photo, landmarks and faces: four astronauts in photos of 1 and 12 megapixels, in turn (facexlib,
ours, facexlib, ours, ...), without the network. The ratio is the median over pairs, with its 95 % interval by
bootstrap. Nothing else should run meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from skimage.data import astronaut

from benchmarks.common.facexlib_loop import FACE, face_helper
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json
from benchmarks.common.timing import in_turn, ratio
from iqp_adapter.photo.align import align, similarity, template
from iqp_adapter.photo.paste import enlarge, paste

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


def main(
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of each comparison.")] = 21,
    threads: Annotated[int, typer.Option(min=1, help="Of OpenCV.")] = 1,
    out: OutOption = RESULTS,
) -> None:
    """Measures both and writes the result."""
    cv2.setNumThreads(threads)
    write_json(out / "photo_paste.json", provenance(0) | {"threads": threads, **pasting(pairs)})


if __name__ == "__main__":
    typer.run(main)
