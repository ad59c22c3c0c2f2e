"""Who judges a restoration, and how sure we may be: metrics as data, with what they were trained on, and intervals."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

Scores = dict[str, np.ndarray]
"""One value per picture (N,) by the name of the judge."""


class Measure(NamedTuple):
    """A judge at work: restored and original pictures (B, 3, H, W) in [0, 1] -> (B,), and what names its numbers."""

    protocol: str
    values: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Judge:
    """One way of judging.

    Attributes:
        lower_better: True where a lower value is a better picture.
        load: builds it, on the CPU, so that numbers do not depend on the accelerator.
        trained_on: why its verdict is not independent: it shares a backbone or a target with a loss or the scorer.
        needs: modules of the optional extra without which it is skipped.
    """

    lower_better: bool
    load: Callable[[], Measure]
    trained_on: str = ""
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        return [module for module in self.needs if find_spec(module) is None]


def no_reference(metric: str, side: int | None = None) -> Measure:
    """A metric of `Scorer`; with `side`, pictures are first enlarged to it (bicubic)."""
    from iqp_adapter.scorer import Scorer

    scorer = Scorer(metric, device="cpu")
    protocol = scorer.protocol if side is None else f"{scorer.protocol}@{side}px"
    return Measure(protocol, lambda restored, original: scorer(_enlarged(restored, side)))


def full_reference(metric: str) -> Measure:
    """A metric of pyiqa that compares with the original."""
    from iqp_adapter.compat import make_importable

    make_importable()
    import pyiqa

    model = pyiqa.create_metric(metric, device="cpu")
    return Measure(
        f"pyiqa-{pyiqa.__version__}/{metric}", lambda restored, original: model(restored, original).flatten()
    )


def perceptual(variant: str) -> Measure:
    """`PerceptualDistance` on the features of an EfficientNet-Lite."""
    from iqp_adapter.backbones import efficientnet_lite
    from iqp_adapter.training.losses import PerceptualDistance

    return Measure(f"unit-feature distance/{variant}", PerceptualDistance(efficientnet_lite(variant)).between)


def identity() -> Measure:
    """Distance of two faces to dlib's face recognition network: 0 is the same picture, above 0.6 is another person."""
    from iqp_adapter.photo.identity import DlibIdentity

    embed = Remembered(DlibIdentity())
    return Measure(
        "dlib_face_recognition_resnet_model_v1, template crop",
        lambda restored, original: torch.linalg.vector_norm(embed(restored) - embed(original), dim=1),
    )


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


JUDGES: dict[str, Judge] = {
    "iqp-lite": Judge(False, partial(no_reference, "iqp-lite"), trained_on="it is the condition and stage 3's aim"),
    "niqe": Judge(True, partial(no_reference, "niqe")),
    "niqe@512": Judge(True, partial(no_reference, "niqe", 512)),
    "piqe": Judge(True, partial(no_reference, "piqe")),
    "piqe@512": Judge(True, partial(no_reference, "piqe", 512)),
    "psnr": Judge(False, partial(full_reference, "psnr"), trained_on="a loss is the difference of pixels"),
    "ssim": Judge(False, partial(full_reference, "ssim")),
    "fsim": Judge(False, partial(full_reference, "fsim")),
    "vsi": Judge(False, partial(full_reference, "vsi")),
    "gmsd": Judge(True, partial(full_reference, "gmsd")),
    "perceptual-lite2": Judge(True, partial(perceptual, "lite2")),
    "identity": Judge(True, identity, needs=("dlib", "openpibo_dlib_models")),
    "perceptual-lite0": Judge(True, partial(perceptual, "lite0"), trained_on="it is the perceptual loss"),
    "vif": Judge(False, partial(full_reference, "vif"), trained_on="iqp-lite learned from it"),
    "nlpd": Judge(True, partial(full_reference, "nlpd"), trained_on="iqp-lite learned from it"),
}
"""NIQE and PIQE are also asked about pictures enlarged to 512 px: at 256 px NIQE sees four blocks only."""


