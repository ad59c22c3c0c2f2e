"""Keyed randomness, the degraded inputs and the ladder of target qualities."""

from __future__ import annotations

import inspect
import itertools
import os
import random
import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image

from iqp_adapter.bench.test_sets import degraded
from iqp_adapter.degradations.discolour import drawn_gains, fade, grey, tint
from iqp_adapter.degradations.face import Degradation
from iqp_adapter.degradations.jpeg import jpeg
from iqp_adapter.degradations.kinds import DEGRADATIONS, degradation_of
from iqp_adapter.degradations.ladder import Ladder
from iqp_adapter.degradations.rng import global_seed, numpy_rng, sample_seed, torch_generator
from iqp_adapter.training.dataset import FaceFolder


@pytest.fixture(scope="module")
def hq() -> np.ndarray:
    """A picture with edges and texture in skin tones, (128, 128, 3) float32."""
    y, x = np.mgrid[:128, :128].astype(np.float32)
    rings = 0.5 + 0.4 * np.sin(np.hypot(x - 50, y - 70) * 0.5)
    checked = np.where((x // 32 + y // 32) % 2 == 0, rings, 1 - rings)
    return checked[..., None] * np.float32([1, 0.9, 0.8])  # (H, W) -> (H, W, 3)


def states() -> tuple:
    return np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state().tolist()


def sharpness(image: np.ndarray) -> float:
    return float(np.abs(np.diff(image, axis=0)).mean() + np.abs(np.diff(image, axis=1)).mean())


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(((a - b) ** 2).mean()))


def test_sample_seed_is_the_same_everywhere():
    assert sample_seed(0, 0, 0) == 7519334944260373035
    assert sample_seed(7, 3, 12, "ladder") == 8325548559220206879


def test_sample_seeds_differ_and_fit_int64():
    keys = itertools.product(range(3), range(3), range(50), ("ladder", "jitter", 1))
    seeds = {sample_seed(*key) for key in keys} | {sample_seed(0, 0, 0)}
    assert len(seeds) == 3 * 3 * 50 * 3 + 1
    assert min(seeds) >= 0 and max(seeds) < 2**63
    assert torch.tensor(list(seeds)).dtype == torch.int64


def test_own_generators_repeat_and_leave_the_global_ones():
    before = states()
    assert numpy_rng(5).uniform() == numpy_rng(5).uniform() != numpy_rng(5, stream=1).uniform()
    seed = sample_seed(1, 2, 3)
    a, b = (torch.rand(4, generator=torch_generator(seed)) for _ in range(2))
    assert torch.equal(a, b)
    assert states() == before


def test_global_seed_is_lent_and_taken_back():
    before = states()
    draws = []
    for seed in (2**60 + 1, 2**60 + 1, 1):
        with pytest.raises(KeyError), global_seed(seed):
            draws.append((np.random.uniform(), random.random()))
            raise KeyError
    assert draws[0] == draws[1]
    assert draws[0][0] != draws[2][0] and draws[0][1] != draws[2][1]
    assert states() == before


def test_degradation_is_decided_by_its_seed_alone(hq):
    degrade, before, original = Degradation.for_resolution(128), states(), hq.copy()
    first = degrade(hq, 11)
    assert first.shape == hq.shape and first.dtype == np.float32
    assert first.min() >= 0 and first.max() <= 1
    assert error(first, hq) > 0.01
    np.random.seed(1)
    random.seed(1)
    np.testing.assert_array_equal(degrade(hq, 11), first)
    assert error(degrade(hq, 12), first) > 0.01
    np.testing.assert_array_equal(hq, original)
    assert states() != before  # the seeds just set, which degrading has kept:
    assert np.random.uniform() == np.random.RandomState(1).uniform()


def test_strength_goes_from_mild_to_severe(hq):
    def mean_error(strength: float) -> float:
        degrade = replace(Degradation.for_resolution(128), strength=(strength, strength))
        return float(np.mean([error(degrade(hq, seed), hq) for seed in range(20)]))

    mild, medium, severe = (mean_error(strength) for strength in (0.05, 0.5, 1))
    assert mild < 0.7 * medium < 0.7 * severe


@pytest.mark.parametrize(
    "change",
    [{"blur_sigma": (3, 5)}, {"downsample": (4, 8)}, {"noise": (20, 30)}, {"jpeg": (5, 10)}],
    ids=lambda change: next(iter(change)),
)
def test_each_part_degrades_by_itself(hq, change):
    none = Degradation(blur_sigma=(1e-3, 2e-3), downsample=(1, 1), noise=(0, 0), jpeg=(100, 100), strength=(1, 1))
    assert error(none(hq, 0), hq) < 0.01
    assert error(replace(none, **change)(hq, 0), hq) > 0.03


def test_colour_tasks(hq):
    grey = Degradation(grey_probability=1)(hq, 3)
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])
    plain, shifted = Degradation()(hq, 3), Degradation(colour_shift_probability=1, colour_shift=0.3)(hq, 3)
    difference = np.median(shifted - plain, axis=(0, 1))
    assert np.ptp(difference) > 0.02
    faded = Degradation(fade_probability=1, fade=(0.5, 0.5))(hq, 3)
    np.testing.assert_allclose(faded, fade(plain, 0.5), atol=1e-6)


