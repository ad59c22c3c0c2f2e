"""Makes targets of different quality, as natural training sets have them, from good pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..store.settings import check_types
from .checks import check_picture, check_range
from .discolour import drawn_gains, fade, tint
from .jpeg import jpeg
from .rng import numpy_rng


@dataclass(frozen=True)
class Ladder:
    """Makes a target slightly worse, so that the scores of a training set vary and a model can learn what they mean.

    A share of the samples is unchanged (severity 0); the others draw a severity uniform in [0, 1]. The ladder then
    softens the picture (by blur, or by reducing and enlarging it), adds noise and compresses it. Each step has its own
    random share of its largest strength below, so that pictures of one severity differ in kind.

    Source: not in the IQPFR paper, whose training sets vary naturally.

    Attributes:
        originals: share of unchanged samples, in [0, 1].
        blur_sigma: pixels, just above severity 0 and at 1; the latter for a 256 px face, in proportion for others.
        downsample: factor, just above severity 0 and at 1; the latter for a 256 px face, in proportion for others.
        noise: sigma at severity 1, in 1/255; small, as NIQE and PIQE take more of it for detail.
        jpeg: quality at severity 1, 1 to 100; it falls from 98.
        fade: of colours at severity 1, in [0, 1], see `discolour.fade`; 0 keeps colours.
        tint: strength of a light of random hue at severity 1, see `discolour.drawn_gains`; 0 keeps colours.
    """

    originals: float = 0.4
    blur_sigma: tuple[float, float] = (0.4, 1.6)
    downsample: tuple[float, float] = (1.2, 2.8)
    noise: float = 2.0
    jpeg: int = 55
    fade: float = 0.0
    tint: float = 0.0

    def __post_init__(self) -> None:
        check_types(self)
        check_range("blur_sigma", self.blur_sigma, 1e-3, 1e3)
        check_range("downsample", self.downsample, 1, 1e3)
        if not 0 <= self.originals <= 1:
            raise ValueError(f"originals is {self.originals}; give the share of untouched samples, in [0, 1]")
        if not (0 <= self.fade <= 1 and self.tint >= 0):
            raise ValueError(f"fade and tint are {self.fade} and {self.tint}; give one in [0, 1], the other 0 or more")
        if not (0 <= self.noise <= 255 and 1 <= self.jpeg <= 100):
            raise ValueError(f"noise and jpeg are {self.noise} and {self.jpeg}; give 0 to 255, and 1 to 100")

    def severity(self, seed: int) -> float:
        """The severity that this seed draws, in [0, 1]; 0 is the original."""
        rng = numpy_rng(seed)
        return 0.0 if rng.uniform() < self.originals else float(rng.uniform())

    def __call__(self, hq: np.ndarray, seed: int) -> np.ndarray:
        """(H, W, 3) float32, RGB in [0, 1] -> the same at the severity that this seed draws."""
        return self.degrade(hq, self.severity(seed), seed)

    def degrade(self, hq: np.ndarray, severity: float, seed: int) -> np.ndarray:
        """The target at a chosen severity.

        Args:
            hq: (H, W, 3) float32, RGB in [0, 1].
            severity: in [0, 1]; 0 returns `hq` itself.
            seed: decides the kind and the noise.

        Raises:
            TypeError: for another dtype or shape.
            ValueError: for a severity outside [0, 1].
        """
        check_picture(hq)
        if not 0 <= severity <= 1:
            raise ValueError(f"severity is {severity}; give a number in [0, 1], 0 for the original")
        if severity == 0:
            return hq
        rng = numpy_rng(seed, stream=1)
        softness, noise, compression = severity * rng.uniform([0.8, 0, 0], 1)
        soften = self._blur if rng.uniform() < 0.5 else self._resample
        target = self._discolour(soften(hq, softness), severity, seed)
        target = target + rng.standard_normal(hq.shape, np.float32) * np.float32(noise * self.noise / 255)
        return jpeg(np.clip(target, 0, 1), round(98 - compression * (98 - self.jpeg)))

    def _discolour(self, hq: np.ndarray, severity: float, seed: int) -> np.ndarray:
        rng = numpy_rng(seed, stream=2)
        paleness, cast = severity * rng.uniform(0, [self.fade, self.tint])
        return tint(fade(hq, paleness), drawn_gains(rng, cast)) if self.fade or self.tint else hq

    def _blur(self, hq: np.ndarray, share: float) -> np.ndarray:
        import cv2

        return cv2.GaussianBlur(hq, (0, 0), _between(self.blur_sigma, share, hq.shape[0]))

    def _resample(self, hq: np.ndarray, share: float) -> np.ndarray:
        import cv2

        height, width = hq.shape[:2]
        factor = _between(self.downsample, share, height)
        small = (max(1, round(width / factor)), max(1, round(height / factor)))
        reduced = cv2.resize(hq, small, interpolation=cv2.INTER_AREA)
        return cv2.resize(reduced, (width, height), interpolation=cv2.INTER_CUBIC)


def _between(ends: tuple[float, float], share: float, height: int) -> float:
    mild, severe = ends
    return mild + share * (max(mild, severe * height / 256) - mild)
