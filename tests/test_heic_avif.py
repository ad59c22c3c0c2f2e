"""HEIC and AVIF: read and written like the other formats, with all they carry; what cannot be kept is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photo_standins import again, photo, psnr
from PIL import Image, ImageOps, features
from test_photo_io import PROFILE, exif
from test_photo_io import picture as large_picture

from iqp_adapter.pictures import SeveralPicturesError, heif, open_photo, read_photo, size_of, target_format
from iqp_adapter.store.files import IMAGE_SUFFIXES

pillow_heif = pytest.importorskip("pillow_heif")
if not features.check("avif"):
    pytest.skip("this Pillow reads no AVIF", allow_module_level=True)
heif.register()

SIZE = (96, 64)


def picture(mode: str) -> Image.Image:
    return large_picture(mode).resize(SIZE)


KINDS = pytest.mark.parametrize("suffix", ["heic", "avif"])
FINE: dict[str, dict[str, Any]] = {"heic": {"chroma": 444}, "avif": {"subsampling": "4:4:4"}}


def written(folder: Path, suffix: str, mode: str = "RGB", **options: Any) -> Path:
    path = folder / f"in.{suffix}"
    picture(mode).save(path, quality=95, **FINE[suffix] if mode == "RGB" else {}, **options)
    return path


@KINDS
def test_they_count_as_pictures(suffix: str) -> None:
    assert f".{suffix}" in IMAGE_SUFFIXES


@KINDS
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pictures_look_the_same_again(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = written(tmp_path, suffix, exif=exif(orientation).tobytes())
    turned = Image.Exif()
    turned[0x0112] = orientation
    given = picture("RGB")
    given.info["exif"] = turned.tobytes()
    looks = np.asarray(ImageOps.exif_transpose(given))
    assert size_of(path) == looks.shape[1::-1]
    assert psnr(read_photo(path).pixels, looks) > 38
    back = again(path, tmp_path / f"out.{suffix}")
    assert psnr(np.asarray(ImageOps.exif_transpose(back)), looks) > 36
    assert back.getexif()[0x010F] == "Maker" and back.getexif().get_ifd(0x8769)[0x9003] == "2001:02:03 04:05:06"


@KINDS
def test_profile_and_xmp_survive(tmp_path: Path, suffix: str) -> None:
    back = again(written(tmp_path, suffix, icc_profile=PROFILE, xmp=b"<x/>"), tmp_path / f"out.{suffix}")
    assert back.info["icc_profile"] == PROFILE and back.info["xmp"] == b"<x/>"


@KINDS
def test_profile_and_exif_go_to_another_kind(tmp_path: Path, suffix: str) -> None:
    back = again(written(tmp_path, suffix, icc_profile=PROFILE, exif=exif(6).tobytes()), tmp_path / "out.png")
    assert back.info["icc_profile"] == PROFILE and back.getexif()[0x010F] == "Maker"
    assert ImageOps.exif_transpose(back).size == SIZE[::-1]


@KINDS
def test_grey_stays_grey_and_alpha_survives(tmp_path: Path, suffix: str) -> None:
    assert again(written(tmp_path, suffix, "L"), tmp_path / f"grey.{suffix}").mode == "L"
    back = again(written(tmp_path, suffix, "RGBA"), tmp_path / f"alpha.{suffix}")
    assert back.mode == "RGBA" and psnr(np.asarray(back)[..., 3], np.asarray(picture("RGBA"))[..., 3]) > 40


def test_declared_colours_of_a_heic_survive(tmp_path: Path) -> None:
    """A file may say by numbers instead of a profile that its colours are those of Display P3."""
    path = tmp_path / "in.heic"
    picture("RGB").save(
        path, quality=95, chroma=444, color_primaries=12, transfer_characteristics=13, matrix_coefficients=6,
        full_range_flag=1,
    )  # fmt: skip
    found = Image.open(path).info["nclx_profile"]
    assert found["color_primaries"] == 12
    back = again(path, tmp_path / "out.heic")
    assert back.info["nclx_profile"] == found and psnr(np.asarray(back), np.asarray(picture("RGB"))) > 36


@pytest.mark.parametrize("bits", [10, 12])
def test_ten_and_twelve_bits_stay(tmp_path: Path, bits: int) -> None:
    given = photo()[:64, :96].astype(np.uint16) * 257
    image = pillow_heif.from_bytes("RGB;16", (96, 64), given.tobytes())
    image.save(tmp_path / "in.heic", quality=95, chroma=444, bit_depth=bits, exif=exif(6).tobytes())
    opened = read_photo(tmp_path / "in.heic")
    assert opened.pixels.dtype == np.uint16 and opened.pixels.shape == (96, 64, 3) and not opened.note
    back = again(tmp_path / "in.heic", tmp_path / "out.heic")
    assert back.info["bit_depth"] == bits and back.size == (64, 96) and back.getexif()[0x010F] == "Maker"
    deep = read_photo(tmp_path / "out.heic").pixels
    assert psnr(deep / 65535 * 255, opened.pixels / 65535 * 255) > 40
    assert again(tmp_path / "in.heic", tmp_path / "out.tif").size == (64, 96)


def test_a_deep_picture_of_another_kind_is_not_reduced_to_heic(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 30_000, np.uint16)).save(tmp_path / "in.png")
    with pytest.raises(ValueError, match="HEIF does not hold uint16 samples"):
        target_format(read_photo(tmp_path / "in.png"), tmp_path / "out.heic")


def test_a_deep_avif_says_that_it_is_reduced(tmp_path: Path) -> None:
    path = written(tmp_path, "avif")
    assert read_photo(path).note == ""
    content = bytearray(path.read_bytes())
    content[content.index(b"av1C") + 6] |= 0x40
    image = Image.open(path)
    assert heif.note(image, bytes(content)) == "more than 8 bits per colour were reduced to 8"


def test_several_pictures(tmp_path: Path) -> None:
    """Of a phone's burst the main picture is taken; what moves is left."""
    more = [picture("RGB").rotate(180)]
    picture("RGB").save(tmp_path / "burst.heic", save_all=True, append_images=more, quality=95)
    assert read_photo(tmp_path / "burst.heic").note == "its further pictures are not kept"
    picture("RGB").save(tmp_path / "moving.avif", save_all=True, append_images=more)
    with pytest.raises(SeveralPicturesError, match="moving.avif: holds more than one picture"):
        read_photo(tmp_path / "moving.avif")


@KINDS
def test_broken_bytes_raise_one_line(tmp_path: Path, suffix: str) -> None:
    rng, path = np.random.default_rng(0), tmp_path / f"broken.{suffix}"
    whole = np.frombuffer(written(tmp_path, suffix).read_bytes(), np.uint8)
    for attempt in range(20):
        broken = whole.copy()
        broken[rng.integers(0, min(len(broken), 2000), 8)] = rng.integers(0, 256, 8)
        path.write_bytes(broken[: None if attempt % 2 else 1500].tobytes())
        try:
            read_photo(path)
        except OSError as error:
            assert path.name in str(error) and "\n" not in str(error)


def test_without_its_reader_a_heic_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "heic")
    monkeypatch.delitem(Image.OPEN, heif.KIND)
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if kind != heif.KIND])
    with pytest.raises(OSError, match=r"in.heic: HEIC needs a further package: pip install 'iqp_adapter\[heif\]'"):
        read_photo(path)


def test_arrays_may_become_either(tmp_path: Path) -> None:
    for suffix in ("heic", "avif"):
        opened = open_photo(photo())
        assert target_format(opened, tmp_path / f"out.{suffix}") in ("HEIF", "AVIF")