def test_fading_takes_colour_and_contrast(hq):
    def colour(image):
        return np.ptp(image, axis=2).mean()

    assert fade(hq, 0) == pytest.approx(hq)
    half = fade(hq, 0.5)
    assert colour(half) == pytest.approx(0.375 * colour(hq), rel=1e-4)  # half the colour, at three quarters of contrast
    assert half.std() < 0.8 * hq.std()
    gone = fade(hq, 1)
    np.testing.assert_allclose(gone, 0.5 * grey(hq) + 0.3, atol=1e-6)


def test_a_light_has_the_hue_that_is_drawn_and_keeps_the_product_of_gains(hq):
    gains = [drawn_gains(np.random.default_rng(seed), 0.6) for seed in range(20)]
    assert all(np.prod(one) == pytest.approx(1) for one in gains)
    widest = [max(one) / min(one) for one in gains]
    assert 1.75 < max(widest) <= np.exp(0.6) + 1e-9
    assert len({int(np.argmax(one)) for one in gains}) == 3
    np.testing.assert_allclose(tint(hq, np.array([1.0, 2.0, 0.5])), hq * np.float32([1, 2, 0.5]))


def test_resolution_scales_blur_and_reduction_only():
    assert Degradation.for_resolution(256) == Degradation()
    large = Degradation.for_resolution(512)
    assert (large.kernel_size, large.blur_sigma[1], large.downsample[1]) == (41, 10, 16)
    assert (large.noise, large.jpeg) == (Degradation().noise, Degradation().jpeg)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel_size": 20}, "kernel_size is 20; give an odd number"),
        ({"kernels": ("isotropic", "aniso")}, "choose from iso, aniso"),
        ({"kernel_probabilities": (1.0,)}, "one weight for each"),
        ({"blur_sigma": (5, 1)}, r"blur_sigma is \(5, 1\); give two ascending numbers"),
        ({"noise": 2}, "noise is 2; give a list"),
        ({"downsample": (0.5, 2)}, "downsample"),
        ({"noise": (-1, 2)}, "noise"),
        ({"jpeg": (10, 101)}, "between 1 and 100"),
        ({"strength": (0, 1)}, "strength"),
        ({"fade": (0.5, 1.5)}, "fade"),
    ],
)
def test_impossible_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        Degradation(**change)


def test_other_pictures_are_refused(hq):
    with pytest.raises(TypeError, match=r"picture is uint8 \(128, 128, 3\); give \(H, W, 3\) float32"):
        Degradation()((hq * 255).astype(np.uint8), 0)
    with pytest.raises(TypeError, match="float32"):
        Ladder().degrade(hq.astype(np.float64), 0.5, 0)


