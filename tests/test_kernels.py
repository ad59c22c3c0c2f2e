"""Blur kernels and noise are those of BasicSR, to the bit."""

from __future__ import annotations

import random
from functools import cache
from types import ModuleType

import cv2
import numpy as np
import pytest

from iqp_adapter.compat import make_importable
from iqp_adapter.degradations.face import Degradation, HeavyDegradation
from iqp_adapter.degradations.jpeg import jpeg
from iqp_adapter.degradations.kernels import KERNELS, add_noise, draw_kernel
from iqp_adapter.degradations.rng import global_seed, legacy_rng, numpy_rng

SEEDS = [3, 2**40 + 1, 2**62 + 5]


@cache
def basicsr() -> ModuleType:
    make_importable()
    with np.errstate():  # its import changes NumPy's error settings
        return pytest.importorskip("basicsr.data.degradations", reason="basicsr does not build on Python 3.13")


def picture(seed: int, *size: int) -> np.ndarray:
    return np.random.default_rng(seed).random((*size, 3), np.float32)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("seed", SEEDS)
def test_kernels_are_basicsrs(name, seed):
    ranges = np.random.default_rng(seed)
    for each in range(seed, seed + 40):
        size, sigma = 2 * int(ranges.integers(0, 26)) + 1, tuple(np.sort(ranges.uniform(0.05, 20, 2)).tolist())
        with global_seed(each):
            theirs = basicsr().random_mixed_kernels([name], [1.0], size, sigma, sigma)
        np.testing.assert_array_equal(draw_kernel(legacy_rng(each), name, size, sigma), theirs)


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_is_basicsrs(seed):
    given = picture(seed, 17, 30)
    with global_seed(seed):
        theirs = basicsr().random_add_gaussian_noise(given, (2.0, 40.0))
    ours = add_noise(legacy_rng(seed), given, (2.0, 40.0))
    assert ours.dtype == theirs.dtype == np.float32
    np.testing.assert_array_equal(ours, theirs)


def by_basicsr(degrade: Degradation, hq: np.ndarray, seed: int) -> np.ndarray:
    """What `degrade` does at full strength and without tasks of colour, with BasicSR's functions."""
    rng, sigma, (height, width) = numpy_rng(seed), degrade.blur_sigma, hq.shape[:2]
    rng.uniform()
    factor = rng.uniform(*degrade.downsample)
    with global_seed(seed):
        kernel = basicsr().random_mixed_kernels(
            degrade.kernels, degrade.kernel_probabilities, degrade.kernel_size, sigma, sigma
        )
        lq = cv2.resize(cv2.filter2D(hq, -1, kernel), (round(width / factor), round(height / factor)))
        lq = basicsr().random_add_gaussian_noise(lq, degrade.noise)
    lq = jpeg(lq, round(rng.uniform(*degrade.jpeg)))
    return cv2.resize(lq, (width, height), interpolation=cv2.INTER_LINEAR).clip(0, 1)


@pytest.mark.parametrize("kind", [Degradation, HeavyDegradation])
@pytest.mark.parametrize("seed", SEEDS)
def test_samples_are_those_that_basicsr_made(kind, seed):
    shares = tuple(range(1, 1 + len(KERNELS)))
    degrade = kind.for_resolution(128, strength=(1.0, 1.0), kernels=KERNELS, kernel_probabilities=shares)
    hq = picture(seed, 128, 128)
    for each in range(seed, seed + 8):
        np.testing.assert_array_equal(degrade(hq, each), by_basicsr(degrade, hq, each))


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_keep_the_light_and_have_their_shape(name):
    for seed in range(10):
        kernel = draw_kernel(legacy_rng(seed), name, 31, (1.0, 3.0))
        assert kernel.sum() == pytest.approx(1) and kernel.argmax() == kernel.size // 2
        np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-12)
        assert np.allclose(kernel, kernel.T, atol=1e-9) == (not name.endswith("aniso"))


def test_ranges_of_one_number_are_that_number():
    drawn = [draw_kernel(legacy_rng(seed), "iso", 21, (2.0, 2.0)) for seed in range(2)]
    np.testing.assert_array_equal(*drawn)


def test_the_global_generators_stay_as_they_are():
    before = np.random.get_state()[1].tolist(), random.getstate()
    Degradation()(picture(0, 64, 64), 5)
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before
