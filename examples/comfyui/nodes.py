"""The nodes: a restorer is loaded, or made of a loaded upscale model, and restores the faces of an image batch."""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iqp_adapter import Restorer, load
from iqp_adapter.core.device import default_device
from iqp_adapter.photo import CenterFace, Faces, GivenFaces, Restored, restore_photos
from iqp_adapter.photo.outcomes import Outcome

RESTORER = "IQP_RESTORER"
FOLDER = "facerestore_models"
"""The folder in ComfyUI's `models` in which a weight file is looked for by its name."""

ADAPTER = {"default": "", "tooltip": "Folder or Hugging Face id of a trained adapter; empty for none."}
OWN = -1.0
"""Stands for the model's own fidelity."""


class _GivesRestorer:
    """What ComfyUI asks of nodes whose output is a restorer."""

    CATEGORY = "image/faces"
    RETURN_TYPES = (RESTORER,)
    RETURN_NAMES = ("restorer",)


class LoadRestorer(_GivesRestorer):
    """Loads a restorer by its name."""

    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        tooltip = (
            "tiny, which comes with iqp_adapter; a published name (codeformer, gfpgan, restoreformer); the name of a "
            f"file in models/{FOLDER}; a path; or an id on the Hugging Face Hub."
        )
        return {
            "required": {"model": ("STRING", {"default": "tiny", "tooltip": tooltip})},
            "optional": {"adapter": ("STRING", ADAPTER)},
        }

    def load(self, model: str, adapter: str = "") -> tuple[Restorer]:
        return (load(in_models(model.strip()), adapter=adapter.strip() or None, device=device()),)


class AddDial(_GivesRestorer):
    """Makes a restorer of a face model that "Load Upscale Model" has loaded; that one stays as it is."""

    FUNCTION = "wrap"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        return {"required": {"upscale_model": ("UPSCALE_MODEL",)}, "optional": {"adapter": ("STRING", ADAPTER)}}

    def wrap(self, upscale_model: Any, adapter: str = "") -> tuple[Restorer]:
        module = deepcopy(getattr(upscale_model, "model", upscale_model))  # other nodes may hold it, too
        return (load(module, adapter=adapter.strip() or None, device=device()),)


class RestoreFaces:
    """Restores the faces of every image of a batch, and says where."""

    CATEGORY = "image/faces"
    RETURN_TYPES = ("IMAGE", "MASK")
    RETURN_NAMES = ("image", "faces")
    FUNCTION = "restore"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        asked = "best; match, which fits each face to the photo around it; any; or number, which takes the next value."
        own = f"From 0 (detail) to 1 (likeness), for models that have it, as CodeFormer; {OWN:g} is their own."
        return {
            "required": {
                "restorer": (RESTORER,),
                "image": ("IMAGE",),
                "quality": (["best", "match", "any", "number"], {"tooltip": asked}),
                "number": ("FLOAT", {"default": 0.9, "min": 0.0, "max": 1.0, "step": 0.01}),
                "scale": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 4.0, "step": 0.05}),
                "fidelity": ("FLOAT", {"default": OWN, "min": OWN, "max": 1.0, "step": 0.01, "tooltip": own}),
                "faces": (["all", "largest"],),
                "upscale": ([1, 2, 4],),
            }
        }

    def restore(
        self,
        restorer: Restorer,
        image: Tensor,
        quality: str = "best",
        number: float = 0.9,
        scale: float = 1.0,
        fidelity: float = OWN,
        faces: str = "all",
        upscale: int = 1,
    ) -> tuple[Tensor, Tensor]:
        """Images (B, H, W, C) in [0, 1] -> images, and masks (B, H, W) that are 1 where a face was restored.

        Raises:
            RuntimeError: where a face cannot be restored.
        """
        asked = number if quality == "number" else quality
        options = {"quality": asked, "scale": scale, "fidelity": None if fidelity < 0 else fidelity, "faces": faces}
        photos = (frame.numpy() for frame in image.detach().float().clamp(0, 1).cpu())
        detector, done, images, masks = Remembering(), progress(len(image)), [], []
        for result in restore_photos(photos, restorer, detector=detector, upscale=upscale, **options):
            if result.failures:
                raise RuntimeError("; ".join(result.failures))
            images.append(torch.tensor(result.image))
            masks.append(mask_of(result, detector.seen[len(masks)], upscale))
            done(1)
        return torch.stack(images), torch.stack(masks)


class Remembering:
    """The default detector, which remembers what it saw in each photo."""

    def __init__(self) -> None:
        self.detector, self.seen = CenterFace(), list[Faces]()

    def __call__(self, rgb: np.ndarray) -> Faces:
        self.seen.append(self.detector(rgb))
        return self.seen[-1]


class White(Restorer):
    """Paints every face white, so that what is pasted onto black is its mask."""

    resolution = 256

    def restore(self, lq: Tensor, *asked: Any, **named: Any) -> Tensor:
        return torch.ones_like(lq)


def mask_of(result: Restored, seen: Faces, upscale: int) -> Tensor:
    """Where restored faces were pasted (H, W): 1 inside of them, less towards their borders."""
    restored = np.array([face.outcome is Outcome.RESTORED for face in result.faces], bool)
    black, given = np.zeros_like(result.photo.pixels), GivenFaces(seen.landmarks[restored], seen.boxes[restored])
    wanted = {"min_face": 0, "colour": "model", "upscale": upscale}
    [mask] = restore_photos([black], White(), detector=given, **wanted)
    return torch.tensor(mask.pixels[..., 0])


def in_models(name: str) -> str:
    """The path of a file of that name in ComfyUI's folder for face restorers, else the name as it is."""
    try:
        import folder_paths
    except ImportError:
        return name
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    return folder_paths.get_full_path(FOLDER, name) or name


def device() -> torch.device:
    """The one that ComfyUI uses; outside of it the best that there is."""
    try:
        from comfy.model_management import get_torch_device
    except ImportError:
        return default_device()
    return get_torch_device()


def progress(total: int) -> Callable[[int], object]:
    """Moves ComfyUI's progress bar; nothing outside of it."""
    try:
        from comfy.utils import ProgressBar
    except ImportError:
        return lambda count: None
    return ProgressBar(total).update