BESIDE = """
import torch
from iqp_adapter.scoring.scorer import Scorer
print(Scorer("niqe").protocol, float(Scorer("niqe")(torch.rand(1, 3, 128, 128, generator=torch.manual_seed(0)))))
"""


@pytest.mark.skipif(find_spec("basicsr") is None, reason="the parameters are in basicsr, which is not installed")
@pytest.mark.parametrize("shape", ["package", "installed for development"])
def test_another_basicsr_that_comes_first_changes_nothing(tmp_path, root, shape):
    (tmp_path / "basicsr" / "data").mkdir(parents=True)
    (tmp_path / "basicsr" / "__init__.py").write_text("SOMEBODYS = True\n")
    (tmp_path / "basicsr" / "data" / "__init__.py").write_text("raise ImportError('of another project')\n")
    if shape != "package":
        (tmp_path / "basicsr.egg-info").mkdir()
        (tmp_path / "basicsr.egg-info" / "PKG-INFO").write_text(
            "Metadata-Version: 2.1\nName: basicsr\nVersion: 1.3.2\n"
        )

    def said(*paths):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*paths, root])), "OMP_NUM_THREADS": "1"}
        code = "import basicsr; assert basicsr.SOMEBODYS" * bool(paths) + BESIDE
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=root)
        assert run.returncode == 0, run.stderr
        return run.stdout

    beside = said(tmp_path)
    assert "@basicsr-params" in beside and beside == said()


def test_no_kind_of_degradation_needs_another():
    files = {kind.__module__.rpartition(".")[2]: sys.modules[kind.__module__] for kind in DEGRADATIONS.values()}
    for name, file in files.items():
        imported = set(re.findall(r"^from \.(\w+) import", inspect.getsource(file), re.MULTILINE))
        assert "checks" in imported
        assert not imported & (files.keys() - {name} | {"kinds"})


def test_jpeg_keeps_channels_apart():
    red = np.zeros((16, 16, 3), np.float32)
    red[..., 0] = 1
    assert error(jpeg(red, 95), red) < 0.02


def test_ladder_share_of_originals_and_spread():
    drawn = np.array([Ladder(originals=0.4).severity(sample_seed(0, 0, i)) for i in range(2000)])
    assert np.mean(drawn == 0) == pytest.approx(0.4, abs=0.04)
    assert np.quantile(drawn[drawn > 0], [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.06)


def test_ladder_is_decided_by_its_seed_and_keeps_originals(hq):
    ladder, before = Ladder(originals=0.5), states()
    for seed in range(8):
        target = ladder(hq, seed)
        np.testing.assert_array_equal(target, ladder.degrade(hq, ladder.severity(seed), seed))
        assert (target is hq) == (ladder.severity(seed) == 0)
    assert error(ladder.degrade(hq, 0.5, 1), ladder.degrade(hq, 0.5, 2)) > 1e-3
    assert states() == before


def test_ladder_draws_severity_and_strengths_apart(hq):
    """The first draw of `severity` decides on originals; it must not also be that of the softness."""
    ladder = Ladder(noise=0, jpeg=98, blur_sigma=(0.5, 2), downsample=(1.5, 4))
    first = [numpy_rng(seed).uniform() for seed in range(200)]
    softness = [sharpness(ladder.degrade(hq, 1, seed)) for seed in range(200)]
    kind = np.array(softness) > np.mean(softness)  # reduced and enlarged, or blurred
    for group in (kind, ~kind):
        assert abs(np.corrcoef(np.array(first)[group], np.array(softness)[group])[0, 1]) < 0.4


def test_ladder_gets_softer_with_severity(hq):
    def mean_sharpness(severity: float) -> float:
        return float(np.mean([sharpness(Ladder().degrade(hq, severity, seed)) for seed in range(16)]))

    steps = [mean_sharpness(severity) for severity in (0, 0.25, 0.5, 0.75, 1)]
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] < 0.97 * steps[0]


