"""`FaceEnhancer` in the place of gfpgan's GFPGANer: its arguments, its returns, its pictures."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from photo_standins import LANDMARKS, Echo, Negative, photo, psnr
from test_photo_detail import drawn
from torch import Tensor

from iqp_adapter import gfpganer
from iqp_adapter.compat import make_importable
from iqp_adapter.gfpganer import FaceEnhancer
from iqp_adapter.photo import GivenFaces
from iqp_adapter.photo.align import template

make_importable()

AT_ASTRONAUT = GivenFaces(LANDMARKS[None])


def bgr() -> np.ndarray:
    """The astronaut as OpenCV reads it."""
    return np.ascontiguousarray(photo()[..., ::-1])


def echo(model: Any = None, **options: Any) -> FaceEnhancer:
    return FaceEnhancer(model or Echo(512), device="cpu", detector=options.pop("detector", AT_ASTRONAUT), **options)


class Both:
    """gfpgan's class and ours, on one file; StyleGAN's noise is the file's own in both."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, upscale: float = 1) -> None:
        pytest.importorskip("gfpgan")
        from gfpgan_pieces import narrow_gfpganer

        self.theirs = narrow_gfpganer(folder, monkeypatch, upscale)
        self.theirs.gfpgan.forward = partial(self.theirs.gfpgan.forward, randomize_noise=False)
        self.theirs.face_helper.get_face_landmarks_5 = self._given
        self.theirs.face_helper.use_parse = False
        path = str(folder / "GFPGANv1.4.pth")
        self.ours = FaceEnhancer(path, upscale, device=torch.device("cpu"), detector=AT_ASTRONAUT)

    def _given(self, **wanted: Any) -> None:
        self.theirs.face_helper.all_landmarks_5 = [LANDMARKS]

    def __call__(self, *arguments: Any, **named: Any) -> tuple[Any, Any]:
        return self.theirs.enhance(*arguments, **named), self.ours.enhance(*arguments, **named)


def test_aligned_faces_are_those_of_gfpgan_to_the_pixel(tmp_path, monkeypatch):
    both = Both(tmp_path, monkeypatch)
    for aligned in (bgr(), bgr()[20:200, 130:310], bgr()[20:210, 130:310]):  # as it is, enlarged, and not square
        (crop, face, whole), (our_crop, our_face, our_whole) = both(aligned, has_aligned=True)
        assert len(our_crop) == len(our_face) == 1
        assert np.array_equal(our_crop[0], crop[0]) and np.array_equal(our_face[0], face[0])
        assert our_face[0].dtype == np.uint8 and our_face[0].std() > 5
        assert whole is None and our_whole is None


@pytest.mark.parametrize("upscale", [1, 2, 1.5])
def test_whole_photos_are_those_of_gfpgan(upscale, tmp_path, monkeypatch):
    both = Both(tmp_path, monkeypatch, upscale)
    (crop, face, whole), (our_crop, our_face, our_whole) = both(bgr())
    assert psnr(our_crop[0], crop[0]) > 38 and our_crop[0].shape == crop[0].shape
    assert psnr(our_face[0], face[0]) > 50 and our_face[0].dtype == face[0].dtype
    assert our_whole.shape == whole.shape and our_whole.dtype == whole.dtype
    rows, columns = (slice(int(edge * upscale), int((edge + 60) * upscale)) for edge in (90, 192))
    middle, our_middle = whole[rows, columns], our_whole[rows, columns]
    bare = cv2.resize(bgr(), None, fx=upscale, fy=upscale)[rows, columns]
    assert psnr(our_middle, middle) > 29 > 20 > psnr(bare, middle), "the restored face is pasted"
    shifted = np.roll(our_middle, round(2 * upscale), axis=1)
    assert psnr(our_middle, middle) > psnr(shifted, middle) + 4, "the face lies where theirs does"
    again = both.theirs.enhance(our_crop[0], has_aligned=True)[1][0]
    assert np.abs(our_face[0].astype(int) - again).max() <= 2, "what was cut out is what was restored"


def test_nothing_is_pasted_where_it_is_not_asked_for():
    crops, faces, whole = echo().enhance(bgr(), paste_back=False)
    assert len(crops) == len(faces) == 1 and whole is None
    assert np.array_equal(crops[0], faces[0])


def test_only_the_face_nearest_to_the_middle_is_restored():
    detector = GivenFaces(np.stack([LANDMARKS, LANDMARKS + [30, 150], LANDMARKS + [200, 300]]))
    every = echo(detector=detector).enhance(bgr(), paste_back=False)[0]
    [middle] = echo(detector=detector).enhance(bgr(), only_center_face=True, paste_back=False)[0]
    assert len(every) == 3 and np.array_equal(middle, every[1])


@pytest.mark.parametrize(("between_eyes", "faces"), [(4.9, 0), (5.1, 1)])
def test_faces_of_fewer_than_five_pixels_between_the_eyes_are_left_out(between_eyes, faces):
    middle = LANDMARKS.mean(0)
    small = middle + (LANDMARKS - middle) * between_eyes / np.linalg.norm(LANDMARKS[1] - LANDMARKS[0])
    assert len(echo(detector=GivenFaces(small[None])).enhance(bgr())[0]) == faces


def test_faces_with_more_detail_than_the_model_gives_are_restored_as_gfpgan_does():
    large = GivenFaces(template(1400)[None])
    assert len(echo(detector=large, upscale=1).enhance(drawn(1400))[1]) == 1


def test_a_photo_without_a_face_is_enlarged():
    nobody = GivenFaces(np.zeros((0, 5, 2)), np.zeros((0, 4)))
    for centre in (False, True):
        crops, faces, whole = echo(detector=nobody, upscale=2).enhance(bgr(), only_center_face=centre)
        assert (crops, faces) == ([], [])
        assert np.array_equal(whole, cv2.resize(bgr(), None, fx=2, fy=2, interpolation=cv2.INTER_LANCZOS4))


