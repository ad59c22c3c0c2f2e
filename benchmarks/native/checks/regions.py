"""Where things are on an aligned face, and what the checks of faults share: blurs, edges, and means of neighbours.

Pictures are CIELAB (H, W, 3) or their lightness (H, W), float32, L* from 0 to 100; all lengths are in sides of the
picture, so that a fault measures the same at 256 and at 512 px.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from torch import Tensor

from iqp_adapter.photo.align import TEMPLATE

Point = tuple[float, float]

*EYES, NOSE = ((x, y) for x, y in ((TEMPLATE[:3] + 0.5) / 512).tolist())


def lab_of(picture: Tensor) -> np.ndarray:
    """RGB (3, H, W) in [0, 1] -> CIELAB (H, W, 3)."""
    return cv2.cvtColor(picture.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2LAB)  # (3, H, W) -> (H, W, 3)


# -- regions, as masks (side, side)


@cache
def ellipse(side: int, centre: Point, width: float, height: float) -> np.ndarray:
    """An ellipse of half that width and height to each side of its centre (x, y)."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    return ((x - centre[0]) / (width / 2)) ** 2 + ((y - centre[1]) / (height / 2)) ** 2 < 1


@cache
def skin(side: int) -> np.ndarray:
    """Cheeks, nose and the lower forehead: the inner face without eyes, brows and mouth."""
    face = ellipse(side, (0.5, 0.585), 0.37, 0.47)
    for x, y in EYES:
        face = face & ~ellipse(side, (x, y - 0.02), 0.21, 0.15)
    return face & ~ellipse(side, (0.5, 0.73), 0.28, 0.15)


@cache
def face_and_jaw(side: int) -> np.ndarray:
    """The face with jaw and hairline."""
    return ellipse(side, (0.5, 0.58), 0.64, 0.76)


@cache
def beside_the_face(side: int) -> np.ndarray:
    """Where hair meets background: around the face, above the height of the mouth's lower edge."""
    above = np.arange(side)[:, None] < 0.75 * side
    return ~ellipse(side, (0.5, 0.6), 0.56, 0.64) & above


@cache
def eyes_and_bridge(side: int) -> np.ndarray:
    """Where spectacles sit."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    return (abs(x - 0.5) < 0.25) & (abs(y - 0.475) < 0.1)


@cache
def below_eyes_and_nostrils(side: int) -> np.ndarray:
    """Where restorers paint dark crescents."""
    nostrils = ellipse(side, (NOSE[0], NOSE[1] + 0.02), 0.17, 0.08)
    return np.any([nostrils, *(ellipse(side, (x, y + 0.055), 0.17, 0.08) for x, y in EYES)], axis=0)


def grown(mask: np.ndarray, reach: float) -> np.ndarray:
    """A mask with all that lies within reach of it."""
    return cv2.dilate(mask.astype(np.uint8), _disc(len(mask), reach)) > 0


# -- what is measured in them


def blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur."""
    return cv2.GaussianBlur(picture, (0, 0), sigma * len(picture), borderType=cv2.BORDER_REFLECT_101)


def mean_inside(picture: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """A blur that sees the pixels of a mask alone; where none is near, 0."""
    weight = blurred(mask.astype(np.float32), sigma)
    share = mask.astype(np.float32).reshape(mask.shape + (1,) * (picture.ndim - 2))
    return blurred(picture * share, sigma) / np.maximum(weight, 1e-6).reshape(share.shape)


def gradient(lightness: np.ndarray, sigma: float) -> np.ndarray:
    """Slopes to the right and down (H, W, 2) after a blur, in L* a hundredth of the side."""
    soft = blurred(lightness, sigma)
    slopes = [cv2.Sobel(soft, -1, *axis, scale=len(lightness) / 800) for axis in ((1, 0), (0, 1))]
    return np.stack(slopes, -1)


def steepness(lightness: np.ndarray, sigma: float) -> np.ndarray:
    """Length of the gradient (H, W)."""
    return np.linalg.norm(gradient(lightness, sigma), axis=-1)


def highest_near(lightness: np.ndarray, reach: float) -> np.ndarray:
    return cv2.dilate(lightness, _disc(len(lightness), reach))


def lowest_near(lightness: np.ndarray, reach: float) -> np.ndarray:
    return cv2.erode(lightness, _disc(len(lightness), reach))


def above_beside(lightness: np.ndarray, where: np.ndarray, gap: float, reach: float) -> np.ndarray:
    """By how much each pixel of a mask is lighter than its surroundings (N,); pixels that have none are left out.

    Args:
        gap: from the mask to the surroundings.
        reach: from the mask to their outer edge.
    """
    ring = grown(where, reach) & ~grown(where, gap)
    seen = where & (blurred(ring.astype(np.float32), reach) > 0.01)
    return (blurred(lightness, 1 / 256) - mean_inside(lightness, ring, reach))[seen]


def _disc(side: int, reach: float) -> np.ndarray:
    radius = max(1, round(reach * side))
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
