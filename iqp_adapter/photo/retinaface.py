"""RetinaFace: facexlib's detector, on request, whose weights are downloaded once."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from .detect import Faces
from .second_look import second_look


class RetinaFace:
    """Finds faces with facexlib's RetinaFace, whose weights (110 MB) are downloaded once.

    Args:
        device: where the network runs.
        weights: folder that holds, or will hold, `detection_Resnet50_Final.pth`; by default facexlib's own.
        network: "retinaface_resnet50" or "retinaface_mobile0.25".
        threshold: least confidence of a face, as facexlib's helper sets it.

    Raises:
        OSError: where the weights are neither there nor reachable.
    """

    LONGEST_SIDE = 1280

    def __init__(
        self,
        device: str = "cpu",
        weights: str | Path | None = None,
        network: str = "retinaface_resnet50",
        threshold: float = 0.97,
    ) -> None:
        import torch

        from ..compat import make_importable
        from ..core.device import device_of

        place = str(torch.empty(0, device=device_of(device)).device)  # with its index, as threads have one of their own
        make_importable()
        from facexlib.detection import init_detection_model

        folder = None if weights is None else str(weights)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # facexlib speaks torchvision's older dialect
                self._network = init_detection_model(network, device=place, model_rootpath=folder)
        except OSError as error:
            raise OSError(
                f"no weights for {network} ({error}); connect, or pass the folder that holds them as weights=, "
                "or use the default detector, whose weights are installed"
            ) from error
        self.threshold = threshold

    def __call__(self, rgb: np.ndarray) -> Faces:
        found = self._look(rgb)
        return found if len(found.scores) else second_look(rgb, self._look, self.threshold)

    def _look(self, rgb: np.ndarray) -> Faces:
        import cv2
        import torch

        height, width = rgb.shape[:2]
        zoom = min(1.0, self.LONGEST_SIDE / max(height, width))
        size = max(1, round(width * zoom)), max(1, round(height * zoom))
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        with torch.no_grad():
            found = self._network.detect_faces(small[..., ::-1], self.threshold)  # (N, 4 + 1 + 10)
        found = found * np.tile([width / size[0], height / size[1]], 8)[[0, 1, 2, 3, 0, *range(10)]]
        found[:, 4] *= size[0] / width
        return Faces(found[:, :4], found[:, 4], found[:, 5:].reshape(-1, 5, 2)).ordered()
