"""The face folder: samples that only (seed, epoch, index) decides, and what happens to bad files."""

from __future__ import annotations

import itertools
import logging
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from iqp_adapter.degradations.face import Degradation
from iqp_adapter.degradations.ladder import Ladder
from iqp_adapter.degradations.rng import numpy_rng
from iqp_adapter.pictures import read_large, resample
from iqp_adapter.training.augmentation import Augmentation
from iqp_adapter.training.dataset import FaceFolder, FacePairs, KeyedBatches

DEGRADATION = Degradation.for_resolution(64)


def picture(seed: int, width: int = 128, height: int = 128) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
    return np.asarray(rough.resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "faces"
    root.mkdir()
    for seed in range(7):
        Image.fromarray(picture(seed)).save(root / f"{seed}.png")
    return root


def build(root: Path, **changes) -> FaceFolder:
    settings = {"degradation": DEGRADATION, "ladder": Ladder(), "augmentation": Augmentation(), "seed": 3}
    return FaceFolder(root, 64, **(settings | changes))


def batches(data: FaceFolder, count: int, *, workers: int = 0, **order) -> list[dict[str, torch.Tensor]]:
    loader = DataLoader(
        data, batch_sampler=KeyedBatches(len(data), **order), num_workers=workers, generator=torch.Generator()
    )
    return list(itertools.islice(loader, count))


def assert_same(some: list[dict[str, torch.Tensor]], others: list[dict[str, torch.Tensor]]) -> None:
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name]), name


def test_a_sample(folder):
    data = build(folder)
    sample = data[2, 5]
    assert sample.keys() == {"hq", "lq", "key", "index", "severity", "full"}
    for name in ("hq", "lq"):
        assert sample[name].shape == (3, 64, 64) and sample[name].dtype == torch.float32
        assert sample[name].min() >= 0 and sample[name].max() <= 1
    assert sample["index"] == 5
    assert torch.equal(sample["hq"], data[2, 5]["hq"])
    assert not torch.equal(sample["hq"], data[3, 5]["hq"])
    assert not torch.equal(sample["hq"], build(folder, seed=4)[2, 5]["hq"])
    assert torch.equal(data[5]["hq"], data[0, 5]["hq"])


