"""A monochrome photo stays monochrome whatever the model paints, and a colour photo is never taken for one."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photo_standins import FACE, Echo, photo
from PIL import Image
from skimage import data
from skimage.color import rgb2lab
from torch.nn.functional import avg_pool2d

from iqp_adapter.photo import restore_photo, restore_photos
from iqp_adapter.photo.toning import LEVELS, Toning, toning_of

SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]]) * 0.74
LUMA = np.array([0.299, 0.587, 0.114])


class Painter(Echo):
    """Sharpens a face, and paints red, green and blue stripes over it."""

    def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
        sharper = 2 * lq - avg_pool2d(lq, 5, 1, 2, count_include_pad=False)
        paint = torch.zeros_like(lq)
        for channel in range(3):
            paint[:, channel, :, 16 * channel :: 48] = 0.3
        return (sharper + paint).clamp(0, 1)


def grey() -> np.ndarray:
    """(512, 512, 3) uint8, all channels alike."""
    return np.dstack([(photo() @ LUMA).round().astype(np.uint8)] * 3)


def sepia() -> np.ndarray:
    return (grey() @ SEPIA.T).clip(0, 255).round().astype(np.uint8)


def apart(picture: np.ndarray) -> float:
    """How far the channels of a pixel are from each other, in 8-bit levels."""
    top = 255 if picture.dtype == np.uint8 else 65535 if picture.dtype == np.uint16 else 1
    return float(np.ptp(picture[..., :3] / top * 255, axis=-1).max())


def jpeg(picture: np.ndarray, **options: Any) -> np.ndarray:
    stored = BytesIO()
    Image.fromarray(picture).save(stored, "JPEG", **options)
    return np.asarray(Image.open(stored).convert("RGB"))


def off_curve(picture: np.ndarray, photo: np.ndarray) -> float:
    """How far 99 % of the picture's a and b are from the photo's own, as a function of L; CIELab."""
    lab = rgb2lab(photo).reshape(-1, 3)
    level = lab[:, 0].round()
    known = [value for value in range(101) if (level == value).sum() > 2]
    curve = np.array([np.median(lab[level == value, 1:], 0) for value in known])
    lightness, *ab = np.moveaxis(rgb2lab(picture), -1, 0)
    wanted = [np.interp(lightness, known, channel) for channel in curve.T]
    return float(np.percentile(np.hypot(ab[0] - wanted[0], ab[1] - wanted[1]), 99))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_grey_array_stays_grey(dtype: Any, alpha: bool) -> None:
    top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    given = (grey() / 255 * top).astype(dtype)
    given = np.dstack([given, np.full(given.shape[:2], top, dtype)]) if alpha else given
    restored = restore_photo(given, Painter(), detector=FACE)
    assert apart(restored) < 1e-3 and np.abs(restored - given.astype(float)).max() > 0.05 * top


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_a_grey_image_stays_grey(mode: str) -> None:
    restored = restore_photo(Image.fromarray(grey()).convert("L").convert(mode), Painter(), detector=FACE)
    assert apart(np.asarray(restored.convert("RGB"))) == 0


@pytest.mark.parametrize("options", [{"quality": 95}, {"quality": 60, "subsampling": 0}])
def test_a_grey_jpeg_stays_as_grey_as_it_was(options: dict[str, Any]) -> None:
    noisy = (grey() + np.random.default_rng(0).normal(0, 1.5, (512, 512, 3))).clip(0, 255).round().astype(np.uint8)
    given = jpeg(noisy, **options)
    assert apart(restore_photo(given, Painter(), detector=FACE)) <= apart(given) + 2


@pytest.mark.parametrize("upscale", [1, 2])
def test_a_toned_photo_stays_on_its_curve(upscale: int) -> None:
    restored = restore_photo(sepia(), Painter(), detector=FACE, upscale=upscale)
    assert off_curve(sepia(), sepia()) < 0.7 and off_curve(restored, sepia()) < 1.5
    coloured = restore_photo(sepia(), Painter(), detector=FACE, upscale=upscale, colour="model")
    assert off_curve(coloured, sepia()) > 3


def test_an_aligned_face_stays_grey() -> None:
    given = np.ascontiguousarray(grey()[40:240, 130:330])
    assert apart(restore_photo(given, Painter(), aligned=True)) == 0


def test_the_shipped_model_keeps_reported_scans_as_they_were(cases: Path) -> None:
    from iqp_adapter import load

    paths = [cases / "01-grey-scan" / name for name in ("grey_rgb.png", "sepia.png")]
    bw, toned = (np.asarray(r.image) for r in restore_photos(paths, load("tiny", device="cpu")))
    before = np.asarray(Image.open(paths[1]))
    assert apart(bw) == 0 and off_curve(toned, before) < 1.5
    assert (bw != np.asarray(Image.open(paths[0]))).any() and (toned != before).any()


def test_the_model_colours_where_it_may() -> None:
    assert apart(restore_photo(grey(), Painter(), detector=FACE, colour="model")) > 20


@pytest.mark.parametrize("saturation", [1.0, 0.3])
@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_colour_photos_are_not_taken_for_monochrome(name: str, saturation: float) -> None:
    colours = getattr(data, name)()
    brightness = (colours @ LUMA)[..., None]
    assert toning_of((brightness + saturation * (colours - brightness)).round().astype(np.uint8)) is None


@pytest.mark.parametrize("side", [4, 8, 30])
def test_a_small_coloured_thing_in_a_grey_photo_is_seen(side: int) -> None:
    given = grey()
    assert toning_of(given) is not None
    given[300 : 300 + side, 200 : 200 + side] = [180, 30, 40]
    assert toning_of(given) is None


def test_a_faint_tint_of_an_area_survives() -> None:
    given = sepia().astype(float)
    cheek = np.s_[105:150, 185:235]
    given[cheek] += [6, -2, -2]
    given = given.round().astype(np.uint8)
    assert toning_of(given[:240, 100:340]) is not None
    tint = [
        p[cheek].mean((0, 1)) - sepia()[cheek].mean((0, 1))
        for p in (given, restore_photo(given, Echo(), detector=FACE))
    ]
    redder = [t[0] - t[1] for t in tint]
    assert redder[1] > 0.6 * redder[0] > 4


def test_the_tone_between_two_levels_is_interpolated() -> None:
    rng = np.random.default_rng(0)
    curve = rng.normal(0, 0.1, (LEVELS, 3))
    brightness = rng.uniform(-0.05, 1.05, (40, 50)).astype(np.float32)
    brightness[0, :2] = 0, 1
    expected = [np.interp(brightness * 255, np.arange(LEVELS), channel) for channel in curve.T]
    np.testing.assert_allclose(Toning(curve).of(brightness), brightness[..., None] + np.stack(expected, -1), atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (2, 2)])
def test_tiny_pictures_have_an_answer(shape: tuple[int, int]) -> None:
    assert toning_of(np.full((*shape, 3), 90, np.uint8)) is not None


def test_no_more_than_a_reduced_copy_of_a_large_part_is_held() -> None:
    large = np.broadcast_to(np.uint8(90), (6000, 6000, 3))
    assert toning_of(np.ascontiguousarray(large)) is not None
