"""Degrades clean faces: makes the pairs that blind face restoration is trained on.

Source: GFPGAN (arXiv:2101.04061) and CodeFormer (arXiv:2206.11253), with the blur and noise of BasicSR.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from ..store.settings import check_types
from .checks import attributes, check_picture, check_range, check_share
from .discolour import fade, grey
from .jpeg import jpeg
from .kernels import KERNELS, add_noise, draw_kernel
from .rng import legacy_rng, numpy_rng


@dataclass(frozen=True)
class Degradation:
    """Degrades a clean face: blur, reduce, noise, JPEG, enlarge. Each strength is drawn from a range.

        hq ── blur ── reduce ── + noise ── JPEG ── enlarge ── (shift colours) ── (grey) ── (fade) ──► lq, same size

    The defaults are for 256 px faces; `for_resolution` scales them. At the same face width they lie between GFPGAN's
    (512 px: blur 0.1-10, reduction 0.8-8) and CodeFormer's (512 px: blur 1-15, reduction 4-30).

    Source: `FFHQDegradationDataset` of GFPGAN. Differs: one `strength` per sample shortens all four ranges towards
    their mild ends, so that lightly degraded inputs are common too. Strength (1, 1) gives the original's behaviour.

    Attributes:
        kernel_size: odd, pixels.
        kernels: names of BasicSR's blur kernels.
        kernel_probabilities: one weight for each name.
        blur_sigma: pixels.
        downsample: factor by which the picture is reduced, 1 or more.
        noise: sigma of Gaussian noise at the reduced size, in 1/255.
        jpeg: quality at the reduced size, 1 to 100.
        enlarge: interpolation that enlarges the reduced picture, "linear" as in the source, or "cubic".
        strength: share of each range that a sample may use, in (0, 1].
        colour_shift_probability: probability of adding a constant to each channel, for colour enhancement.
        colour_shift: largest such constant, in [0, 1].
        grey_probability: probability of a grey input, for colour enhancement.
        fade_probability: probability of a faded input.
        fade: range of its strength, in [0, 1], see `discolour.fade`.
    """

    kernel_size: int = 21
    kernels: tuple[str, ...] = ("iso", "aniso")
    kernel_probabilities: tuple[float, ...] = (0.5, 0.5)
    blur_sigma: tuple[float, float] = (0.1, 5.0)
    downsample: tuple[float, float] = (1.0, 8.0)
    noise: tuple[float, float] = (0.0, 12.0)
    jpeg: tuple[int, int] = (40, 100)
    enlarge: str = "linear"
    strength: tuple[float, float] = (0.2, 1.0)
    colour_shift_probability: float = 0.0
    colour_shift: float = 20 / 255
    grey_probability: float = 0.0
    fade_probability: float = 0.0
    fade: tuple[float, float] = (0.2, 0.8)

    def __post_init__(self) -> None:
        check_types(self)
        check_range("blur_sigma", self.blur_sigma, 1e-3, 1e3)
        check_range("downsample", self.downsample, 1, 1e3)
        check_range("noise", self.noise, 0, 255)
        check_range("jpeg", self.jpeg, 1, 100)
        check_range("strength", self.strength, 1e-3, 1)
        check_range("fade", self.fade, 0, 1)
        _check_kernels(self.kernel_size, self.kernels, self.kernel_probabilities)
        for name in ("colour_shift_probability", "colour_shift", "grey_probability", "fade_probability"):
            check_share(name, getattr(self, name))
        if self.enlarge not in ("linear", "cubic"):
            raise ValueError(f"enlarge is {self.enlarge!r}; choose linear or cubic")

    @classmethod
    def for_resolution(cls, px: int, /, **changes: Any) -> Degradation:
        """The default degradation for faces of `px` x `px` pixels, with the attributes in `changes` replaced.

        Blur and the largest reduction grow with the size, so that the reduced face has the same number of pixels. Noise
        and JPEG act on that reduced face and do not change.
        """
        changes = attributes(cls, "a degradation", changes)
        ratio = px / 256
        scaled: dict[str, Any] = {
            "kernel_size": 2 * max(1, round(10 * ratio)) + 1,
            "blur_sigma": (0.1, max(0.2, 5 * ratio)),
            "downsample": (1.0, max(1.0, 8 * ratio)),
        }
        return cls(**scaled | changes)

    def __call__(self, hq: np.ndarray, seed: int) -> np.ndarray:
        """
        Args:
            hq: (H, W, 3) float32, RGB in [0, 1].
            seed: decides every draw.

        Returns:
            the degraded picture, like `hq`.

        Raises:
            TypeError: for another dtype or shape.
        """
        import cv2

        check_picture(hq)
        height, width = hq.shape[:2]
        rng = numpy_rng(seed)
        strength = rng.uniform(*self.strength)
        factor = rng.uniform(*_milder(self.downsample, strength))
        small = (max(1, round(width / factor)), max(1, round(height / factor)))
        draws = legacy_rng(seed)
        name = Random(seed).choices(self.kernels, self.kernel_probabilities)[0]
        kernel = draw_kernel(draws, name, self.kernel_size, _milder(self.blur_sigma, strength))
        lq = cv2.resize(cv2.filter2D(hq, -1, kernel), small, interpolation=cv2.INTER_LINEAR)
        lq = add_noise(draws, lq, _milder(self.noise, strength))
        best, worst = _milder(self.jpeg[::-1], strength)
        lq = jpeg(lq, round(rng.uniform(worst, best)))
        enlarge = cv2.INTER_LINEAR if self.enlarge == "linear" else cv2.INTER_CUBIC
        lq = cv2.resize(lq, (width, height), interpolation=enlarge).clip(0, 1)
        return self._discolour(lq, rng)

    def _discolour(self, lq: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.uniform() < self.colour_shift_probability:
            lq = np.clip(lq + rng.uniform(-self.colour_shift, self.colour_shift, 3).astype(np.float32), 0, 1)
        lq = grey(lq) if rng.uniform() < self.grey_probability else lq
        return fade(lq, rng.uniform(*self.fade)) if rng.uniform() < self.fade_probability else lq


@dataclass(frozen=True)
class HeavyDegradation(Degradation):
    """The degradation that CodeFormer and IQPIR are trained with: heavier, and always over the full ranges.

    The defaults are those for 512 px; `for_resolution` scales them as those of `Degradation`, so that the smallest face
    has 17 pixels at every size.
    """

    kernel_size: int = 41
    blur_sigma: tuple[float, float] = (1.0, 15.0)
    downsample: tuple[float, float] = (4.0, 30.0)
    noise: tuple[float, float] = (0.0, 20.0)
    jpeg: tuple[int, int] = (30, 80)
    strength: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def for_resolution(cls, px: int, /, **changes: Any) -> HeavyDegradation:
        """The default for faces of `px` x `px` pixels, with the attributes in `changes` replaced."""
        ratio = px / 512
        scaled: dict[str, Any] = {
            "kernel_size": 2 * max(1, round(20 * ratio)) + 1,
            "blur_sigma": (1.0 * ratio, 15 * ratio),
            "downsample": (max(1.0, 4 * ratio), max(1.0, 30 * ratio)),
        }
        return cls(**scaled | attributes(cls, "a heavy degradation", changes))


def _check_kernels(size: int, names: tuple[str, ...], probabilities: tuple[float, ...]) -> None:
    if not 1 <= size < 1000 or size % 2 == 0:
        raise ValueError(f"kernel_size is {size}; give an odd number of pixels, e.g. 21")
    unknown = sorted(set(names) - set(KERNELS))
    if unknown or not names:
        raise ValueError(f"kernels are {list(names)}; choose from {', '.join(KERNELS)}")
    if len(probabilities) != len(names) or min(probabilities) < 0 or sum(probabilities) == 0:
        raise ValueError(f"kernel_probabilities are {list(probabilities)}; give one weight for each of {list(names)}")


def _milder(ends: tuple[float, float], strength: float) -> tuple[float, float]:
    """The part of a range that a strength in (0, 1] may use; the range starts at its mild end."""
    mild, severe = ends
    return mild, mild + strength * (severe - mild)
