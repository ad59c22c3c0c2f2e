"""Metrics as protocols: an id that pins all that a number depends on, what it needs, and how to build it.

An id reads `metric/variant@preprocessing`: `niqe/basicsr@512` is NIQE with the parameters of basicsr on pictures that
were enlarged to 512 px, `deg/arcface-r18@vqfr` the angle to the original as VQFR's evaluation code computes it. Numbers
of different ids are never comparable, whatever their names have in common.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..store.fetch import FOLDER, WeightFile, fetch, folders

Kind = Literal["no-reference", "reference", "input", "set"]
"""What a picture is compared with: nothing, its original, the degraded input, or all pictures with a population."""

OTHER_PERSON = 0.6
"""Distance of dlib's embeddings above which two faces are of two people, by dlib's own documentation."""


class Measure(NamedTuple):
    """A protocol at work: pictures (B, 3, H, W) in [0, 1] with what they are compared with, and their names -> (B,).

    `protocol` names library, version and weights. A NaN stands where the protocol gives a picture no value.
    """

    protocol: str
    values: Callable[[Tensor, Tensor, Sequence[str]], Tensor]


Moments = tuple[np.ndarray, np.ndarray]
"""Mean (D,) and covariance (D, D) of features."""


class SetMeasure(NamedTuple):
    """A protocol over a whole set: the Fréchet distance of features to those of a population.

    Attributes:
        features: of pictures (B, 3, H, W) -> (B, D).
        reference: of the population; None takes the originals of the test pictures.
        first: so many pictures are looked at; None for all.
    """

    protocol: str
    features: Callable[[Tensor], Tensor]
    reference: Moments | None = None
    first: int | None = None


@dataclass(frozen=True)
class Download:
    """A file that a protocol needs and no package holds.

    Attributes:
        name: of the file.
        page: where a person finds it.
        file: how it is fetched without a person; None where that is not possible.
    """

    name: str
    page: str
    file: WeightFile | None = None

    def path(self) -> Path:
        """Where it is, fetched once.

        Raises:
            OSError: where it is nowhere here and can not be fetched; says what to do.
        """
        found = next((folder / self.name for folder in folders() if (folder / self.name).is_file()), None)
        if found:
            return found
        if self.file:
            return fetch(self.file)
        raise OSError(f"needs {self.name} from {self.page}; put it into a folder and set {FOLDER} to that")


@dataclass(frozen=True)
class Protocol:
    """One way of judging.

    Attributes:
        id: `metric/variant@preprocessing`.
        lower_better: True where a lower value is a better picture.
        kind: what pictures are compared with.
        load: (device, files) -> the measure; the files are those of `download`, or one of the user's.
        needs: modules of optional extras without which it is skipped.
        download: files that it needs. Those of pyiqa's metrics are fetched by pyiqa, and are not listed.
        trained_on: why its verdict is not independent: it shares a backbone or a target with a loss or the scorer.
        note: preprocessing, reference, units, and where it differs from its source.
    """

    id: str
    lower_better: bool
    kind: Kind
    load: Callable[[torch.device, Sequence[Path]], Measure | SetMeasure]
    needs: tuple[str, ...] = ()
    download: tuple[Download, ...] = ()
    trained_on: str = ""
    note: str = ""

    @property
    def metric(self) -> str:
        """The family: NIQE is NIQE, on whatever pictures."""
        return self.id.split("/")[0].split("@")[0]

    @property
    def label(self) -> str:
        return self.id.removesuffix("@native")

    @property
    def missing(self) -> list[str]:
        return [module for module in self.needs if find_spec(module) is None]

    def files(self, given: Sequence[Path] = ()) -> list[Path]:
        """What `load` is to read: the user's files, else the published ones.

        Raises:
            ModuleNotFoundError: where an extra is not installed.
            OSError: where a file can not be had.
        """
        if self.missing:
            raise ModuleNotFoundError(f"{', '.join(self.missing)} not installed")
        return list(given) or [download.path() for download in self.download]


def no_reference(metric: str, side: int | None, device: torch.device, files: Sequence[Path]) -> Measure:
    """A metric of `Scorer`; with `side`, pictures are first resized to it (bicubic)."""
    from ..scoring.scorer import Scorer

    scorer = Scorer(metric, device=device, weights=files[0] if files else None)
    protocol = scorer.protocol if side is None else f"{scorer.protocol}@{side}px"
    return Measure(protocol, lambda restored, *_: scorer(_resized(restored, side)))


def full_reference(metric: str, side: int | None, device: torch.device, files: Sequence[Path]) -> Measure:
    """A metric of pyiqa that compares with the original."""
    from ..scoring.pyiqa_metrics import build

    built = build(metric, files[0] if files else None, {})
    network = built.network.requires_grad_(False).eval().to(device)

    def values(restored: Tensor, original: Tensor, names: Sequence[str] = ()) -> Tensor:
        pair = (_resized(restored, side).to(device), _resized(original, side).to(device))
        return network(*pair).flatten().cpu()

    return Measure(built.protocol if side is None else f"{built.protocol}@{side}px", values)


def perceptual(variant: str, device: torch.device, files: Sequence[Path]) -> Measure:
    """`PerceptualDistance` on the features of an EfficientNet-Lite."""
    from ..scoring.backbones import efficientnet_lite
    from ..scoring.perceptual import PerceptualDistance

    between = PerceptualDistance(efficientnet_lite(variant)).to(device).between
    return Measure(
        f"unit-feature distance/{variant}",
        lambda restored, original, *_: between(restored.to(device), original.to(device)).cpu(),
    )


def identity(device: torch.device, files: Sequence[Path]) -> Measure:
    """Distance of two faces to dlib's face recognition network: 0 is the same picture, above 0.6 is another person."""
    from ..photo.identity import DlibIdentity

    embed = Remembered(DlibIdentity())
    return Measure(
        "dlib_face_recognition_resnet_model_v1, template crop",
        lambda restored, original, *_: torch.linalg.vector_norm(embed(restored) - embed(original), dim=1),
    )


