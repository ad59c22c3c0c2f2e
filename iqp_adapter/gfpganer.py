"""`FaceEnhancer`: the shape of gfpgan's GFPGANer, so that a program built on it changes one import and gets the dial.

    from iqp_adapter.gfpganer import FaceEnhancer as GFPGANer

Neither gfpgan nor facexlib is needed, but for models whose class gfpgan holds. Source of arguments and returns:
`gfpgan/utils.py` of gfpgan 1.3.8. Differs: faces are found by a detector whose weights are installed, cut out without
aliasing and pasted back as `photo` does it; StyleGAN's noise is the file's own, so that two calls give the same
picture; a face that cannot be restored is an error, and not handed back as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .core.device import device_of
from .core.quality import OWN
from .hosts.registry import published
from .loader import load
from .photo.batch import FaceBatch
from .photo.canvas import canvas_of
from .photo.centerface import CenterFace
from .photo.detect import Detector, Faces
from .photo.faces import Face, faces_of
from .photo.options import Options
from .photo.paste import enlarge
from .pictures import as_pixels, eight_bit, open_photo
from .store.fetch import WeightFile, fetch

SIDE = 512
"""Of the faces that are handed out, in pixels."""

EYES = 5
"""Pixels between the eyes of the smallest face that is restored."""

KINDS = {"clean": None, "original": None, "RestoreFormer": "restoreformer"}
"""Of the archs of GFPGANer, the kind of host where it has to be told; the keys of a file tell the others."""

FACTORS = (1, 2, 4)
"""By which a photo is enlarged before faces are pasted; for another scale the whole is resized then."""


class FaceEnhancer:
    """Restores the faces of pictures as OpenCV reads them, with GFPGANer's arguments and returns.

    Args:
        model_path: a weight file, its https address, or anything else that `iqp_adapter.load` takes ("tiny").
        upscale: size of the whole result in units of the photo's, any positive number.
        arch: "clean", "original" or "RestoreFormer". The keys of a file tell the first two apart.
        channel_multiplier: read off the file's shapes; taken so that calls stay as they are.
        bg_upsampler: enlarges the rest of the photo, by `enhance(bgr, outscale=factor)[0]`, as Real-ESRGAN's does.
        device: where the model runs; by default on the accelerator that there is.
        adapter: folder or Hub id of a trained adapter for the model.
        quality: of every call: a number in [0, 1], "best", "any" or None; without it the model's own.
        detector: finds the faces; `photo.CenterFace()` by default.

    Attributes:
        gfpgan: the restorer, whose `quality` may be set.

    Raises:
        ValueError: for an unknown arch, a scale that is not positive, and what `load` refuses.
        OSError, ImportError: as `load`.
    """

    def __init__(
        self,
        model_path: Any,
        upscale: float = 2,
        arch: str = "clean",
        channel_multiplier: int = 2,
        bg_upsampler: Any = None,
        device: torch.device | str | None = None,
        *,
        adapter: str | Path | None = None,
        quality: Any = OWN,
        detector: Detector | None = None,
    ) -> None:
        if not upscale > 0:
            raise ValueError(f"upscale is {upscale!r}, expected a positive number, such as 2")
        self.upscale = upscale
        self.bg_upsampler = bg_upsampler
        self.device = device_of(device)
        self.gfpgan = load(_source(model_path), adapter=adapter, device=self.device, **_kind(arch))
        self.quality = quality
        self.detector = detector or CenterFace()

    @torch.no_grad()
    def enhance(
        self,
        img: Any,
        has_aligned: bool = False,
        only_center_face: bool = False,
        paste_back: bool = True,
        weight: float | None = 0.5,
    ) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray | None]:
        """Restores the faces of a picture.

        Args:
            img: BGR (H, W, 3), grey (H, W) or BGRA (H, W, 4), uint8 or uint16; or the path of a file. Alpha is dropped.
            has_aligned: the picture is one aligned face, which is resized to 512 x 512.
            only_center_face: restores the face nearest to the picture's middle alone.
            paste_back: pastes the faces into the picture; not where it is aligned.
            weight: the model's fidelity, from 0 (detail) to 1 (likeness), where it has one, as CodeFormer; None is the
                model's own. GFPGAN has none, and gives the same for every weight.

        Returns:
            The faces as they were cut out, and as they were restored, each uint8 BGR (512, 512, 3); and the whole
            picture, uint8 BGR (int(H * upscale), int(W * upscale), 3), or None where nothing is pasted.

        Raises:
            RuntimeError: where a face cannot be restored.
            TypeError, ValueError, OSError: for what is no picture.
        """
        pixels = _rgb(img)
        options = self._options(has_aligned, weight)
        if has_aligned:
            faces = faces_of(_resized(pixels, (SIDE, SIDE)), options, None, SIDE)
        else:
            faces = faces_of(pixels, options, self._seen(pixels, only_center_face), SIDE)
        faces = [face for face in faces if face.crop is not None]
        cropped = [_bgr(as_pixels(face.crop)) for face in faces if face.crop is not None]
        self._restore(faces, options)
        restored = [_bgr(eight_bit(face.restored)) for face in faces if face.restored is not None]
        pasted = self._pasted(pixels, faces, options) if paste_back and not has_aligned else None
        return cropped, restored, pasted

    def _options(self, aligned: bool, weight: float | None) -> Options:
        """As GFPGANer restores: every face, in the colours that the model gives it."""
        return Options(
            quality=self.gfpgan.quality if self.quality is OWN else self.quality,
            fidelity=None if self.gfpgan.own_fidelity is None else weight,
            colour="model",
            min_face=0,
            force=True,
            aligned=aligned,
            upscale=next((factor for factor in FACTORS if factor >= self.upscale), FACTORS[-1]),
        )

    def _seen(self, pixels: np.ndarray, only_center_face: bool) -> Faces:
        seen = self.detector(pixels)
        seen = seen.take(np.linalg.norm(seen.landmarks[:, 0] - seen.landmarks[:, 1], axis=-1) >= EYES)
        if not only_center_face or not len(seen.boxes):
            return seen
        middles = seen.boxes.reshape(-1, 2, 2).mean(1)  # (N, 4) -> (N, 2)
        off = np.linalg.norm(middles - np.array(pixels.shape[1::-1]) / 2, axis=-1)
        return seen.take(np.array([off.argmin()]))

    def _restore(self, faces: Sequence[Face], options: Options) -> None:
        batch = FaceBatch(self.gfpgan, options)
        for start in range(0, len(faces), batch.size):
            batch.restore(faces[start : start + batch.size])
        if failed := [f"face {face.index}: {face.why}" for face in faces if face.restored is None]:
            raise RuntimeError("; ".join(failed))

    def _pasted(self, pixels: np.ndarray, faces: Sequence[Face], options: Options) -> np.ndarray:
        canvas = canvas_of(pixels, faces, options, self._enlarged)
        height, width = (int(side * self.upscale) for side in pixels.shape[:2])
        return _bgr(_resized(canvas, (max(1, width), max(1, height))))

    def _enlarged(self, pixels: np.ndarray, factor: int) -> np.ndarray:
        if self.bg_upsampler is None:
            return enlarge(pixels, factor)
        made = self.bg_upsampler.enhance(_bgr(pixels), outscale=factor)[0]
        return _bgr(_resized(made, (pixels.shape[1] * factor, pixels.shape[0] * factor)))


def _kind(arch: str) -> dict[str, Any]:
    """What `load` is told of a host of that arch."""
    if arch == "bilinear":
        raise ValueError(
            "no file tells arch 'bilinear' from 'original'; build GFPGANBilinear with its weights, and give the "
            "instance as model_path"
        )
    if arch not in KINDS:
        raise ValueError(f"unknown arch {arch!r}; known: {', '.join(KINDS)}")
    kind = KINDS[arch]
    return {} if kind is None else {"kind": kind}


def _source(model_path: Any) -> Any:
    """The path of what an address names, which is fetched once; anything else is left to `load`."""
    if not isinstance(model_path, str) or not model_path.startswith("https://"):
        return model_path
    known = {file.url: file for file in published().values()}
    return fetch(known.get(model_path) or WeightFile(model_path, licence="not known here"))


def _rgb(img: Any) -> np.ndarray:
    """What GFPGANer takes -> (H, W, 3) uint8 RGB."""
    if img is None:
        raise TypeError("the picture is None, as cv2.imread gives where it cannot read a file; check its path")
    pixels = eight_bit(open_photo(img).pixels)
    return pixels if isinstance(img, (str, Path)) else _bgr(pixels)


def _bgr(pixels: np.ndarray) -> np.ndarray:
    """RGB (H, W, 3) -> BGR, and back."""
    return np.ascontiguousarray(pixels[..., ::-1])


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels (H, W, 3) at another size (width, height), as OpenCV resizes by default."""
    import cv2

    return pixels if pixels.shape[1::-1] == size else cv2.resize(pixels, size)