def test_ladder_discolours_on_request_and_else_changes_nothing(hq):
    plain, coloured = Ladder(originals=0), Ladder(originals=0, fade=0.8, tint=0.5)
    assert error(coloured.degrade(hq, 1.0, 4), hq) > 1.5 * error(plain.degrade(hq, 1.0, 4), hq)
    assert coloured.degrade(hq, 0, 4) is hq
    with pytest.raises(ValueError, match="fade and tint are 2 and 0.0"):
        Ladder(fade=2)


def test_ladder_refuses_impossible_settings(hq):
    with pytest.raises(ValueError, match="share of untouched samples"):
        Ladder(originals=2)
    with pytest.raises(ValueError, match="severity is 1.5; give a number in"):
        Ladder().degrade(hq, 1.5, 0)


@pytest.mark.slow
def test_ladder_lowers_the_measured_quality_of_faces(faces):
    pytest.importorskip("pyiqa")
    from iqp_adapter.scoring.scorer import Scorer
    from iqp_adapter.training.dataset import FaceFolder

    data, piqe = FaceFolder(faces / "dev", 256), Scorer("piqe", device="cpu")
    clean = [data[index]["hq"].permute(1, 2, 0).numpy() for index in range(0, 20, 2)]  # (3, H, W) -> (H, W, 3)

    def mean_score(severity: float) -> float:
        targets = np.stack([Ladder().degrade(picture, severity, seed) for seed, picture in enumerate(clean)])
        return float(piqe(torch.from_numpy(targets).permute(0, 3, 1, 2)).mean())  # (B, H, W, 3) -> (B, 3, H, W)

    scores = [mean_score(severity) for severity in (0, 0.25, 1)]
    assert scores[0] + 5 < scores[1] < scores[2] - 3  # PIQE: lower is better


class Theirs:
    """A kind of degradation of somebody else."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, hq, seed):
        return self.answer(hq)


FAULTY = {
    "raises": (lambda hq: 1 / 0, "fails: ZeroDivisionError: division by zero"),
    "nothing": (lambda hq: None, "gives a NoneType, expected float32"),
    "another type": (lambda hq: hq.astype(np.float64), r"gives float64 \(128, 128, 3\), expected float32"),
    "another shape": (lambda hq: hq[:4], r"gives float32 \(4, 128, 3\), expected float32 \(128, 128, 3\)"),
    "no numbers": (lambda hq: hq * np.float32(np.nan), r"gives values from nan to nan, expected \[0, 1\]"),
    "too bright": (lambda hq: hq * 300, r"gives values from .*, expected \[0, 1\]"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_kind_is_named_in_training_and_in_the_benchmark(hq, name, tmp_path, monkeypatch):
    answer, words = FAULTY[name]
    Image.fromarray((hq * 255).astype(np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Theirs, "for_resolution", classmethod(lambda cls, px: cls(answer)), raising=False)
    monkeypatch.setitem(DEGRADATIONS, "theirs", Theirs)
    with pytest.raises((ValueError, TypeError), match=f"^the degradation Theirs {words}"):
        FaceFolder(tmp_path, 128, degradation=degradation_of(128, kind="theirs"))[0, 0]
    with pytest.raises((ValueError, TypeError), match=f"^the degradation Theirs {words}"):
        degraded(tmp_path, tmp_path / "made", size=128, changes={"kind": "theirs"})
    assert not list((tmp_path / "made" / "inputs").glob("*"))


def test_a_kind_that_cannot_be_made_is_named(monkeypatch):
    monkeypatch.setitem(DEGRADATIONS, "theirs", Theirs)
    with pytest.raises(ValueError, match="^degradation of kind 'theirs' cannot be made .AttributeError: "):
        degradation_of(128, kind="theirs")
    with pytest.raises(ValueError, match="^degradation of kind 'heavy': noise is 'x'; give a list"):
        degradation_of(128, kind="heavy", noise="x")
    monkeypatch.setattr(Theirs, "for_resolution", classmethod(lambda cls, px: "fog"), raising=False)
    with pytest.raises(ValueError, match="^degradation of kind 'theirs' is made as a str, expected something to call"):
        degradation_of(128, kind="theirs")