def colour_difference(device: torch.device, files: Sequence[Path]) -> Measure:
    from .colour import ciede2000

    return Measure("CIEDE2000 by scikit-image", lambda restored, original, *_: ciede2000(restored, original))


def colour(measure: str, device: torch.device, files: Sequence[Path]) -> Measure:
    """A function of `bench.colour` that needs no original."""
    from . import colour

    of = getattr(colour, measure)
    return Measure(measure, lambda restored, *_: of(restored))


class Remembered:
    """Embeds a picture once: originals come back for every degradation and every method.

    Args:
        embed: pictures (B, 3, H, W) -> vectors (B, D).
    """

    def __init__(self, embed: Callable[[Tensor], Tensor]) -> None:
        self._embed = embed
        self._known: dict[bytes, Tensor] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) -> vectors (B, D)."""
        keys = [hashlib.sha256(image.contiguous().numpy().tobytes()).digest() for image in images]
        new = {key: image for key, image in zip(keys, images, strict=True) if key not in self._known}
        if new:
            self._known.update(zip(new, self._embed(torch.stack(list(new.values()))), strict=True))
        return torch.stack([self._known[key] for key in keys])


def _deg(device: torch.device, files: Sequence[Path]) -> Measure:
    from .faces import degrees

    return degrees(files[0], device)


def _idd(device: torch.device, files: Sequence[Path]) -> Measure:
    from .faces import radians

    return radians(files[0], device)


def _lmd(device: torch.device, files: Sequence[Path]) -> Measure:
    from .faces import landmark_distance

    return landmark_distance(files[0], device)


def _adaface(device: torch.device, files: Sequence[Path]) -> Measure:
    from .faces import likeness

    return likeness(files[0], device, files[1] if len(files) > 1 else None)


def _fid(device: torch.device, files: Sequence[Path]) -> SetMeasure:
    from .frechet import fid

    return fid(files[0], files[1], device)


def _frechet(device: torch.device, files: Sequence[Path]) -> SetMeasure:
    from .frechet import to_originals

    return to_originals(device)


_DRIVE = "https://drive.google.com/drive/folders/1k3RCSliF6PsujCMIdCD1hNM63EozlDIZ"
_RELEASES = "https://github.com/{}/releases/download/{}"


def _released(repository: str, path: str, licence: str) -> Download:
    file = WeightFile(_RELEASES.format(repository, path), licence)
    return Download(file.filename, file.url, file)


ARCFACE = _released("TencentARC/GFPGAN", "v0.1.0/arcface_resnet18.pth", "Apache-2.0")
AWING = _released("xinntao/facexlib", "v0.1.0/alignment_WFLW_4HG.pth", "not stated")
INCEPTION = _released("mseitzer/pytorch-fid", "fid_weights/pt_inception-2015-12-05-6726825d.pth", "Apache-2.0")
VQFR_ARCFACE = Download("resnet18_110.pth", _DRIVE)
FFHQ_512 = Download("inception_FFHQ_512.pth", _DRIVE)
ADAFACE = Download("adaface_ir50_ms1mv2.ckpt", "https://drive.google.com/file/d/1eUaSHG4pGlIZK7hBkqjyp2fc2epKoBvI/view")

_CONDITION = "it is the condition and stage 3's aim"
_TARGET = "iqp-lite learned from it"
_NIQE = "pyiqa's NIQE (YIQ luma, blocks of 96 px) with the official parameters, which basicsr ships"


def _nr(identifier: str, metric: str, lower_better: bool, side: int | None = None, **more: Any) -> Protocol:
    return Protocol(identifier, lower_better, "no-reference", partial(no_reference, metric, side), **more)


def _fr(identifier: str, metric: str, lower_better: bool, **more: Any) -> Protocol:
    return Protocol(identifier, lower_better, "reference", partial(full_reference, metric, None), **more)


def _colour(identifier: str, measure: str, **more: Any) -> Protocol:
    return Protocol(identifier, False, "no-reference", partial(colour, measure), **more)


_DLIB = ("dlib", "openpibo_dlib_models")
_ALL = (
    _nr("iqp-lite@native", "iqp-lite", False, trained_on=_CONDITION),
    _nr("iqp-colour@native", "iqp-colour", False, trained_on=_CONDITION),
    _nr("niqe/basicsr@native", "niqe", True, note=_NIQE),
    _nr("niqe/basicsr@512", "niqe", True, 512, note=f"{_NIQE}; pictures resized to 512 px first (bicubic)"),
    _nr("piqe/pyiqa@native", "piqe", True, note="luma only"),
    _nr("piqe/pyiqa@512", "piqe", True, 512, note="luma only; pictures resized to 512 px first (bicubic)"),
    _nr("musiq/koniq@native", "musiq", False, note="0 to 100"),
    _nr("maniqa/koniq@native", "maniqa", False, note="mean over even crops of 224 px, about 0 to 1"),
    _nr("clipiqa/rn50@native", "clipiqa", False, note="0 to 1"),
    _nr("qalign/one-align@native", "qalign", False, note="1 to 5; a language model of 15 GB"),
    _colour("colourfulness/hasler@native", "colourfulness", note="0 is grey; more is not always better"),
    _colour("uciqe/yang@native", "uciqe", note="CIELab divided by 100"),
    _colour("uiqm/panetta@native", "uiqm", note="blocks of 8 px, ordinary arithmetic in the place of PLIP's"),
    Protocol(
        "ciede2000@native",
        True,
        "reference",
        colour_difference,
        trained_on="iqp-colour learned from it",
        note="mean over pixels, sRGB under D65",
    ),
    _fr("psnr/rgb@native", "psnr", False, trained_on="a loss is the difference of pixels"),
    _fr("psnr/y@native", "psnry", False, trained_on="a loss is the difference of pixels"),
    _fr("ssim/y@native", "ssim", False),
    _fr("ssim/rgb@native", "ssimc", False),
    _fr("fsim/pyiqa@native", "fsim", False),
    _fr("vsi/pyiqa@native", "vsi", False),
    _fr("gmsd/pyiqa@native", "gmsd", True),
    _fr("vif/pyiqa@native", "vif", False, trained_on=_TARGET),
    _fr("nlpd/pyiqa@native", "nlpd", True, trained_on=_TARGET),
    _fr("lpips/alex@native", "lpips", True),
    _fr("lpips/vgg@native", "lpips-vgg", True),
    _fr("dists/pyiqa@native", "dists", True),
    Protocol("perceptual/efficientnet-lite2@native", True, "reference", partial(perceptual, "lite2")),
    Protocol(
        "perceptual/efficientnet-lite0@native",
        True,
        "reference",
        partial(perceptual, "lite0"),
        trained_on="it is the perceptual loss",
    ),
    Protocol(
        "identity/dlib",
        True,
        "reference",
        identity,
        needs=_DLIB,
        note=f"distance to the original, both cut out by the template; above {OTHER_PERSON} it is another person",
    ),
    Protocol(
        "identity/dlib@input",
        True,
        "input",
        identity,
        needs=_DLIB,
        note=f"distance to the degraded input, both cut out by the template; above {OTHER_PERSON} it is another person",
    ),
    Protocol(
        "deg/arcface-r18@vqfr",
        True,
        "reference",
        _deg,
        needs=("gfpgan",),
        download=(VQFR_ARCFACE,),
        note="angle of ArcFace-R18 embeddings in degrees; grey by cv2, 128 px, [-1, 1]; pairs below 1 degree have none",
    ),
    Protocol(
        "idd/arcface-r18@restoreformer++",
        True,
        "reference",
        _idd,
        needs=("gfpgan",),
        download=(ARCFACE,),
        note="the angle in radians; 128 px, [0, 1], grey weights of red and blue swapped, as in the source; none left "
        "out; a missing output is an error, not a 0",
    ),
    Protocol(
        "lmd/awing@vqfr",
        True,
        "reference",
        _lmd,
        needs=("facexlib",),
        download=(AWING,),
        note="mean distance of 98 landmarks (AWing, WFLW) in pixels of the picture",
    ),
    Protocol(
        "identity/adaface-ir50@ntire",
        False,
        "input",
        _adaface,
        download=(ADAFACE,),
        note="cosine of AdaFace IR-50 (MS1MV2) embeddings of input and output, cut out by five landmarks to 112 px, "
        "BGR in [-1, 1]; by the challenge's table of landmarks where it is given as a second file, else the template's",
    ),
    Protocol(
        "fid/vqfr",
        True,
        "set",
        _fid,
        needs=("basicsr",),
        download=(INCEPTION, FFHQ_512),
        note="patched Inception at 299 px, pictures in [-1, 1], statistics of FFHQ at 512 px, the first 3000 pictures; "
        "biased where N is small, so compare at equal N only",
    ),
    Protocol(
        "fd/efficientnet-lite0@originals",
        True,
        "set",
        _frechet,
        note="Fréchet distance of pooled EfficientNet-Lite0 features to those of the originals; no FID, and comparable "
        "within one report only",
        trained_on="its backbone is that of the perceptual loss",
    ),
)

PROTOCOLS: dict[str, Protocol] = {protocol.id: protocol for protocol in _ALL}
"""Every protocol that has been written down, by id; `find` also knows the metrics of pyiqa by their names."""


def _short_names() -> dict[str, str]:
    """`niqe`, `niqe@512`, `niqe/basicsr` -> the first id that they fit."""
    names: dict[str, str] = {}
    for protocol in _ALL:
        where = protocol.id.partition("@")[2]
        for name in (protocol.metric, protocol.label, f"{protocol.metric}@{where}"):
            names.setdefault(name, protocol.id)
    return names


def find(name: str) -> Protocol:
    """The protocol of an id, a short name ("niqe", "niqe@512"), or a metric of pyiqa ("topiq_nr-face", "topiq_nr@512").

    Raises:
        ValueError: for a name that is none of these.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    if name in (short := _short_names()):
        return PROTOCOLS[short[name]]
    metric, _, side = name.partition("@")
    if side in ("", "native") or side.isdigit():
        return _of_pyiqa(metric.removesuffix("/pyiqa"), int(side) if side.isdigit() else None)
    raise ValueError(f"unknown protocol {name!r}; {_nearest(name)}")


def _of_pyiqa(metric: str, side: int | None) -> Protocol:
    from ..compat import make_importable

    make_importable()
    import pyiqa
    from pyiqa.default_model_configs import DEFAULT_CONFIGS

    kinds: dict[str, tuple[Kind, Callable[..., Measure]]]
    kinds = {"NR": ("no-reference", no_reference), "FR": ("reference", full_reference)}
    mode = next((mode for mode in kinds if metric in pyiqa.list_models(mode)), None)
    if mode is None:
        raise ValueError(f"unknown protocol {metric!r}; {_nearest(metric)}")
    kind, load = kinds[mode]
    lower_better = DEFAULT_CONFIGS[metric].get("lower_better", False)
    return Protocol(f"{metric}/pyiqa@{side or 'native'}", lower_better, kind, partial(load, metric, side))


def _nearest(name: str) -> str:
    near = get_close_matches(name, [*PROTOCOLS, *_short_names()], n=3, cutoff=0.4)
    return f"nearest: {', '.join(near)}" if near else f"known are {', '.join(PROTOCOLS)}, and pyiqa's metrics"


def _resized(images: Tensor, side: int | None) -> Tensor:
    if side is None:
        return images
    return interpolate(images, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
