"""Raw scores of images: by two metrics that need no download, and by every no-reference metric of pyiqa."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..store import checkpoint, hub
from ..store.files import sha256_of
from . import pyiqa_metrics
from .lite import IqpLite
from .pyiqa_metrics import Metric

LITE, COLOUR = "iqp-lite", "iqp-colour"
OWN = (LITE, COLOUR)
"""The metrics of this project: how close a face photo is to an undegraded one, and how close its colours are."""

_SMALLEST = dict.fromkeys(OWN, 64) | pyiqa_metrics.SMALLEST


class Scorer:
    """Gives every image of a batch its raw score by one metric, in the metric's own range and direction.

    Not a module: it never trains, and never shows up in the parameters or the `state_dict` of whoever holds it. Every
    image is scored as if it came alone. Gradients follow the caller: on, unless inside `torch.no_grad()`.

    Attributes:
        metric: its name.
        lower_better: True where a lower score is a better image (NIQE, PIQE).
        protocol: metric, version and weights in one word; equal protocols give comparable scores.
        differentiable: whether the score has a gradient to the image; where it has none, it has no graph either.
        device: where the metric runs; images come from and scores go back to their own.

    Args:
        metric: "iqp-lite" or "iqp-colour" (0 to 100, higher is better), or one of pyiqa, see `Scorer.available()`.
        device: where to run, by default the accelerator, else the CPU. Metrics in float64 leave MPS for the CPU.
        weights: a local weight file of the metric (a folder for those of this project) in the place of the published
            one. Files that hold code are refused.
        options: arguments of pyiqa's network, such as `color_space="ycbcr"` for NIQE.

    Raises:
        ValueError: for an unknown name, and for an option or weights that the metric does not take.
        OSError: where weights can not be fetched; says which, where to put them, and how to name a mirror.
        ModuleNotFoundError: where a package that the metric needs is missing.
    """

    def __init__(
        self,
        metric: str = LITE,
        *,
        device: torch.device | str | None = None,
        weights: str | Path | None = None,
        **options: Any,
    ) -> None:
        path = None if weights is None else Path(weights)
        built = _own(metric, path, options) if metric in OWN else pyiqa_metrics.build(_known(metric), path, options)
        self.metric = metric
        self.lower_better = built.lower_better
        self.protocol = built.protocol
        self.differentiable = metric not in pyiqa_metrics.NO_GRADIENT
        self._network = built.network.requires_grad_(False).eval()
        self.to(default_device() if device is None else device)

    def __repr__(self) -> str:
        return f"Scorer({self.protocol}, {'lower' if self.lower_better else 'higher'} is better, on {self.device})"

    @staticmethod
    def available() -> list[str]:
        """All names that `Scorer` takes, those of this project first."""
        return [*OWN, *pyiqa_metrics.names()]

    def to(self, device: torch.device | str) -> Scorer:
        """Moves the metric; returns the scorer itself."""
        device = torch.device(device)
        if device.type == "mps" and self.metric in pyiqa_metrics.NEEDS_FLOAT64:
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
            ValueError: for another shape or range, and for images too small or too plain to have a score.
        """
        self._check(images)
        try:
            with _repeatable(self.device), torch.set_grad_enabled(torch.is_grad_enabled() and self.differentiable):
                scores = self._network(images.to(self.device, torch.float32).clamp(0, 1).contiguous())
        except torch.linalg.LinAlgError as error:
            raise ValueError(f"{self.metric} has no score for a constant image; leave it out") from error
        scores = scores.reshape(len(images))  # (B,), (B, 1), (B, 1, 1) or () -> (B,)
        if not scores.isfinite().all():
            worst = int(scores.isfinite().logical_not().nonzero()[0])
            raise ValueError(f"{self.metric} has no score for image {worst} of the batch; is it constant?")
        return scores.to(images.device, torch.float32)

    def _check(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            given = f"{images.dtype} {tuple(images.shape)}"
            raise ValueError(f"images are {given}, expected float (B, 3, H, W) in [0, 1]; divide 8-bit values by 255")
        height, width = images.shape[2:]
        smallest = _SMALLEST.get(self.metric, 32)
        if min(height, width) < smallest:
            raise ValueError(f"images are {height} x {width}, {self.metric} needs {smallest} a side; enlarge them")
        low, high = (float(bound) for bound in images.detach().aminmax())
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise ValueError(f"images span [{low:.3g}, {high:.3g}], expected [0, 1]; clamp or rescale them")


def reward_of(metric: str | Scorer, device: torch.device | str, *, differentiable: bool) -> Callable[[Tensor], Tensor]:
    """A metric as something to raise: images (B, 3, H, W) -> (B,), higher is better in whichever direction it counts.

    Raises:
        ValueError: where a gradient is asked for that the metric has not.
    """
    scorer = Scorer(metric, device=device) if isinstance(metric, str) else metric
    if differentiable and not scorer.differentiable:
        raise ValueError(f"{scorer.metric} has no gradient and cannot be optimised; use 'iqp-lite' or 'niqe'")
    sign = -1.0 if scorer.lower_better else 1.0
    return lambda images: sign * scorer(images)


def default_device() -> torch.device:
    """The accelerator of this machine (CUDA, MPS, ...), else the CPU."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def _own(metric: str, weights: Path | None, options: dict[str, Any]) -> Metric:
    if options:
        raise ValueError(f"{metric} takes no options, got {', '.join(options)}")
    config, state = checkpoint.load(weights or hub.BUILTIN / metric)
    network = IqpLite(config["levels"], config["width"])
    checkpoint.load_strict(network.head, state, str(weights or metric))
    version = f"v{config['version']}" if weights is None else sha256_of(weights / "model.safetensors")[:8]
    return Metric(network, lower_better=False, protocol=f"{metric}/{version}")


def _known(metric: str) -> str:
    names = Scorer.available()
    if metric not in names:
        near = get_close_matches(metric, names, n=3, cutoff=0.4) or names[:3]
        raise ValueError(f"unknown metric {metric!r}; nearest: {', '.join(near)}; Scorer.available() lists all")
    return metric


@contextlib.contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """The same score every time, whatever autocast and cuDNN settings the caller trains with."""
    cudnn = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
    with cudnn, torch.autocast(device.type, enabled=False):
        yield
