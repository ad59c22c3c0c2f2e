"""What the hosts' own scripts do with photos: facexlib's helper, one photo and one face after the other.

Its weights cannot be had without a download. Landmarks come from this library's detector in the place of RetinaFace,
and no face is parsed, as some of the scripts would do: both make the loop quicker than the scripts are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
from torch import Tensor

from iqp_adapter.photo import Detector

FACE = 512
"""Side of the faces; facexlib's helper is made for it."""


def face_helper() -> Any:
    """Facexlib's `FaceRestoreHelper` without its two networks."""
    from facexlib.utils import face_restoration_helper as module

    with (
        patch.object(module, "init_detection_model", lambda *args, **options: None),
        patch.object(module, "init_parsing_model", lambda *args, **options: None),
    ):
        return module.FaceRestoreHelper(1, face_size=FACE, device="cpu")


Network = Callable[[Tensor], Tensor]
"""Faces (1, 3, 512, 512) in [-1, 1] -> the same."""


def restore_one_by_one(files: Iterable[Path], out: Path, network: Network, detector: Detector) -> int:
    """Reads, detects, aligns, restores, pastes and writes each photo before the next one; returns how many faces."""
    helper, faces = face_helper(), 0
    out.mkdir()
    for file in files:
        helper.clean_all()
        helper.read_image(str(file))
        helper.all_landmarks_5 = list(detector(np.ascontiguousarray(helper.input_img[..., ::-1])).landmarks)
        helper.align_warp_face()
        for face in helper.cropped_faces:
            helper.add_restored_face(restored(face, network))
            faces += 1
        helper.get_inverse_affine(None)
        cv2.imwrite(str(out / file.name), helper.paste_faces_to_input_image())
    return faces


@torch.no_grad()
def restored(face: np.ndarray, network: Network) -> np.ndarray:
    """(512, 512, 3) uint8 BGR -> the same, as the scripts turn pictures into tensors and back."""
    given = torch.from_numpy(face[..., ::-1].astype(np.float32) / 255).permute(2, 0, 1)[None]  # (1, 3, 512, 512)
    made = (network((given - 0.5) / 0.5)[0].clamp(-1, 1) + 1) / 2 * 255
    return np.ascontiguousarray(made.permute(1, 2, 0).round().byte().numpy()[..., ::-1])  # (3, H, W) -> (H, W, 3)