@pytest.mark.parametrize("upscale", [0.5, 1, 3, 5])
def test_the_size_of_the_whole_is_gfpgans(upscale):
    given = bgr()[:, :401]
    assert echo(upscale=upscale).enhance(given)[2].shape == (int(512 * upscale), int(401 * upscale), 3)


class Upsampler:
    """As Real-ESRGAN's: it paints everything blue, and is a pixel off in size."""

    def enhance(self, img: np.ndarray, outscale: float) -> tuple[np.ndarray, str]:
        assert np.array_equal(img, bgr())
        size = int(512 * outscale) - 1
        return np.tile(np.array([200, 0, 0], np.uint8), (size, size, 1)), "RGB"


@pytest.mark.parametrize("upscale", [1, 2])
def test_the_rest_of_the_photo_is_the_upsamplers(upscale):
    whole = echo(upscale=upscale, bg_upsampler=Upsampler()).enhance(bgr())[2]
    assert (whole[-50:] == [200, 0, 0]).all()
    centre = (LANDMARKS.mean(0) * upscale).astype(int)
    assert whole[centre[1], centre[0], 2] > 50, "the face is pasted over it"


@pytest.mark.parametrize(
    "given",
    [
        bgr().astype(np.uint16) * 257,
        np.dstack([bgr(), np.full((512, 512), 7, np.uint8)]),
    ],
    ids=["16 bit", "alpha"],
)
def test_other_depths_and_alpha_give_8_bits_of_bgr(given):
    for wanted, other in zip(echo(Negative(512)).enhance(bgr()), echo(Negative(512)).enhance(given), strict=True):
        assert np.array_equal(wanted, other)


def test_grey_photos_become_bgr():
    grey = cv2.cvtColor(bgr(), cv2.COLOR_BGR2GRAY)
    whole = echo().enhance(grey)[2]
    assert whole.shape == (1024, 1024, 3) and (np.ptp(whole.astype(int), axis=2) <= 1).all()


def test_a_path_is_read(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), bgr())
    assert np.array_equal(echo().enhance(str(tmp_path / "a.png"))[2], echo().enhance(bgr())[2])


class Weighed(Echo):
    own_fidelity = 0.7


@pytest.mark.parametrize(("model", "fidelity"), [(Weighed(512), 0.3), (Echo(512), None)])
def test_the_weight_is_the_fidelity_of_models_that_have_one(model, fidelity):
    echo(model).enhance(bgr(), weight=0.3)
    assert model.asked[-1]["fidelity"] == fidelity


def test_the_quality_is_the_models_own_unless_one_is_named():
    model = Echo(512)
    enhancer = echo(model)
    model.quality = 0.4
    enhancer.enhance(bgr())
    echo(model, quality=0.8).enhance(bgr())
    echo(model, quality=None).enhance(bgr())
    assert [asked["quality"] for asked in model.asked] == [0.4, 0.8, None]


def test_faces_of_a_smaller_model_are_handed_out_at_512():
    crops, faces, _ = echo("tiny").enhance(bgr(), paste_back=False)
    assert crops[0].shape == faces[0].shape == (512, 512, 3)


def test_many_faces_are_restored_in_batches():
    model = Negative(512)
    detector = GivenFaces(np.stack([LANDMARKS + [shift, 0] for shift in (0, 20, 40, 60, 80)]))
    assert len(echo(model, detector=detector).enhance(bgr())[1]) == 5
    assert model.batches == [2, 2, 1]


class Broken(Echo):
    def restore(self, lq: Tensor, **asked: Any) -> Tensor:
        raise RuntimeError("no such kernel")


def test_a_face_that_cannot_be_restored_is_an_error():
    with pytest.raises(RuntimeError, match="^face 0: the model failed: RuntimeError: no such kernel$"):
        echo(Broken(512)).enhance(bgr())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arch": "cleaner"}, "unknown arch 'cleaner'; known: clean, original, RestoreFormer"),
        ({"arch": "bilinear"}, "no file tells arch 'bilinear' from 'original'; build GFPGANBilinear"),
        ({"upscale": 0}, "upscale is 0, expected a positive number"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        echo(**arguments)
    assert "\n" not in str(caught.value)


def test_a_picture_that_opencv_could_not_read_is_refused():
    with pytest.raises(TypeError, match="None, as cv2.imread gives where it cannot read a file"):
        echo().enhance(None)


def test_the_arch_is_what_the_file_must_hold(tmp_path):
    pytest.importorskip("gfpgan")
    from gfpgan_pieces import NARROW, save_gfpgan

    save_gfpgan(tmp_path / "gfpgan.pth", **NARROW)
    with pytest.raises(ValueError, match="restoreformer"):
        FaceEnhancer(tmp_path / "gfpgan.pth", arch="RestoreFormer", device="cpu")


@pytest.mark.parametrize(
    ("address", "sha256"),
    [
        ("https://github.com/TencentARC/GFPGAN/releases/download/v1.3.0/GFPGANv1.4.pth", "e2cd4703"),
        ("https://example.org/mine.pth", None),
    ],
)
def test_addresses_are_fetched_and_checked_where_they_are_known(address, sha256, monkeypatch):
    asked = []
    monkeypatch.setattr(gfpganer, "fetch", lambda file: asked.append(file) or Echo(512))
    FaceEnhancer(address, device="cpu")
    [file] = asked
    assert file.url == address and (file.sha256 or "").startswith(sha256 or "") and bool(file.sha256) == bool(sha256)