class Panel:
    """The judges of one benchmark; those whose extra is not installed are left out and named in `skipped`.

    Attributes:
        judges: by name.
        skipped: name -> why.
        seconds: spent by each judge so far.
    """

    def __init__(self, names: Sequence[str]) -> None:
        wanted = {name: JUDGES[name] for name in names}
        self.skipped = {n: f"{', '.join(j.missing)} not installed" for n, j in wanted.items() if j.missing}
        self.judges = {name: judge for name, judge in wanted.items() if not judge.missing}
        self.seconds = dict.fromkeys(self.judges, 0.0)
        self._measures = {name: judge.load() for name, judge in self.judges.items()}

    @torch.no_grad()
    def __call__(self, restored: Tensor, original: Tensor, only: Sequence[str] = (), batch: int = 10) -> Scores:
        """Restored and original pictures (N, 3, H, W) in [0, 1] -> (N,) by every judge, or by those named."""
        pairs = list(zip(restored.cpu().split(batch), original.cpu().split(batch), strict=True))
        scores = {}
        for name in [name for name in self.judges if not only or name in only]:
            started = time.perf_counter()
            scores[name] = torch.cat([self._measures[name].values(*pair) for pair in pairs]).double().numpy()
            self.seconds[name] += time.perf_counter() - started
        return scores

    def gain(self, name: str, better: np.ndarray, worse: np.ndarray) -> np.ndarray:
        """By how much the first values beat the second ones, positive where they do, whatever the judge's direction."""
        return worse - better if self.judges[name].lower_better else better - worse

    def label(self, name: str) -> str:
        """Name, direction and, as a dagger, that it was trained on."""
        judge = self.judges[name]
        return f"{name} {'↓' if judge.lower_better else '↑'}{' †' if judge.trained_on else ''}"

    def describe(self) -> dict[str, Any]:
        """Everything about the judges that a reader of their numbers should know, ready for JSON."""
        return {
            name: {
                "better": "lower" if judge.lower_better else "higher",
                "trained_on": judge.trained_on or None,
                "protocol": self._measures[name].protocol,
                "seconds": self.seconds[name],
            }
            for name, judge in self.judges.items()
        } | {name: {"skipped": reason} for name, reason in self.skipped.items()}


class Interval(NamedTuple):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}]"


class People:
    """Draws people with replacement, with all their pictures: pictures of one person are no independent evidence.

    Args:
        people: who is on each picture (N,).
        draws: number of resamples.
        seed: of the draws; equal people and seeds resample alike, so that differences are paired.

    Raises:
        ValueError: when there is only one person.
    """

    def __init__(self, people: Sequence[str], draws: int = 10_000, seed: int = 0) -> None:
        names, owner = np.unique(people, return_inverse=True)
        if len(names) < 2:
            raise ValueError(f"all pictures show {names[0]}; an interval over people needs two or more")
        self.names: list[str] = names.tolist()
        self._shows = np.eye(len(names))[owner]  # (N, P)
        self._drawn = np.random.default_rng(seed).multinomial(
            len(names), [1 / len(names)] * len(names), draws
        )  # (D, P)

    def means(self, values: np.ndarray) -> np.ndarray:
        """Values (..., N) -> their mean in every resample (..., D)."""
        return values @ self._shows @ self._drawn.T / (self._drawn @ self._shows.sum(0))

    def interval(self, values: np.ndarray) -> Interval:
        """Mean of the values (N,) and its 95 % interval."""
        return interval(float(np.mean(values)), self.means(values))


def interval(estimate: float, resampled: np.ndarray) -> Interval:
    """An estimate with the middle 95 % of its resamples (D,)."""
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Interval(estimate, float(low), float(high))


def spearman(values: np.ndarray) -> np.ndarray:
    """Rank correlation of values (L, ...) with the order of their levels -> (...), in [-1, 1]; 0 where all tie."""
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=0)
    ranks = ranks - ranks.mean(0)
    levels = np.arange(len(values)) - (len(values) - 1) / 2
    norm = np.linalg.norm(ranks, axis=0) * np.linalg.norm(levels)
    return np.tensordot(levels, ranks, 1) / np.maximum(norm, 1e-12)


def person_of(path: Path) -> str:
    """Who is on a picture, by its name: `<person>_<take>`, as in `london_009_03`."""
    return path.stem.rpartition("_")[0] or path.stem


def _enlarged(images: Tensor, side: int | None) -> Tensor:
    if side is None:
        return images
    return interpolate(images, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
