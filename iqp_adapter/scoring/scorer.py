"""Raw scores of images by the metrics of this project, which need no download, and by those of pyiqa."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..core.device import device_of
from ..core.metrics import (
    LITE,
    NEWEST,
    canonical,
    family,
    members,
    refuse_judges,
    refuse_uncomputed,
    refuse_unknown_version,
    versions,
)
from ..core.quality import ScoreScale
from ..pictures import check_images
from ..store.words import in_short
from . import ensemble, own, pyiqa_metrics, tiles
from .metric import Metric
from .pyiqa_metrics import first_line


class Scorer:
    """Scores every image of a batch by one metric, in the metric's own range and direction.

    A scorer is not a module, so that its weights never appear in the parameters or the `state_dict` of a module that
    holds it. The score of an image does not depend on the rest of the batch. Scores have gradients unless the caller
    is inside `torch.no_grad()`.

    Any height and width is taken. NIQE counts whole blocks of 96 pixels and leaves out up to 95 rows below and columns
    to the right; PIQE rounds both sides to multiples of 16, by mirroring or leaving out up to 8 pixels. Without
    gradients, memory is bounded by that of 2 megapixels and the images themselves: more are scored one after the other,
    and larger ones in tiles where the metric is `tiled`.

    Attributes:
        metric: its canonical name: "iqp-lite" is there with its version, as "iqp-lite@1".
        lower_better: True if a lower score means a better image (NIQE, PIQE).
        protocol: metric, version and weights in one word; scores of equal protocols are comparable.
        earlier: protocols of earlier versions of the metric.
        scales: the metric's own score scales, which turn scores into quality, by the set of pictures that each was
            fitted on; empty where it has none.
        default_scale: the one of them that is used where none is named; None where one has to be named.
        member_scales: of an ensemble, the scales of its members, where they are not those that the library stores.
        tiled: whether it takes large pictures in tiles, with the same score in little memory.
        differentiable: whether the score has a gradient to the image.
        smallest: side in pixels below which an image has no score.
        side: pixels to which the shorter side of larger images is reduced first; None scores them as they are.
        device: where the metric runs; scores are returned on the device of the images.

    Args:
        metric: "iqp-lite" or "iqp-colour" (0 to 100, higher is better), which mean their newest version, one version
            as "iqp-lite@1", or a metric of pyiqa; see `Scorer.available()`. Or an ensemble of them,
            "mean(niqe, piqe, iqp-lite)": every member's score becomes quality on its score scale, whatever its
            direction, and 100 times their mean is the score (0 to 100, higher is better). Where a member leaves its
            scale it stays at the end, and its gradient is zero. "minmax-mean(niqe, piqe, iqp-lite)" takes of each scale
            only the worst and the best score, and the place between them in place of the quality.
        device: where to run, by default the accelerator, else the CPU. Metrics in float64 use the CPU instead of MPS.
        weights: a local weight file of the metric (a folder for those of this project) that replaces the published
            one. Files that contain code are refused.
        scales: for an ensemble, score scales by the names of members, in place of those that the library stores. A
            single member counts by minimum and maximum if it has a scale of two knots, as `ScoreScale.ends` gives.
        side: pixels; images whose shorter side is longer are reduced to it, by areas, before they are scored.
        options: arguments of pyiqa's network, such as `color_space="ycbcr"` for NIQE.

    Raises:
        ValueError: for an unknown name, for options, weights or scales that the metric does not take, for a member
            without a score scale, and for a device that this machine does not have.
        OSError: if weights cannot be fetched; the message says which, where to put them, and how to use a mirror.
        ModuleNotFoundError: if a package that the metric needs is missing.
    """

    def __init__(
        self,
        metric: str = LITE,
        *,
        device: torch.device | str | None = None,
        weights: str | Path | None = None,
        scales: Mapping[str, ScoreScale] | None = None,
        side: int | None = None,
        **options: Any,
    ) -> None:
        place, path = device_of(device), None if weights is None else Path(weights)
        built = _built(metric, path, scales or {}, options)
        self.side, seen = side, "" if side is None else f"/{side} px"
        self.metric, self.protocol = built.name, built.protocol + seen
        self.earlier = tuple(protocol + seen for protocol in built.earlier)
        self.scales, self.default_scale, self.member_scales = built.scales, built.default_scale, built.member_scales
        self.lower_better, self.tiled, self.differentiable = built.lower_better, built.tiled, built.differentiable
        self.smallest, self._float64 = built.smallest, built.float64
        self._network = built.network.requires_grad_(False).eval()
        self.to(place)

    def __repr__(self) -> str:
        return f"Scorer({self.protocol}, {'lower' if self.lower_better else 'higher'} is better, on {self.device})"

    @classmethod
    def of(cls, scale: ScoreScale, device: torch.device | str | None = None) -> Scorer:
        """The scorer whose scores a score scale is of, on the scales that it keeps of its members and at its side.

        Raises:
            ValueError, OSError, ModuleNotFoundError: as `Scorer`.
        """
        members = {member.metric: member for member in scale.members}
        return cls(scale.metric, device=device, scales=members, side=scale.side)

    @staticmethod
    def available() -> list[str]:
        """The names of all metrics, those of this project first, with every version of them."""
        return [*NEWEST, *(version for name in NEWEST for version in versions(name)), *pyiqa_metrics.names()]

    def to(self, device: torch.device | str) -> Scorer:
        """Moves the metric; returns the scorer itself."""
        device = device_of(device)
        if device.type == "mps" and self._float64:
            device = torch.device("cpu")
        self.device = device
        self._network.to(device)
        return self

    def __call__(self, images: Tensor) -> Tensor:
        """
        Args:
            images: (B, 3, H, W) RGB in [0, 1].

        Returns:
            (B,) raw scores, float32, on the device of the images.

        Raises:
            TypeError: for what is no tensor.
            ValueError: for another shape or range, for images too small or too plain to have a score, and where memory
                does not suffice.
        """
        self._check(images)
        images = self._at_side(images)
        together = max(1, tiles.WHOLE // images[0, 0].numel())
        scores = torch.cat([self._scores(part) for part in images.split(together)]).to(images.device, torch.float32)
        if not scores.isfinite().all():
            worst = int(scores.isfinite().logical_not().nonzero()[0])
            which = f"image {worst} of the batch" if len(images) > 1 else "this image"
            raise ValueError(f"{self.metric} has no score for {which}; is it constant?")
        return scores

    def _at_side(self, images: Tensor) -> Tensor:
        """The images, smaller where they are larger than the side at which they are scored."""
        shorter = min(images.shape[2:])
        if self.side is None or shorter <= self.side:
            return images
        return interpolate(images, [round(each * self.side / shorter) for each in images.shape[2:]], mode="area")

    def _scores(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B,), as the network gives them."""
        try:
            with _repeatable(self.device), torch.set_grad_enabled(torch.is_grad_enabled() and self.differentiable):
                scores = self._network(self._ready(images.to(self.device, torch.float32)))
        except torch.linalg.LinAlgError as error:
            raise ValueError(f"{self.metric} has no score for a constant image; leave it out") from error
        except Exception as error:  # whatever a network does, be it another package's
            height, width = images.shape[2:]
            raise ValueError(f"{self.metric} has no score for {height} x {width} images: {_reason(error)}") from error
        if not isinstance(scores, Tensor) or scores.is_complex() or scores.numel() != len(images):
            given = f"a tensor {tuple(scores.shape)}" if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
            raise TypeError(f"{self.metric} gives {given} for {len(images)} images, expected a score for each")
        return scores.reshape(len(images))  # (B,), (B, 1), (B, 1, 1) or () -> (B,)

    def _ready(self, images: Tensor) -> Tensor:
        """The pixels in [0, 1]; what is read in tiles gets there tile by tile, without a copy of the whole."""
        return images if self.tiled and tiles.is_large(images) else images.clamp(0, 1).contiguous()

    def _check(self, images: Tensor) -> None:
        if not isinstance(images, Tensor):
            raise TypeError(f"images are a {type(images).__name__}, expected a tensor (B, 3, H, W) in [0, 1]")
        check_images(images)
        height, width = images.shape[2:]
        if min(height, width) < self.smallest:
            raise ValueError(f"images are {height} x {width}, {self.metric} needs {self.smallest} a side; enlarge them")


