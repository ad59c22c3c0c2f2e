"""Judges of colour, against numbers worked out by hand and against the slow way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from iqp_adapter.bench.protocols import colour, find

BLIND = (colour.colourfulness, colour.uciqe, colour.uiqm)


def plain(*rgb: float, side: int = 16) -> torch.Tensor:
    """One colour, (1, 3, side, side)."""
    return torch.tensor(rgb, dtype=torch.float64)[None, :, None, None].expand(1, 3, side, side)


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    """scikit-image's astronaut, (1, 3, 128, 128)."""
    from skimage.data import astronaut

    image = torch.from_numpy(astronaut()).permute(2, 0, 1)[None] / 255  # (H, W, 3) -> (1, 3, H, W)
    return torch.nn.functional.interpolate(image, (128, 128), mode="area")


def drowned(image: torch.Tensor, metres: float) -> torch.Tensor:
    """Red fades first, and a blue-green veil lies over everything."""
    seen = torch.exp(-metres * torch.tensor([0.35, 0.08, 0.06]))[None, :, None, None]
    return image * seen + torch.tensor([0.05, 0.45, 0.5])[None, :, None, None] * (1 - seen)


def test_the_difference_of_two_colours_is_that_of_their_pair():
    # pure greys: ΔE00 = ΔL / S_L with S_L = 1 + 0.015 (L - 50)² / sqrt(20 + (L - 50)²), L the mean lightness
    one, other = (116 * (0.2140411 if v == 0.5 else 0.0331048) ** (1 / 3) - 16 for v in (0.5, 0.2))
    middle = (one + other) / 2 - 50
    expected = (one - other) / (1 + 0.015 * middle**2 / math.sqrt(20 + middle**2))
    assert float(colour.ciede2000(plain(0.5, 0.5, 0.5), plain(0.2, 0.2, 0.2))) == pytest.approx(expected, abs=0.01)
    assert float(colour.ciede2000(plain(0.3, 0.6, 0.1), plain(0.3, 0.6, 0.1))) == 0


def test_the_difference_is_the_mean_over_pixels():
    half = plain(0.5, 0.5, 0.5).clone()
    half[..., :8] = 0.2
    whole = colour.ciede2000(plain(0.5, 0.5, 0.5), plain(0.2, 0.2, 0.2))
    assert float(colour.ciede2000(plain(0.5, 0.5, 0.5), half)) == pytest.approx(float(whole) / 2)


def test_colourfulness_by_hand():
    assert float(colour.colourfulness(plain(0.4, 0.4, 0.4))) == pytest.approx(0)
    halves = plain(1, 0, 0).clone()  # R - G is 255 or 0, (R + G) / 2 - B is 127.5 or -255
    halves[..., :8] = plain(0, 0, 1)[..., :8]
    expected = math.hypot(127.5, 191.25) + 0.3 * math.hypot(127.5, -63.75)
    assert float(colour.colourfulness(halves)) == pytest.approx(expected)


def test_uciqe_by_hand():
    from skimage.color import rgb2lab

    colours = np.array([[1, 0, 0], [0.2, 0.3, 0.9]])
    halves = plain(*colours[0]).clone()
    halves[..., :8] = plain(*colours[1])[..., :8]
    (l1, a1, b1), (l2, a2, b2) = rgb2lab(colours) / 100
    chroma = math.hypot(a1, b1), math.hypot(a2, b2)
    saturation = np.mean([c / math.hypot(c, light) for c, light in zip(chroma, (l1, l2), strict=True)])
    expected = 0.4680 * abs(chroma[0] - chroma[1]) / 2 + 0.2745 * abs(l1 - l2) + 0.2576 * saturation
    assert float(colour.uciqe(halves)) == pytest.approx(expected)


