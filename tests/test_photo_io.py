"""Pictures in and out: every kind comes back as it was, with all it carries, and bad ones are named in one line."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from photo_standins import again, photo, psnr
from PIL import Image, ImageCms, ImageOps, JpegImagePlugin

from iqp_adapter.pictures import encode, luma, open_photo, read_photo, target_format

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(mode: str) -> Image.Image:
    """The astronaut, wider than high, in a colour mode of Pillow's; alpha falls from top to bottom."""
    image = Image.fromarray(photo()[:300])
    if mode in ("RGBA", "LA"):
        alpha = Image.linear_gradient("L").resize(image.size)
        image = image.convert(mode[:-1])
        image.putalpha(alpha)
        return image
    if mode == "I;16":
        return Image.fromarray(luma(photo()[:300]).astype(np.uint16) * 257)
    return image.convert(mode)


def exif(orientation: int = 1) -> Image.Exif:
    tags = Image.Exif()
    tags[0x010F] = "Maker"
    tags[0x0112] = orientation
    tags.get_ifd(0x8769)[0x9003] = "2001:02:03 04:05:06"
    return tags


# -- arrays and PIL images


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3), (9, 7, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
def test_arrays_come_back_to_the_bit(shape: tuple[int, ...], dtype: Any) -> None:
    noise = np.random.default_rng(0).random(shape)
    given = (noise * (1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max)).astype(dtype)
    opened = open_photo(given)
    back = opened.form.build(opened.pixels, opened.alpha)
    assert opened.pixels.shape == (9, 7, 3)
    assert back.dtype == given.dtype and np.array_equal(back, given)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_images_come_back_in_their_mode(mode: str) -> None:
    given = picture(mode)
    given.info["icc_profile"] = PROFILE
    opened = open_photo(given)
    back = opened.form.build(opened.pixels, opened.alpha)
    assert back.mode == mode and back.tobytes() == given.tobytes()
    assert back.info["icc_profile"] == PROFILE


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((4, 4, 3), np.int64), "photo is of int64, expected uint8"),
        (np.zeros((3, 4, 4, 3), np.uint8), r"photo has shape \(3, 4, 4, 3\), expected \(H, W\)"),
        (np.zeros((3, 64, 64), np.uint8), r"photo has shape \(3, 64, 64\)"),
        (np.zeros((0, 4, 3), np.uint8), r"photo has shape \(0, 4, 3\)"),
        (np.full((4, 4, 3), 255.0), r"values in \[0, 1\]"),
        (np.full((4, 4, 3), np.nan), r"values in \[0, 1\]"),
        (3, "a photo is an array .*, got int"),
    ],
)
def test_other_sources_are_refused_in_one_line(source: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as raised:
        open_photo(source)
    assert "\n" not in str(raised.value)


# -- what a file carries


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_turned_pictures_are_upright_for_the_work_and_look_the_same_again(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    path = tmp_path / f"in.{suffix}"
    picture("RGB").save(path, exif=exif(orientation).tobytes(), quality=98)
    with Image.open(path) as image:
        looks = np.asarray(ImageOps.exif_transpose(image))
    assert psnr(read_photo(path).pixels, looks) > 60
    written = again(path, tmp_path / f"out.{suffix}")
    assert psnr(np.asarray(ImageOps.exif_transpose(written)), looks) > 40
    assert written.getexif()[0x010F] == "Maker"
    assert written.getexif().get_ifd(0x8769)[0x9003] == "2001:02:03 04:05:06"


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_survives_to_the_byte(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"in.{suffix}"
    picture("RGB").save(path, exif=exif(6))
    with Image.open(path) as image:
        assert again(path, tmp_path / f"out.{suffix}").info["exif"] == image.info["exif"]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_colour_profile_and_resolution_survive(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"in.{suffix}"
    picture("RGB").save(path, icc_profile=PROFILE, dpi=(300, 300))
    written = again(path, tmp_path / f"out.{suffix}")
    assert written.info["icc_profile"] == PROFILE
    assert suffix == "webp" or np.allclose(written.info["dpi"], 300, atol=0.1)


@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", "png"), ("RGBA", "tiff"), ("RGBA", "webp"), ("LA", "png")])
def test_alpha_survives(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"in.{suffix}"
    picture(mode).save(path, **({"lossless": True} if suffix == "webp" else {}))
    written = again(path, tmp_path / f"out.{suffix}")
    assert written.mode == mode
    assert np.array_equal(written.getchannel("A"), picture(mode).getchannel("A"))


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "png"), ("L", "jpg"), ("I;16", "png"), ("I;16", "tiff"), ("L", "bmp")]
)
def test_grey_stays_grey(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"in.{suffix}"
    picture(mode).save(path)
    with Image.open(path) as image:
        stored = np.asarray(image)
    written = again(path, tmp_path / f"out.{suffix}")
    assert written.mode == mode
    assert np.abs(np.asarray(written).astype(int) - stored).mean() < (1 if suffix == "jpg" else 1e-9)


def test_texts_and_comments_survive(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("Author", "someone")
    picture("RGB").save(tmp_path / "in.png", pnginfo=texts)
    picture("RGB").save(tmp_path / "in.jpg", comment="a comment")
    assert again(tmp_path / "in.png", tmp_path / "out.png").info["Author"] == "someone"
    assert again(tmp_path / "in.jpg", tmp_path / "out.jpg").info["comment"] == b"a comment"


@pytest.mark.parametrize("quality", [20, 75, 95, 98])
def test_jpeg_is_written_at_least_as_finely_as_it_came(tmp_path: Path, quality: int) -> None:
    picture("RGB").save(tmp_path / "in.jpg", quality=quality)
    with Image.open(tmp_path / "in.jpg") as image:
        stored, steps = np.asarray(image), sum(image.quantization[0])
    written = again(tmp_path / "in.jpg", tmp_path / "out.jpg")
    assert sum(written.quantization[0]) <= min(steps, 369)
    assert JpegImagePlugin.get_sampling(written) == 0  # colours as fine as brightness
    assert psnr(np.asarray(written), stored) > 46


# -- unusual kinds


def test_palette_with_transparency_becomes_rgba(tmp_path: Path) -> None:
    image = picture("RGB").quantize(32)
    image.save(tmp_path / "in.png", transparency=0)
    with Image.open(tmp_path / "in.png") as stored:
        expected = stored.convert("RGBA")
    written = again(tmp_path / "in.png", tmp_path / "out.png")
    assert written.mode == "RGBA" and np.array_equal(written, expected)
    assert "P was turned into RGBA" in read_photo(tmp_path / "in.png").note


def test_cmyk_becomes_rgb_and_says_so(tmp_path: Path) -> None:
    picture("CMYK").save(tmp_path / "in.jpg", quality=98)
    opened = read_photo(tmp_path / "in.jpg")
    assert psnr(opened.pixels, photo()[:300]) > 30
    assert opened.note == "CMYK was turned into RGB"
    assert again(tmp_path / "in.jpg", tmp_path / "out.jpg").mode == "RGB"


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_per_colour_stay(tmp_path: Path, suffix: str, channels: int) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (60, 80, channels), np.uint16)
    cv2.imwrite(str(tmp_path / f"in.{suffix}"), deep)
    opened = read_photo(tmp_path / f"in.{suffix}")
    assert opened.pixels.dtype == np.uint16
    assert np.array_equal(opened.pixels, deep[..., 2::-1])
    encode(opened, opened.pixels, opened.alpha, tmp_path / f"out.{suffix}", opened.format)
    assert np.array_equal(cv2.imread(str(tmp_path / f"out.{suffix}"), cv2.IMREAD_UNCHANGED), deep)


def test_sixteen_bit_png_keeps_profile_and_exif(tmp_path: Path) -> None:
    """The same chunks, in a file of 16 bits per colour, as Pillow writes for one of 8."""
    shallow = BytesIO()
    Image.new("RGB", (2, 2)).save(shallow, "PNG", icc_profile=PROFILE, exif=exif(6))
    beside = b"".join(_chunks(shallow.getvalue(), (b"iCCP", b"eXIf")))
    deep = np.random.default_rng(0).integers(0, 65536, (60, 80, 3), np.uint16)
    encoded = cv2.imencode(".png", deep)[1].tobytes()
    (tmp_path / "in.png").write_bytes(encoded[:33] + beside + encoded[33:])
    opened = read_photo(tmp_path / "in.png")
    assert opened.pixels.shape == (80, 60, 3)  # upright
    encode(opened, opened.pixels, None, tmp_path / "out.png", "PNG")
    with Image.open(tmp_path / "out.png") as written:
        assert written.info["icc_profile"] == PROFILE and written.getexif()[0x0112] == 6
    assert np.array_equal(cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED), deep)


def _chunks(data: bytes, kinds: tuple[bytes, ...]) -> list[bytes]:
    start, found = 8, []
    while start < len(data):
        end = start + 12 + struct.unpack(">I", data[start : start + 4])[0]
        found += [data[start:end]] if data[start + 4 : start + 8] in kinds else []
        start = end
    return found


def test_sixteen_bit_tiff_keeps_profile_and_maker(tmp_path: Path) -> None:
    import tifffile

    deep = np.random.default_rng(0).integers(0, 65536, (60, 80, 3), np.uint16)
    tags = [(271, 2, None, "Scanner", True)]
    tifffile.imwrite(tmp_path / "in.tif", deep, photometric="rgb", iccprofile=PROFILE, extratags=tags, metadata=None)
    opened = read_photo(tmp_path / "in.tif")
    encode(opened, opened.pixels, None, tmp_path / "out.tif", "TIFF")
    with Image.open(tmp_path / "out.tif") as written:
        assert written.info["icc_profile"] == PROFILE and written.getexif()[271] == "Scanner"
    assert np.array_equal(tifffile.imread(tmp_path / "out.tif"), deep)


def test_a_phones_double_picture_is_read_as_its_first(tmp_path: Path) -> None:
    picture("RGB").save(tmp_path / "in.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (20, 20))])
    opened = read_photo(tmp_path / "in.jpg")
    assert opened.format == "JPEG" and opened.pixels.shape == (300, 512, 3)
    assert opened.note == "its further pictures are not kept"


# -- bad files


def huge_png() -> bytes:
    """A header that promises 400 megapixels."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"\0" * 99))
    packed = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def stored(kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    picture("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text.jpg", lambda: b"not an image", "not a picture that can be read"),
        ("empty.png", lambda: b"", "not a picture that can be read"),
        ("cut.jpg", lambda: stored("JPEG")[:9000], "truncated"),
        ("cut.png", lambda: stored("PNG")[:9000], "truncated"),
        ("cut.webp", lambda: stored("WEBP")[:5000], None),
        ("cut.tiff", lambda: stored("TIFF")[:9000], None),
        ("head.jpg", lambda: stored("JPEG")[:100], None),
        ("huge.png", huge_png, "more than 178 megapixels"),
        ("still.gif", lambda: stored("GIF"), "GIF pictures cannot be written again without loss"),
        (
            "moving.webp",
            lambda: stored("WEBP", save_all=True, append_images=[Image.new("RGB", (512, 300))]),
            "holds more than one picture",
        ),
    ],
)
def test_bad_files_are_named_in_one_line(
    tmp_path: Path, name: str, content: Callable[[], bytes], reason: str | None
) -> None:
    (tmp_path / name).write_bytes(content())
    with pytest.raises(OSError, match=reason) as raised:
        read_photo(tmp_path / name)
    assert name in str(raised.value) and "\n" not in str(raised.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(OSError, match=r"nowhere.jpg: No such file"):
        read_photo(Path("nowhere.jpg"))


def test_broken_bytes_never_raise_anything_but_an_os_error(tmp_path: Path) -> None:
    """Files with bytes changed at random; each is read, or named in one line."""
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP"):
        whole = np.frombuffer(stored(kind), np.uint8)
        for _ in range(20):
            broken = whole.copy()
            broken[rng.integers(0, min(len(broken), 2000), 8)] = rng.integers(0, 256, 8)
            path = tmp_path / "broken"
            path.write_bytes(broken.tobytes())
            try:
                read_photo(path)
            except OSError as error:
                assert "broken" in str(error) and "\n" not in str(error)


def test_a_suffix_without_a_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"out.xyz: pictures are written as JPEG, PNG, WEBP, TIFF, BMP"):
        target_format(open_photo(photo()), tmp_path / "out.xyz")