def reward_of(metric: str | Scorer, device: torch.device | str, *, differentiable: bool) -> Callable[[Tensor], Tensor]:
    """A metric as a reward: images (B, 3, H, W) -> (B,), higher is better whatever the metric's own direction.

    Raises:
        ValueError: if the reward has to be differentiable and the metric is not, and for a metric that only judges.
    """
    refuse_judges(metric if isinstance(metric, str) else metric.metric)
    scorer = Scorer(metric, device=device) if isinstance(metric, str) else metric
    if differentiable and not scorer.differentiable:
        raise ValueError(f"{scorer.metric} has no gradient and cannot be optimised; use 'iqp-lite' or 'niqe'")
    sign = -1.0 if scorer.lower_better else 1.0
    return lambda images: sign * scorer(images)


def _built(metric: str, weights: Path | None, scales: Mapping[str, ScoreScale], options: dict[str, Any]) -> Metric:
    name = canonical(metric) if isinstance(metric, str) else _known(metric)
    refuse_uncomputed(name)
    if parts := members(name):
        if weights or options:
            raise ValueError(f"{name} takes neither weights nor options; they belong to one metric")
        return ensemble.build(name, [Scorer(part, device="cpu") for part in parts], scales)
    if scales:
        raise ValueError(f"{name} takes no scales, which are for the members of an ensemble, like 'mean(niqe, piqe)'")
    if family(name) in NEWEST:
        return own.build(name, weights, options)
    return pyiqa_metrics.build(_known(name), weights, options)


def refuse_unknown(metric: str) -> None:
    """Asks whether there is a metric of that name, and every member of an ensemble, without building any.

    Raises:
        ValueError: names the nearest.
    """
    for name in members(metric) or (metric,):
        if family(name) in NEWEST:
            refuse_unknown_version(name)
        else:
            _known(name)


def _known(metric: str) -> str:
    names = Scorer.available()
    if metric not in names:
        near = get_close_matches(str(metric), names, n=3, cutoff=0.4) or names[:3]
        raise ValueError(f"unknown metric {metric!r:.80}; nearest: {', '.join(near)}; Scorer.available() lists all")
    return metric


def _reason(error: Exception) -> str:
    """What an error says in its first line, with its kind where that says more."""
    line = first_line(error)
    if line and line.isprintable() and isinstance(error, (RuntimeError, ValueError)):
        return line
    return f"{type(error).__name__}: {in_short(line)}" if line else type(error).__name__


@contextlib.contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """Makes scores independent of the caller's autocast and cuDNN settings; TF32 would move PIQE by 2 points."""
    cudnn = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with cudnn, torch.autocast(device.type, enabled=False):
        yield