def test_uiqm_the_slow_way(photo):
    image = 255 * photo[0].double().permute(1, 2, 0).numpy()
    height, width = image.shape[:2]
    red, green, blue = (image[..., channel] for channel in range(3))

    def trimmed(values):
        ordered = np.sort(values.ravel())
        cut = int(0.1 * ordered.size)
        return ordered[cut : ordered.size - cut].mean()

    axes = red - green, (red + green) / 2 - blue
    means = [trimmed(axis) for axis in axes]
    spread = sum(((axis - mean) ** 2).mean() for axis, mean in zip(axes, means, strict=True))
    colourful = -0.0268 * math.hypot(*means) + 0.1586 * math.sqrt(spread)

    def blocks(plane):
        for top in range(0, height - 7, 8):
            for left in range(0, width - 7, 8):
                yield plane[top : top + 8, left : left + 8]

    def edges(plane):
        around = np.pad(plane, 1, mode="symmetric")
        down, across = np.zeros_like(plane), np.zeros_like(plane)
        for shift, weight in enumerate((1, 2, 1)):
            down += weight * (around[2:, shift : shift + width] - around[:-2, shift : shift + width])
            across += weight * (around[shift : shift + height, 2:] - around[shift : shift + height, :-2])
        return np.hypot(down, across) * plane / 255

    sharp = 0.0
    for weight, plane in zip((0.299, 0.587, 0.114), (red, green, blue), strict=True):
        logs = [math.log(b.max() / b.min()) if b.min() > 0 else 0 for b in blocks(edges(plane))]
        sharp += weight * 2 * np.mean(logs)
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    ratios = [(b.max() - b.min()) / max(b.max() + b.min(), 1e-9) for b in blocks(light)]
    contrast = np.mean([-r * math.log(r) if r > 0 else 0 for r in ratios])
    expected = 0.0282 * colourful + 0.2953 * sharp + 3.5753 * contrast
    assert float(colour.uiqm(photo)) == pytest.approx(expected, rel=1e-9)


def test_water_costs_uciqe_and_mist_costs_colour(photo):
    clear, shallow, deep = (float(colour.uciqe(drowned(photo, metres))) for metres in (0, 3, 12))
    assert clear > shallow > deep
    assert colour.colourfulness(0.3 * photo + 0.7) < 0.5 * colour.colourfulness(photo)


def test_the_contrast_of_uiqm_is_highest_where_it_is_moderate():
    """So that a clear picture of strong contrasts does not win by it; a property of the published formula."""
    contrasts = np.array([0.05, 1 / np.e, 0.9])
    stripes = [0.5 * (1 + (-1) ** np.arange(16) * contrast) for contrast in contrasts]
    weak, best, strong = (
        float(colour.uiqm(torch.from_numpy(np.broadcast_to(one, (1, 3, 16, 16)).copy()))) for one in stripes
    )
    assert best > weak and best > strong


@pytest.mark.parametrize("measure", BLIND, ids=lambda measure: measure.__name__)
def test_pictures_are_judged_one_by_one(photo, measure):
    both = torch.cat([photo, drowned(photo, 5)])
    assert torch.equal(measure(both).flip(0), measure(both.flip(0)))
    assert torch.equal(measure(both)[:1], measure(photo))


@pytest.mark.parametrize("measure", BLIND, ids=lambda measure: measure.__name__)
def test_a_picture_of_one_colour_has_a_value(measure):
    assert measure(plain(0, 0, 0)).isfinite().all() and measure(plain(0.2, 0.5, 0.9)).isfinite().all()


@pytest.mark.parametrize("name", ["ciede2000", "colourfulness", "uciqe", "uiqm", "iqp-colour"])
def test_they_are_protocols_of_the_benchmark(photo, name):
    protocol = find(name)
    measure = protocol.load(torch.device("cpu"), protocol.files())
    values = measure.values(drowned(photo, 4), photo, ["astronaut"])
    assert values.shape == (1,)
    assert measure.values(photo, drowned(photo, 4), ["astronaut"]).isfinite().all()


@pytest.mark.parametrize("name", ["ciede2000", "uciqe", "iqp-colour"])
def test_their_directions_are_those_of_quality(photo, name):
    protocol = find(name)
    measure = protocol.load(torch.device("cpu"), protocol.files())
    better, worse = (measure.values(drowned(photo, metres), photo, ["astronaut"]) for metres in (0.0, 12.0))
    assert (better < worse) == protocol.lower_better
