"""The pipeline: the same type comes back, faces share batches, photos stream, and untouched means untouched."""

from __future__ import annotations

import re
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from no_memory import NO_MEMORY
from photo_standins import BOX, FACE, LANDMARKS, Brightness, Echo, Negative, Scored, Stranger, embed, photo
from PIL import Image
from torch.nn.functional import avg_pool2d

from iqp_adapter.photo import GivenFaces, Options, restore_photo, restore_photos
from iqp_adapter.photo.outcomes import Outcome
from iqp_adapter.photo.pipeline import check_size
from iqp_adapter.pictures import MAX_PIXELS

PAIR = GivenFaces(np.stack([LANDMARKS, LANDMARKS + [512, 0]]), np.stack([BOX, BOX + [512, 0, 512, 0]]))
"""Two faces far apart, in two astronauts side by side."""


def pair() -> np.ndarray:
    return np.concatenate([photo(), photo()], 1)


def nobody(rgb: np.ndarray) -> Any:
    return GivenFaces(np.zeros((0, 5, 2)))(rgb)


def changed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Which columns differ."""
    return (one != other).any((0, 2))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("kind", ["grey", "rgb", "rgba"])
def test_an_array_comes_back_as_such_an_array(dtype: Any, kind: str) -> None:
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    whole = np.dstack([photo(), np.full((512, 512), 77, np.uint8)])
    given = (whole[..., {"grey": 0, "rgb": slice(3), "rgba": slice(4)}[kind]] / 255 * top).astype(dtype)
    restored = restore_photo(given, Negative(), detector=FACE)
    assert restored.shape == given.shape and restored.dtype == given.dtype
    x, y = LANDMARKS[2].round().astype(int)
    assert np.any(restored[y, x] != given[y, x]) and np.array_equal(restored[400:], given[400:])
    assert kind != "rgba" or np.array_equal(restored[..., 3], given[..., 3])


def test_an_image_comes_back_as_an_image() -> None:
    given = Image.fromarray(photo()).convert("L")
    restored = restore_photo(given, Negative(), detector=FACE)
    assert isinstance(restored, Image.Image) and restored.mode == "L" and restored.size == given.size


def test_the_given_array_is_not_written_to() -> None:
    given = photo()
    restore_photo(given, Negative(), detector=FACE)
    assert np.array_equal(given, photo())


@pytest.mark.parametrize("upscale", [1, 2, 4])
def test_upscale_enlarges_the_whole_picture(upscale: int) -> None:
    given = np.dstack([photo(), photo()[..., :1]])
    assert restore_photo(given, Echo(), detector=FACE, upscale=upscale).shape == (512 * upscale, 512 * upscale, 4)


def test_what_is_asked_reaches_the_model() -> None:
    model = Echo()
    restore_photo(photo(), model, detector=FACE, quality=0.3, scale=1.5, fidelity=0.2)
    assert model.asked == [{"quality": 0.3, "scale": 1.5, "fidelity": 0.2}]


# -- batches and streams


def test_faces_of_many_photos_share_batches() -> None:
    model = Echo()
    done = list(restore_photos([photo() for _ in range(10)], model, detector=FACE, batch=4))
    assert model.batches == [4, 4, 2] and len(done) == 10


def test_a_batch_gives_the_pictures_of_single_calls() -> None:
    photos = [np.roll(photo(), 3 * shift, 2) for shift in range(3)]
    together = [r.pixels for r in restore_photos(photos, Negative(), detector=FACE, batch=8)]
    alone = [restore_photo(one, Negative(), detector=FACE, batch=1) for one in photos]
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))


def test_photos_come_in_their_order_with_and_without_faces() -> None:
    photos = [np.full((40 + index, 50, 3), 9, np.uint8) for index in range(9)]

    def every_third(rgb: np.ndarray) -> Any:
        return GivenFaces(LANDMARKS[None] / 5)(rgb) if len(rgb) % 3 == 0 else nobody(rgb)

    done = list(restore_photos(photos, Echo(), detector=every_third, batch=2))
    assert [len(r.pixels) for r in done] == list(range(40, 49))
    assert [len(r.faces) for r in done] == [int(height % 3 == 0) for height in range(40, 49)]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("detector", [FACE, nobody])
def test_memory_does_not_grow_with_the_number_of_photos(batch: int, detector: Any) -> None:
    alive: list[weakref.ref[Any]] = []
    most = 0

    class Tracked(np.ndarray):
        pass

    def stream() -> Iterator[np.ndarray]:
        nonlocal most
        for _ in range(12):
            given = Tracked((512, 512, 3), np.uint8)  # which owns its memory, so that views of it keep it alive
            given[...] = photo()
            alive.append(weakref.ref(given))
            yield given
            del given
            most = max(most, sum(ref() is not None for ref in alive))

    for _ in restore_photos(stream(), Echo(), detector=detector, batch=batch):
        pass
    assert len(alive) == 12
    assert 0 < most <= batch + 1 if detector is FACE else most <= 2


@pytest.mark.parametrize(("resolution", "size"), [(128, 32), (256, 8), (512, 2), (1024, 1)])
def test_as_many_faces_are_restored_at_once_as_their_pixels_allow(resolution: int, size: int) -> None:
    def batches(**options: Any) -> list[int]:
        model = Echo(resolution)
        faces = [np.zeros((8, 8, 3), np.uint8)] * (size + 1)
        list(restore_photos(faces, model, aligned=True, **options))
        return model.batches

    assert batches() == [size, 1]
    assert batches(batch=size + 1) == [size + 1]


def test_large_photos_do_not_wait_for_a_full_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iqp_adapter.photo.pipeline.HELD_MEGAPIXELS", 0.4)  # more than one astronaut, less than two
    model = Echo()
    list(restore_photos([photo()] * 4, model, detector=FACE, batch=8))
    assert model.batches == [2, 2]


def test_nothing_is_read_before_its_turn() -> None:
    def stream() -> Iterator[np.ndarray]:
        yield photo()
        yield photo()
        raise AssertionError("read too early")

    assert next(restore_photos(stream(), Echo(), detector=FACE, batch=1)).changed


# -- which faces


@pytest.mark.parametrize(
    ("wanted", "left", "right"), [("all", True, True), (0, True, False), (1, False, True), (5, False, False)]
)
def test_only_the_wanted_faces_change(wanted: Any, left: bool, right: bool) -> None:
    [restored] = restore_photos([pair()], Negative(), detector=PAIR, faces=wanted)
    columns = changed(restored.pixels, pair())
    assert (columns[:512].any(), columns[512:].any()) == (left, right)
    assert [not face.skipped for face in restored.faces] == [left, right]
    assert all("not asked for" in face.skipped for face in restored.faces if face.skipped)
    assert [face.outcome is Outcome.RESTORED for face in restored.faces] == [left, right]
    assert {face.outcome for face in restored.faces} <= {Outcome.RESTORED, Outcome.UNWANTED}


def test_the_largest_face_is_the_one_with_the_largest_box() -> None:
    boxes = np.stack([BOX, BOX + [512, 0, 520, 8]])
    detector = GivenFaces(np.stack([LANDMARKS, LANDMARKS + [512, 0]]), boxes)
    [restored] = restore_photos([pair()], Negative(), detector=detector, faces="largest")
    assert [bool(face.skipped) for face in restored.faces] == [True, False]


def test_small_faces_are_left_alone() -> None:
    [restored] = restore_photos([photo()], Negative(), detector=FACE, min_face=100)
    assert restored.faces[0].skipped == "90 px, smaller than min_face 100"
    assert restored.faces[0].outcome is Outcome.SMALL
    assert not restored.changed and np.array_equal(restored.pixels, photo())


def test_faces_with_more_detail_than_the_model_gives_are_left_alone_unless_forced() -> None:
    [restored] = restore_photos([photo()], Negative(64), detector=FACE)
    assert "more than 1.4 x the model's 64 px" in restored.faces[0].skipped and "force" in restored.faces[0].skipped
    assert not restored.changed and restored.faces[0].outcome is Outcome.LARGE
    assert restore_photo(photo(), Negative(128), detector=FACE).tobytes() != photo().tobytes()
    [forced] = restore_photos([photo()], Negative(64), detector=FACE, force=True)
    assert forced.changed and not forced.faces[0].skipped


def test_landmarks_that_span_no_face_are_named() -> None:
    detector = GivenFaces(np.stack([np.full((5, 2), 50.0), LANDMARKS + 3000]), np.stack([BOX, BOX]))
    [restored] = restore_photos([photo()], Negative(), detector=detector)
    assert [face.skipped for face in restored.faces] == ["its landmarks span no face inside the photo"] * 2
    assert [face.outcome for face in restored.faces] == [Outcome.NO_FACE] * 2


# -- leaving good faces alone


def test_a_good_face_is_untouched_to_the_pixel_beside_a_restored_one() -> None:
    bright = pair()
    bright[:, 512:] = 255 - (255 - bright[:, 512:]) // 4
    [restored] = restore_photos([bright], Scored(), detector=PAIR, scorers=[Brightness()], skip_if=0.7)
    columns = changed(restored.pixels, bright)
    assert columns[:512].any() and not columns[512:].any()
    assert "good already: quality 0." in restored.faces[1].skipped and "above skip_if 0.7" in restored.faces[1].skipped
    assert [face.outcome for face in restored.faces] == [Outcome.RESTORED, Outcome.GOOD]


def test_a_good_neighbour_inside_the_square_is_untouched() -> None:
    box = np.array([275.0, 80.0, 300.0, 130.0])
    detector = GivenFaces(np.stack([LANDMARKS, LANDMARKS + [80, 0]]), np.stack([BOX, box]))
    [restored] = restore_photos([photo()], Negative(), detector=detector, min_face=30)
    [alone] = restore_photos([photo()], Negative(), detector=FACE)
    assert not np.array_equal(alone.pixels[80:130, 275:300], photo()[80:130, 275:300])  # the square does reach there
    assert np.array_equal(restored.pixels[80:130, 275:300], photo()[80:130, 275:300])


def test_faces_that_overlap_share_the_photo_between_them() -> None:
    class Paint(Echo):
        """Makes the first face black and the second one white."""

        def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
            return torch.stack([torch.full_like(face, index) for index, face in enumerate(lq)])

    detector = GivenFaces(np.stack([LANDMARKS, LANDMARKS + [90, 0]]), np.stack([BOX, BOX + [90, 0, 90, 0]]))
    restored = restore_photo(photo(), Paint(), detector=detector, colour="model")
    x, y = LANDMARKS[2].round().astype(int)
    assert restored[y, x].max() == 0 and restored[y, x + 90].min() == 255
    assert restored[y, x + 35].max() < 200  # the second face, pasted later, does not reach as far as it could


def test_nothing_changed_is_said() -> None:
    [restored] = restore_photos([photo()], Negative(), detector=nobody)
    assert not restored.changed and np.array_equal(restored.image, photo())


@pytest.mark.parametrize("model", [Negative(), Scored()])
def test_skip_if_without_a_score_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="skip_if needs the model's score scale and scorers="):
        restore_photo(photo(), model, detector=FACE, skip_if=0.5)


# -- the report


def test_the_report_tells_of_each_face() -> None:
    [restored] = restore_photos(
        [photo()], Scored(), detector=FACE, scorers=[Brightness()], embedder=embed, colour="model"
    )
    [face] = restored.faces
    assert face.box == BOX.tolist() and 160 < face.side < 200
    scores = face.scores["brightness"]
    assert scores["before"] == pytest.approx(100 - scores["after"], abs=0.01)
    assert scores["quality_before"] == pytest.approx(scores["before"] / 100, abs=1e-3)
    assert face.identity is not None and face.identity < 0.99
    assert face.seconds > 0 and restored.seconds >= face.seconds
    assert face.quality == "best"


def test_identity_of_an_unchanged_face_is_one() -> None:
    [restored] = restore_photos([photo()], Echo(), detector=FACE, embedder=embed)
    assert restored.faces[0].identity == pytest.approx(1)


def test_match_tries_five_levels_in_batches_and_says_which() -> None:
    from photo_standins import Dial

    model = Dial()
    [restored] = restore_photos([pair()], model, detector=PAIR, quality="match", batch=2)
    assert model.batches == [2] * 5
    assert all(face.quality in (0.05, 0.275, 0.5, 0.725, 0.95) for face in restored.faces)


# -- colour


class Tinted(Echo):
    """Sharpens, and makes everything darker and bluer."""

    def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
        sharper = 2 * lq - avg_pool2d(lq, 5, 1, 2, count_include_pad=False)
        return (sharper * 0.8 + torch.tensor([-0.1, 0, 0.1]).view(3, 1, 1)).clamp(0, 1)


@pytest.mark.parametrize(("colour", "kept"), [("photo", True), ("model", False)])
def test_the_photos_colours_are_kept_where_asked(colour: str, kept: bool) -> None:
    restored = restore_photo(photo(), Tinted(), detector=FACE, colour=colour)
    face = np.s_[80:160, 190:260]
    shift = np.abs(restored[face].mean((0, 1)) - photo()[face].mean((0, 1))).max()
    assert (shift < 1.5) if kept else (shift > 15)
    assert steps(restored[face]) > 1.05 * steps(photo()[face])  # it is sharper in either case


def steps(picture: np.ndarray) -> float:
    """Mean difference between pixels side by side."""
    return float(np.abs(np.diff(picture.astype(float), axis=1)).mean())


# -- aligned pictures


@pytest.mark.parametrize("size", [256, 300, 200])
def test_an_aligned_picture_is_the_face(size: int) -> None:
    given = np.ascontiguousarray(photo()[:size, :size])
    [restored] = restore_photos([given], Negative(), aligned=True, colour="model")
    assert restored.pixels.shape == given.shape
    assert np.abs(restored.pixels.astype(int) - (255 - given)).mean() < (0.01 if size == 256 else 6)


def test_an_aligned_picture_of_the_models_size_is_passed_to_the_bit() -> None:
    seen = []

    class Watch(Echo):
        def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
            seen.append(lq)
            return lq

    given = np.ascontiguousarray(photo()[:256, :256])
    restore_photo(given, Watch(), aligned=True)
    assert torch.equal((seen[0][0].permute(1, 2, 0) * 255).round().byte(), torch.from_numpy(given))


def test_an_aligned_picture_is_square() -> None:
    [restored] = restore_photos([photo()[:200]], Negative(), aligned=True)
    assert restored.faces[0].skipped == "512 x 200, an aligned face is square" and not restored.changed
    assert restored.faces[0].outcome is Outcome.NOT_SQUARE


# -- refusals


def test_a_batch_too_large_for_the_memory_is_one_line() -> None:
    class Full(Echo):
        def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmuch")

    with pytest.raises(RuntimeError, match="^face 0: the model failed: no memory for even one face at once; use anoth"):
        restore_photo(photo(), Full(), detector=FACE)


def test_importing_photos_imports_no_heavy_package(root: Path) -> None:
    code = "import sys, iqp_adapter.photo; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    loaded = set(done.stdout.split())
    assert not {"cv2", "skimage", "facexlib", "pyiqa", "basicsr", "timm", "rich", "matplotlib"} & loaded


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"quality": "bset"}, r"quality is 'bset'; use a number in \[0, 1\], 'best', 'any' or 'match'"),
        ({"quality": 1.2}, r"quality is '1.2'; use a number in \[0, 1\]"),
        ({"skip_if": 80}, "skip_if is 80"),
        ({"colour": "blue"}, "colour is 'blue', expected"),
        ({"upscale": 3}, "upscale is 3, expected 1, 2 or 4"),
        ({"batch": 0}, "batch is 0"),
        ({"faces": "biggest"}, "faces is 'biggest'"),
        ({"faces": -1}, "faces is -1"),
        ({"faces": 0.9}, "faces is 0.9, expected"),
        ({"faces": float("inf")}, "faces is inf, expected"),
        ({"faces": True}, "faces is True, expected"),
        ({"quality": float("nan")}, "quality is 'nan'; use a number"),
        ({"scale": float("nan")}, "scale is nan, expected a finite number"),
        ({"scale": float("-inf")}, "scale is -inf, expected a finite number"),
        ({"scale": "2"}, "scale is '2', expected a finite number"),
        ({"fidelity": float("nan")}, "fidelity is nan, expected a finite number"),
        ({"fidelity": 1e38}, r"fidelity is 1e\+38, expected a finite number"),
        ({"skip_if": float("nan")}, "skip_if is nan, expected a quality"),
        ({"min_identity": float("nan")}, "min_identity is nan, expected a cosine"),
        ({"min_face": float("nan")}, "min_face is nan, expected pixels"),
        ({"batch": float("nan")}, "batch is nan, expected a number of faces"),
        ({"batch": 2.5}, "batch is 2.5, expected a number of faces"),
        ({"optimise": float("inf")}, "optimise is inf, expected a number of updates"),
        ({"aligned": True, "quality": "match"}, "no photo around it to match"),
    ],
)
def test_options_out_of_range_are_refused_in_one_line(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**option)


def test_a_path_without_a_place_for_the_result_is_refused() -> None:
    with pytest.raises(ValueError, match="where should the restored photo.jpg go"):
        restore_photo("photo.jpg", Echo())


def test_a_result_too_large_is_refused_before_it_is_made() -> None:
    class Huge:
        megapixels = 100.0
        path = None

    check_size(Huge(), 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="400 megapixels after upscale 2, at most 178"):
        check_size(Huge(), 2)  # type: ignore[arg-type]
    assert MAX_PIXELS // 10**6 == 178


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1)])
def test_odd_sizes_go_through(shape: tuple[int, int]) -> None:
    given = np.full((*shape, 3), 9, np.uint8)
    assert np.array_equal(restore_photo(given, Negative()), given)


@pytest.mark.slow
def test_a_hundred_megapixels_go_through() -> None:
    given = np.zeros((10_000, 10_000, 3), np.uint8)
    given[5000:5512, 5000:5512] = photo()
    detector = GivenFaces(LANDMARKS[None] + 5000, BOX[None] + 5000)
    restored = restore_photo(given, Negative(), detector=detector)
    assert restored.shape == given.shape and (restored[5000:5512, 5000:5512] != photo()).any()


def test_a_face_that_lost_its_identity_is_restored_less():
    def run(least: float | None, scale: float = 1.0):
        model = Stranger()
        options = {"min_identity": least, "scale": scale, "colour": "model"}
        [restored] = restore_photos([photo()], model, detector=FACE, embedder=embed, **options)
        return [asked["scale"] for asked in model.asked], restored.faces[0]

    scales, face = run(None)
    assert scales == [1.0] and not face.note
    lost = face.identity
    scales, face = run(lost - 0.01)
    assert scales == [1.0] and not face.note and face.identity == lost
    scales, face = run(lost + 0.01)
    half = face.identity
    assert scales == [1.0, 0.5] and half > lost + 0.01
    assert face.note == f"identity {lost:.2f} at a higher scale; restored at 0.5"
    scales, face = run(half + 0.001)
    assert scales == [1.0, 0.5, 0.0] and face.identity == pytest.approx(1) and face.note.endswith("restored at 0")
    assert run(half + 0.001, scale=2.0)[0] == [2.0, 1.0, 0.0]


def test_only_the_lost_face_of_a_batch_is_restored_less():
    def light(images: torch.Tensor) -> torch.Tensor:
        mean = images.mean((1, 2, 3))
        return torch.stack([mean, 1 - mean], 1)

    model, photos = Stranger(), [np.full_like(photo(), level) for level in (255, 128)]
    white, grey = restore_photos(photos, model, detector=FACE, embedder=light, min_identity=0.9, colour="model")
    assert model.batches == [2, 1, 1]
    assert white.faces[0].note and np.array_equal(white.image, photos[0])
    assert not grey.faces[0].note and not np.array_equal(grey.image, photos[1])


def test_optimising_takes_the_place_of_restoring():
    model = Stranger()
    restored = restore_photo(photo(), model, detector=FACE, optimise=3, quality=0.7, colour="model")
    assert model.asked == [{"steps": 3, "quality": 0.7, "scale": 1.0, "fidelity": None}]
    assert not np.array_equal(restored, photo())
    with pytest.raises(ValueError, match="Echo decides no codes, so that none can be optimised"):
        restore_photo(photo(), Echo(), detector=FACE, optimise=3)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"optimise": -1}, "optimise is -1, expected a number of updates"),
        ({"optimise": 2, "quality": "match"}, "optimise raises the quality, so that it matches no longer"),
        ({"min_identity": 90}, "min_identity is 90, expected a cosine"),
    ],
)
def test_what_can_not_be_asked_for_together_is_one_line(options, error):
    with pytest.raises(ValueError, match=error):
        Options(**options)


def test_a_floor_for_identity_needs_an_embedder():
    with pytest.raises(ValueError, match="min_identity needs embedder="):
        restore_photo(photo(), Echo(), detector=FACE, min_identity=0.9)


# -- what fails


class Faulty(Negative):
    """Answers well, but for dark faces, for which it gives what `fault` makes of them, or raises."""

    def __init__(self, fault: Any) -> None:
        super().__init__()
        self.fault = fault

    def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
        restored = super().restore(lq, **asked)
        dark = lq.mean((1, 2, 3)) < 0.05
        if isinstance(self.fault, Exception):
            if dark.any():
                raise self.fault
            return restored
        return torch.where(dark[:, None, None, None], self.fault(lq), restored)


def frames() -> list[np.ndarray]:
    """Three aligned faces, the second of them nearly black."""
    face = np.ascontiguousarray(photo()[40:296, 100:356])
    return [face, np.full_like(face, 2), face[:, ::-1].copy()]


FAULTS = {
    "nan": (lambda lq: torch.full_like(lq, float("nan")), r"the model gave no numbers \(NaN or infinity\)"),
    "one pixel": (
        lambda lq: lq.masked_fill(lq == lq.amax((1, 2, 3), keepdim=True), float("inf")),
        "the model gave no numbers",
    ),
    "another range": (lambda lq: 255 * lq, "the model gave values from .* expected"),
    "raises": (ZeroDivisionError("division\nby zero"), "the model failed: ZeroDivisionError: division by zero"),
    **{
        f"memory of {kind}": (error, "the model failed: no memory for even one face")
        for kind, error in NO_MEMORY.items()
    },
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("colour", ["photo", "model"])
def test_a_face_that_fails_is_left_alone_and_the_others_are_restored(fault: str, colour: str) -> None:
    broken, why = FAULTS[fault]
    done = list(restore_photos(frames(), Faulty(broken), aligned=True, colour=colour))
    assert [restored.faces[0].outcome.value for restored in done] == ["restored", "failed", "restored"]
    assert [restored.changed for restored in done] == [True, False, True]
    assert np.array_equal(done[1].image, frames()[1])
    assert re.match(why, done[1].faces[0].skipped) and done[1].failures == [f"face 0: {done[1].faces[0].skipped}"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_single_photo_whose_face_fails_is_an_error(fault: str) -> None:
    broken, why = FAULTS[fault]
    with pytest.raises(RuntimeError, match=f"^face 0: {why}.*; restore_photos keeps what else was restored$"):
        restore_photo(frames()[1], Faulty(broken), aligned=True)


def test_a_face_that_fails_at_one_level_of_match_is_left_alone() -> None:
    class Overflows(Negative):
        def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
            return super().restore(lq, **asked) / float(asked["quality"] < 0.9)

    [restored] = restore_photos([photo()], Overflows(), detector=FACE, quality="match")
    assert restored.faces[0].outcome is Outcome.FAILED and np.array_equal(restored.image, photo())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda lq: lq[..., ::2, ::2], r"TypeError: it gave \(1, 3, 128, 128\), expected a tensor \(1, 3, 256, 256\)"),
        (lambda lq: (lq, None), "TypeError: it gave tuple, expected a tensor"),
        (lambda lq: lq[:, :1], r"TypeError: it gave \(1, 1, 256, 256\)"),
        (lambda lq: lq.numpy(), "TypeError: it gave ndarray"),
        (lambda lq: (255 * lq).byte(), "values from 0 to 255, expected"),
    ],
)
def test_what_is_no_picture_is_named(answer: Any, why: str) -> None:
    class Odd(Echo):
        def restore(self, lq: torch.Tensor, **asked: Any) -> Any:
            return answer(lq)

    [restored] = restore_photos([photo()], Odd(), detector=FACE)
    assert restored.faces[0].outcome is Outcome.FAILED and re.search(why, restored.faces[0].skipped)
    assert "\n" not in restored.faces[0].skipped and np.array_equal(restored.image, photo())


class Picky:
    """A scorer and an embedder that has no answer for dark pictures."""

    metric = "picky"
    lower_better = False

    def __init__(self, fault: Any = None) -> None:
        self.fault = fault

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        dark = images.mean((1, 2, 3)) < 0.05
        if self.fault is None and dark.any():
            raise ValueError("picky has no score for image 1 of the batch")
        return images.mean((1, 2, 3)).masked_fill(dark, float("nan"))


@pytest.mark.parametrize("fault", [None, "nan"])
def test_a_scorer_without_a_score_for_one_face_costs_nothing_else(fault: Any) -> None:
    scorers = [Picky(fault), Brightness()]
    done = list(restore_photos(frames(), Negative(), aligned=True, scorers=scorers, colour="model"))
    assert [restored.faces[0].outcome for restored in done] == [Outcome.RESTORED] * 3
    assert [set(restored.faces[0].scores.get("picky", ())) for restored in done] == [
        {"before", "after"},
        {"after"},
        {"before", "after"},
    ]
    assert all(set(restored.faces[0].scores["brightness"]) == {"before", "after"} for restored in done)
    assert done[1].faces[0].note.startswith("no picky before: ") and not done[0].faces[0].note


def test_a_face_without_a_score_is_not_taken_for_good() -> None:
    class Undecided(Brightness):
        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no score")

    [restored] = restore_photos([photo()], Scored(), detector=FACE, scorers=[Undecided()], skip_if=0.0)
    assert restored.changed and "no brightness before: RuntimeError: no score" in restored.faces[0].note


def test_an_embedder_that_fails_for_one_face_costs_nothing_else() -> None:
    def picky(images: torch.Tensor) -> torch.Tensor:
        Picky()(images)
        return embed(images)

    done = list(restore_photos(frames(), Negative(), aligned=True, embedder=picky, min_identity=-1))
    assert [restored.faces[0].identity is None for restored in done] == [False, True, False]
    assert done[1].faces[0].note == "no identity: ValueError: picky has no score for image 1 of the batch"
    assert done[1].changed


def test_a_batch_too_large_for_the_memory_is_restored_in_parts() -> None:
    class Small(Negative):
        def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
            if len(lq) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().restore(lq, **asked)

    model = Small()
    done = list(restore_photos([photo()] * 5, model, detector=FACE, batch=5))
    assert all(restored.changed for restored in done) and model.batches == [2, 1, 2]


def test_a_detector_that_fails_for_one_photo_costs_nothing_else() -> None:
    def picky(rgb: np.ndarray) -> Any:
        Picky()(torch.from_numpy(rgb[None] / 255).permute(0, 3, 1, 2))
        return FACE(rgb)

    done = list(restore_photos([photo(), np.zeros_like(photo()), photo()], Negative(), detector=picky))
    assert [restored.changed for restored in done] == [True, False, True]
    assert [bool(restored.failures) for restored in done] == [False, True, False]
    assert "looking for faces failed: ValueError: picky has no score" in done[1].failure


def test_who_stops_the_run_stops_it() -> None:
    class Stopped(Echo):
        def restore(self, lq: torch.Tensor, **asked: Any) -> torch.Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(restore_photos([photo()], Stopped(), detector=FACE))


def test_a_missing_package_stops_the_run() -> None:
    def without(rgb: np.ndarray) -> Any:
        raise ModuleNotFoundError("this detector needs the package facexlib")

    with pytest.raises(ModuleNotFoundError, match="facexlib"):
        list(restore_photos([photo()], Echo(), detector=without))


def test_the_trace_of_a_failure_is_kept_for_developers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", "iqp_adapter"):
        list(restore_photos([frames()[1]], Faulty(KeyError("w")), aligned=True))
    assert "KeyError" in caplog.text and "Traceback" in caplog.text