def test_the_parts_of_a_sample_are_drawn_apart(folder):
    draws: dict[str, list[float]] = {"pose": [], "ladder": [], "degradation": []}

    class Pose(Augmentation):
        def pose(self, rng):
            draws["pose"].append(rng.uniform())
            return super().pose(rng)

    class Rungs(Ladder):
        def severity(self, seed):
            draws["ladder"].append(numpy_rng(seed).uniform())
            return 0.5

    def degrade(hq, seed):
        draws["degradation"].append(numpy_rng(seed).uniform())
        return hq / 2

    data = build(folder, augmentation=Pose(), ladder=Rungs(), degradation=degrade)
    keys = {data[epoch, index]["key"] for epoch, index in itertools.product(range(40), range(7))}
    correlations = np.corrcoef(list(draws.values()))[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 0.2
    assert len(keys) == 280


def test_the_input_tells_nothing_of_the_quality_of_its_target(folder):
    def degrade(hq, seed):
        return hq / 2

    kept, lowered = (build(folder, ladder=Ladder(originals=share), degradation=degrade)[1, 2] for share in (1, 0))
    assert not torch.equal(kept["hq"], lowered["hq"])
    assert torch.equal(kept["lq"], lowered["lq"])


def test_global_generators_are_left_as_found(folder):
    before = np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state().tolist()
    batches(build(folder), 3, batch_size=3)
    assert (np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state().tolist()) == before


def test_workers_and_pickling_change_nothing(folder):
    data = build(folder)
    inline = batches(data, 5, batch_size=3)
    assert_same(inline, batches(data, 5, batch_size=3, workers=2))
    assert_same(inline, batches(pickle.loads(pickle.dumps(data)), 5, batch_size=3))


def test_resuming_inside_an_epoch(folder):
    data = build(folder)
    assert_same(batches(data, 6, batch_size=3)[4:], batches(data, 2, batch_size=3, start_step=4))


def test_two_processes_see_what_one_with_twice_the_batch_sees():
    one = KeyedBatches(7, 4, seed=1)
    two = [KeyedBatches(7, 2, seed=1, rank=rank, world_size=2) for rank in (0, 1)]
    together = [first + second for first, second in zip(*(itertools.islice(part, 9) for part in two), strict=True)]
    assert together == list(itertools.islice(one, 9))


def test_every_epoch_is_a_new_order_of_all():
    flat = list(itertools.chain.from_iterable(itertools.islice(KeyedBatches(7, 3, seed=1), 21)))
    epochs = [[index for epoch, index in flat if epoch == wanted] for wanted in range(9)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 9
    assert [epoch for epoch, _ in flat] == [epoch for epoch in range(9) for _ in range(7)]


def test_starting_late_costs_nothing():
    late = next(iter(KeyedBatches(10, 4, start_step=10**12)))
    assert [epoch for epoch, _ in late] == [4 * 10**11] * 4


@pytest.mark.parametrize("change", [{"length": 0}, {"batch_size": 0}, {"start_step": -1}, {"rank": 1}])
def test_impossible_orders_are_refused(change):
    with pytest.raises(ValueError, match="do not fit; sizes are 1 or more"):
        KeyedBatches(**({"length": 5, "batch_size": 2} | change))


def test_pairs_share_pose_and_colours_whatever_their_sizes_and_endings(folder, tmp_path):
    lq = tmp_path / "lq"
    lq.mkdir()
    for path in folder.iterdir():
        Image.open(path).resize((32, 32), Image.Resampling.BOX).save(lq / f"{path.stem}.bmp")
    data = FacePairs(folder, lq, 64, augmentation=Augmentation(), seed=3)
    unposed = FacePairs(folder, lq, 64, seed=3)
    for index in range(len(data)):
        sample, plain = data[1, index], unposed[1, index]
        assert torch.equal(sample["hq"], build(folder, ladder=None)[1, index]["hq"])
        apart = (sample["hq"] - sample["lq"]).abs().mean()
        assert 0 < apart < 0.05 < (plain["hq"] - sample["lq"]).abs().mean()


def test_a_picture_without_a_partner_is_named(folder, tmp_path):
    lq = tmp_path / "lq"
    lq.mkdir()
    for name in ("0.png", "1.png", "1.bmp", "2.png"):
        Image.fromarray(picture(0)).save(lq / name)
    with pytest.raises(ValueError, match=r"5 of 7 pictures \(1.png, 3.png, 4.png, ...\) have no partner in .*lq, or"):
        FacePairs(folder, lq, 64)


def test_deep_grey_is_a_picture_like_others(tmp_path):
    levels = picture(0)[..., 0].astype(np.uint16) * 257
    Image.fromarray(levels).save(tmp_path / "deep.png")
    expected = np.repeat(picture(0)[..., :1], 3, axis=2)
    np.testing.assert_array_equal(read_large(tmp_path / "deep.png", 64), expected.astype(np.uint16) * 257)
    sample = build(tmp_path, ladder=None, degradation=None, augmentation=None)[0]
    np.testing.assert_allclose(sample["hq"], resample(expected, np.eye(2, 3), 64).transpose(2, 0, 1), atol=0.51 / 255)


def test_bad_files_are_named_once_and_left_out(folder, caplog):
    whole = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("not a picture")
    (folder / "empty.jpg").touch()
    Image.fromarray(picture(0, 63, 200)).save(folder / "small.png")
    with caplog.at_level(logging.WARNING):
        data = build(folder)
        batches(data, 6, batch_size=3)
    assert [path.name for path in data.paths] == [f"{seed}.png" for seed in range(7)]
    for name in ("cut.png", "text.jpg", "empty.jpg", "small.png"):
        assert sum(f"skipped {folder / name}" in line.getMessage() for line in caplog.records) == 1, name
    assert "63 x 200 px, needs 64 px" in caplog.text
    assert len(caplog.records) == 4


def test_a_file_that_goes_bad_later_is_replaced(folder, caplog):
    data = build(folder, cache_bytes=0, ladder=None, degradation=None, augmentation=None)
    assert len(data) == 7
    following = data[3]["hq"]
    data.paths[2].write_bytes(b"gone")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(data[2]["hq"], following)
        assert torch.equal(data[4, 2]["hq"], following)
    assert len(caplog.records) == 1 and "2.png" in caplog.text


def test_a_pair_with_a_broken_input_is_named_and_replaced_whole(folder, tmp_path, caplog):
    lq = tmp_path / "lq"
    shutil.copytree(folder, lq)
    data = FacePairs(folder, lq, 64)
    following = data[3]
    (lq / "2.png").write_bytes((lq / "2.png").read_bytes()[:300])
    (folder / "5.png").write_bytes(b"gone")
    with caplog.at_level(logging.WARNING):
        sample, other = data[2], FacePairs(folder, lq, 64, cache_bytes=0)[5]
    assert torch.equal(sample["hq"], following["hq"]) and torch.equal(sample["lq"], following["lq"])
    assert torch.equal(other["hq"], data[6]["hq"]) and torch.equal(other["lq"], data[6]["lq"])
    assert f"skipped {lq / '2.png'}: image file is truncated" in caplog.text


def test_a_folder_without_a_usable_picture(tmp_path):
    Image.fromarray(picture(0, 32, 32)).save(tmp_path / "small.png")
    with pytest.raises(ValueError, match="no picture in .* is readable and at least 64 px"):
        build(tmp_path)


def test_cached_and_decoded_pictures_are_the_same(folder):
    assert_same(batches(build(folder), 3, batch_size=3), batches(build(folder, cache_bytes=0), 3, batch_size=3))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    Image.fromarray(picture(1)).convert(mode).save(path)
    assert read_large(path, 64).shape == (128, 128, 3)


def test_exif_turned_pictures_are_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees
    Image.fromarray(picture(1)).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(read_large(tmp_path / "x.png", 64), np.rot90(picture(1), -1))


def test_without_augmentation_the_centre_square_is_reduced_by_area():
    wide = picture(2, 192, 128)
    expected = wide[:, 32:160].reshape(64, 2, 64, 2, 3).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(resample(wide, np.eye(2, 3), 64), expected, atol=0.51 / 255)


def test_poses_move_the_picture_as_told():
    image = picture(3)
    mirror = np.array([[-1.0, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(resample(image, mirror, 64), resample(image[:, ::-1], np.eye(2, 3), 64))
    right = np.array([[1.0, 0, 0.25], [0, 1, 0]])  # a quarter of half a side: 16 of 128 px, 8 of 64
    moved, still = resample(image, right, 64), resample(image, np.eye(2, 3), 64)
    np.testing.assert_array_equal(moved[:, :56], still[:, 8:])
    zoom = Augmentation(flip=0, rotation=0, scale=(2, 2), shift=0).pose(numpy_rng(0))
    inner = np.asarray(Image.fromarray(image[32:96, 32:96]).resize((64, 64), Image.Resampling.BICUBIC)) / 255
    assert np.abs(resample(image, zoom, 64) - inner)[4:-4, 4:-4].mean() < 0.01


def test_turning_costs_no_sharpness():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (128, 128, 3), np.uint8)  # detail at every frequency, and in every direction
    turns = Augmentation(scale=(1, 1))

    def detail(pose: np.ndarray) -> float:
        return float(resample(noise, pose, 64)[8:-8, 8:-8].std())

    turned = np.mean([detail(turns.pose(numpy_rng(seed))) for seed in range(20)])
    assert turned > 0.85 * detail(np.eye(2, 3))


def test_colour_jitter_stays_in_its_range_and_none_is_none():
    none = Augmentation(brightness=0, contrast=0, saturation=0, tint=0).colours(numpy_rng(0))
    np.testing.assert_allclose(none, np.eye(3, 4), atol=1e-7)
    grey = np.array([0.5, 0.5, 0.5, 1])
    plain = Augmentation(brightness=0.1, contrast=0.1, saturation=0.1, tint=0)
    results = np.array([plain.colours(numpy_rng(seed)) @ grey for seed in range(200)])
    assert np.abs(results - 0.5).max() < 0.07
    assert np.ptp(results, axis=1).max() < 1e-6  # without a tint, grey stays grey
    assert results[:, 0].std() > 0.02
    tinted = Augmentation(brightness=0, contrast=0, saturation=0, tint=0.1)
    results = np.array([tinted.colours(numpy_rng(seed)) @ grey for seed in range(200)])
    assert 0.04 < np.abs(results - 0.5).max() <= 0.05
    assert np.ptp(results, axis=1).max() > 0.05
