"""Erased glasses: frames drawn onto faces before these are degraded must be there after they are restored.

Nobody is labelled: the frames are drawn, and what the faces wear themselves is measured as edges around the eyes.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from benchmarks.native.checks.regions import EYES, above_beside, eyes_and_bridge, gradient, highest_near

CANVAS = 2048
"""Side in pixels at which frames are drawn before they are reduced."""

STEEP = 4.0
"""L* a hundredth of the side: from here on an edge of the original around the eyes is a strong one."""

NEAR = 1 / 100
"""How far a restored edge may be from the original's."""


DIRECTIONS = [np.float32([np.cos(angle), np.sin(angle)]) for angle in np.arange(8) * np.pi / 4]
"""In which edges rise."""


class Frame(NamedTuple):
    """Spectacles.

    Attributes:
        width: of the rims' line, in sides of the picture.
        corners: power of the rims' superellipse: 2 is round, more is squarer.
        height: of a rim, in sides.
        colour: RGB in [0, 1].
        rimless_below: whether the lower half of the rims is missing.
    """

    width: float
    corners: float
    height: float
    colour: tuple[float, float, float]
    rimless_below: bool = False


FRAMES = {
    "thin dark metal, round": Frame(0.006, 2, 0.17, (0.22, 0.21, 0.2)),
    "thin gold, squarer": Frame(0.007, 4, 0.14, (0.62, 0.47, 0.22)),
    "thick black, squarer": Frame(0.02, 5, 0.15, (0.05, 0.05, 0.06)),
    "thick brown, upper half": Frame(0.022, 3, 0.15, (0.3, 0.17, 0.09), rimless_below=True),
}
RIM = 0.2
"""Width of a rim, in sides."""


def worn(picture: np.ndarray, frame: Frame) -> np.ndarray:
    """A face (H, W, 3), RGB in [0, 1], with the frame on."""
    cover = shape(frame, len(picture))[..., None]
    return (picture * (1 - cover) + np.float32(frame.colour) * cover).astype(np.float32)


@cache
def shape(frame: Frame, side: int) -> np.ndarray:
    """How much of every pixel the frame covers (side, side), 0 to 1."""
    canvas = np.zeros((CANVAS, CANVAS), np.uint8)
    for line in lines(frame):
        points = np.round(line * CANVAS).astype(np.int32)
        cv2.polylines(canvas, [points], False, 255, round(frame.width * CANVAS))
    return cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def lines(frame: Frame) -> list[np.ndarray]:
    """Rims, bridge and temples as lines of points (N, 2), in sides."""
    (left, height), (right, _) = EYES
    centre = height + 0.012
    rims = [_rim(frame, x, centre) for x in (left, right)]
    arch = np.linspace(left + RIM / 2, right - RIM / 2, 20)
    bridge = np.stack([arch, centre - 0.02 - 0.012 * np.sin(np.linspace(0, np.pi, 20))], -1)
    temples = [
        np.array([[x + outwards * RIM / 2, centre - 0.025], [x + outwards * (RIM / 2 + 0.09), centre - 0.035]])
        for x, outwards in ((left, -1), (right, 1))
    ]
    return [*rims, bridge, *temples]


def _rim(frame: Frame, x: float, y: float) -> np.ndarray:
    angle = np.linspace(np.pi, 2 * np.pi if frame.rimless_below else 3 * np.pi, 200)  # over the top first
    across, down = np.cos(angle), np.sin(angle)
    power = 2 / frame.corners
    return np.stack(
        [
            x + RIM / 2 * np.sign(across) * np.abs(across) ** power,
            y + frame.height / 2 * np.sign(down) * np.abs(down) ** power,
        ],
        -1,
    )


def frame_lost(restored: np.ndarray, framed: np.ndarray, bare: np.ndarray, frame: Frame) -> float:
    """How much of a drawn frame is gone, in percent, of lightness (H, W).

    0 is as on the framed original, 100 as on the bare face. The contrast along the frame against its surroundings is
    compared, where it is strong the most.
    """
    where = shape(frame, len(bare)) > 0.5
    there, full, none = (above_beside(one, where, 0.008, 0.03) for one in (restored, framed, bare))
    drawn = full - none
    return 100 * float(1 - ((there - none) * drawn).sum() / np.square(drawn).sum())


def edges_lost(restored: np.ndarray, original: np.ndarray) -> float:
    """Share in percent of the original's strong edges around the eyes of which less than half is left (H, W).

    What is left is an edge of nearly the same direction nearby, with the same side dark.
    """
    before, after = (gradient(lightness, 1 / 256) for lightness in (original, restored))
    steep = np.stack([before @ axis for axis in DIRECTIONS])  # (D, H, W)
    left = np.stack([highest_near(after @ axis, NEAR) for axis in DIRECTIONS])
    nearest = steep.argmax(0)[None]
    steep, left = (np.take_along_axis(along, nearest, 0)[0] for along in (steep, left))
    strong = (steep > STEEP) & eyes_and_bridge(len(original))
    return 100 * float((left < steep / 2)[strong].mean()) if strong.any() else 0.0
