"""Makes underwater photos of photos in air: the pairs that the enhancement of underwater photos is trained on.

Source: the model of Jaffe and McGlamery as Schechner and Karpel use it (CVPR 2004), with the attenuation of Jerlov's
water types, which UWCNN (Li, Anwar and Porikli, Pattern Recognition 2020) introduced for training. Differs: water also
attenuates the light on its way down to the scene, and distances are procedural, since photos have no depth map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..store.settings import check_types
from .checks import attributes, check_picture, check_range
from .rng import numpy_rng

TRANSMITTANCE = {
    "I": (0.805, 0.961, 0.982),
    "IA": (0.804, 0.955, 0.975),
    "IB": (0.830, 0.950, 0.968),
    "II": (0.800, 0.925, 0.940),
    "III": (0.750, 0.885, 0.890),
    "1C": (0.750, 0.885, 0.875),
    "3C": (0.710, 0.820, 0.800),
    "5C": (0.670, 0.730, 0.670),
    "7C": (0.620, 0.610, 0.500),
    "9C": (0.550, 0.460, 0.290),
}
"""Share of daylight that a metre of water transmits, for red, green and blue (600, 525 and 475 nm): open ocean from I,
the clearest, to III, and coasts from 1C to 9C, the most turbid. Jerlov, "Marine Optics" (Elsevier 1976)."""


@dataclass(frozen=True)
class UnderwaterDegradation:
    """Makes an underwater photo: water absorbs light on its way down and to the camera, and adds scattered light.

        hq ── x light at that depth ── x what the range lets through ── + veil ── + noise ──► lq

    Per channel, with c the attenuation of the water per metre, d the depth and z the range of a pixel:
    lq = (hq exp(-c z) + veil (1 - exp(-c z))) exp(-c d), which the camera then exposes.

    Attributes:
        water: names of Jerlov's water types; each sample draws one.
        depth: of the scene below the surface, metres.
        range: from the camera to the nearest and to the farthest part of the scene, metres.
        veil: brightness of distant water at the surface, in [0, 1].
        exposure: mean of the brightest channel after exposure, in [0, 1].
        noise: sigma of Gaussian noise, in 1/255.
        strength: share of depth, range and noise that a sample may use, in (0, 1].
    """

    water: tuple[str, ...] = ("I", "IA", "IB", "II", "III", "1C", "3C", "5C")
    depth: tuple[float, float] = (0.5, 8.0)
    range: tuple[float, float] = (0.5, 8.0)
    veil: tuple[float, float] = (0.4, 0.8)
    exposure: tuple[float, float] = (0.35, 0.55)
    noise: tuple[float, float] = (0.0, 4.0)
    strength: tuple[float, float] = (0.2, 1.0)

    def __post_init__(self) -> None:
        check_types(self)
        check_range("depth", self.depth, 0, 1e4)
        check_range("range", self.range, 0, 1e4)
        check_range("veil", self.veil, 0, 1)
        check_range("exposure", self.exposure, 1e-3, 1)
        check_range("noise", self.noise, 0, 255)
        check_range("strength", self.strength, 1e-3, 1)
        if not self.water or set(self.water) - TRANSMITTANCE.keys():
            raise ValueError(f"water is {list(self.water)}; choose from {', '.join(TRANSMITTANCE)}")

    @classmethod
    def for_resolution(cls, px: int, /, **changes: Any) -> UnderwaterDegradation:
        """The default with the attributes in `changes` replaced; none depends on the size in pixels."""
        return cls(**attributes(cls, "underwater", changes))

    def __call__(self, hq: np.ndarray, seed: int) -> np.ndarray:
        """
        Args:
            hq: (H, W, 3) float32, RGB in [0, 1].
            seed: decides every draw.

        Returns:
            the underwater picture, like `hq`.

        Raises:
            TypeError: for another dtype or shape.
        """
        check_picture(hq)
        rng = numpy_rng(seed)
        strength = rng.uniform(*self.strength)
        attenuation = -np.log(TRANSMITTANCE[str(rng.choice(self.water))])
        depth, noise = (low + strength * rng.uniform() * (high - low) for low, high in (self.depth, self.noise))
        near, far = self.range[0], self.range[0] + strength * (self.range[1] - self.range[0])
        distances = near + (far - near) * relief(hq.shape[0], hq.shape[1], rng)
        wet = under_water(hq, distances, depth, attenuation, rng.uniform(*self.veil))
        wet *= rng.uniform(*self.exposure) / max(wet.mean((0, 1)).max(), 1e-3)
        wet += rng.normal(0, noise / 255, hq.shape)
        return wet.clip(0, 1).astype(np.float32)


def under_water(
    hq: np.ndarray, distances: np.ndarray, depth: float, attenuation: np.ndarray, veil: float
) -> np.ndarray:
    """The light that reaches the camera.

    Args:
        hq: (H, W, 3), the scene in white light.
        distances: (H, W), metres to the camera.
        depth: metres below the surface.
        attenuation: (3,) per metre.
        veil: brightness of distant water at the surface.

    Returns:
        (H, W, 3), before exposure.
    """
    kept = np.exp(-attenuation * distances[..., None])  # (H, W, 1) -> (H, W, 3)
    return (hq * kept + veil * (1 - kept)) * np.exp(-attenuation * depth)


def relief(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Random relative distances of a scene, (H, W) in [0, 1]: a plane, mostly farther at the top, with smooth hills."""
    import cv2

    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    plane = rng.uniform(0, 1) * (1 - rows) + rng.uniform(-0.4, 0.4) * columns
    hills = cv2.resize(rng.uniform(0, 0.6, (4, 4)), (width, height), interpolation=cv2.INTER_CUBIC)
    surface = plane + hills
    return (surface - surface.min()) / max(np.ptp(surface), 1e-9)
