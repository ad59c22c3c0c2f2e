"""Faces at the edge of what can be: lines, dots, and faces that leave the frame. There is an answer within seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photo_standins import BOX, LANDMARKS, Negative, photo

from iqp_adapter.photo import GivenFaces, restore_photos
from iqp_adapter.photo.outcomes import Outcome

SECONDS = 60
"""OpenCV cannot be interrupted from Python where it hangs, so what may hang runs in a process of its own."""


def run(root: Path, code: str) -> str:
    code = f"import sys; sys.path[:0] = ['tests']\nimport numpy as np\nfrom photo_standins import *\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=SECONDS, check=True
    )
    return done.stdout.strip()


def test_pictures_of_one_pixel_are_warped(root: Path) -> None:
    code = """
from iqp_adapter.pictures import resample, warp_affine
import cv2
for shape in ((1, 1), (1, 9), (9, 1), (2, 2)):
    picture = np.arange(np.prod(shape) * 3, dtype=np.uint8).reshape(*shape, 3)
    wide = warp_affine(picture, np.array([[4., 0, 1.5], [0, 4, 1.5]]), (36, 36), borderMode=cv2.BORDER_REFLECT_101)
    centre = resample(picture, np.eye(2, 3), 8)
    assert wide.shape == (36, 36, 3) and centre.shape == (8, 8, 3)
    assert wide.min() >= picture.min() and wide.max() <= picture.max()
    if shape == (1, 1):
        assert (wide == picture).all()
print("done")"""
    assert run(root, code) == "done"


def test_whole_photos_of_few_pixels_have_an_answer(root: Path) -> None:
    code = """
from iqp_adapter.photo import restore_photos
for shape in ((1, 1), (1, 500), (500, 1), (2, 2), (3, 3)):
    around = GivenFaces(boxes=[[0, 0, shape[1], shape[0]]])
    for options in ({"aligned": True}, {"detector": FACE}, {"detector": around}):
        for dtype in (np.uint8, np.uint16, np.float32):
            for quality in ("best", "match")[: 1 if "aligned" in options else 2]:
                given = np.full((*shape, 3), 1, dtype)
                [restored] = restore_photos([given], Dial(64), quality=quality if quality == "match" else 0.5,
                                            min_face=0, force=True, **options)
                assert restored.image.shape == given.shape, shape
print("done")"""
    assert run(root, code) == "done"


def test_a_reported_photo_of_one_pixel_is_restored(root: Path, cases: Path) -> None:
    code = f"""
from iqp_adapter.photo import restore_photos
from pathlib import Path
[restored] = restore_photos([Path({str(cases / "11-one-pixel" / "pixel.png")!r})], Negative(), aligned=True)
print(restored.faces[0].outcome.value)"""
    assert run(root, code) == "restored"


def test_faces_that_leave_the_frame_have_an_answer(root: Path) -> None:
    code = """
from iqp_adapter.photo import restore_photos
from iqp_adapter.photo.align import similarity, square, template
corners = square(similarity(LANDMARKS, template(256)), 256)
for axis in (0, 1):
    for inside in (-5, -1, 0, 1, 2, 3, 20):
        for far in (False, True):
            shift = np.zeros(2)
            shift[axis] = 512 - inside - corners[:, axis].min() if far else inside - corners[:, axis].max()
            [restored] = restore_photos([photo()], Negative(), detector=GivenFaces(LANDMARKS[None] + shift))
            assert restored.image.shape == (512, 512, 3)
            assert restored.faces[0].outcome.value == ("restored" if inside > 9 else "no face"), (axis, inside, far)
            assert inside > 9 or (restored.image == photo()).all()
print("done")"""
    assert run(root, code) == "done"


@pytest.mark.parametrize("shift", [[-223.0, 0.0], [0.0, -122.0], [290.0, 0.0]])
def test_half_a_face_is_restored(shift: Any) -> None:
    detector = GivenFaces(LANDMARKS[None] + shift, BOX[None] + np.tile(shift, 2))
    part = photo()
    [restored] = restore_photos([part], Negative(), detector=detector)
    assert restored.faces[0].outcome is Outcome.RESTORED and restored.changed


def test_a_huge_square_around_a_small_photo_has_an_answer(root: Path) -> None:
    code = """
from iqp_adapter.photo import restore_photos
for zoom in (10, 1e3, 1e5, 1e7):
    landmarks = (LANDMARKS - LANDMARKS[2]) * zoom + 1
    for shape in ((2, 2), (1, 40), (40, 40)):
        given, detector = np.zeros((*shape, 3), np.uint8), GivenFaces(landmarks[None])
        list(restore_photos([given], Negative(), detector=detector, force=True))
print("done")"""
    assert run(root, code) == "done"
