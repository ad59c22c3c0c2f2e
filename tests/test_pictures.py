"""The one reader: one picture in every form reads to the same pixels; what cannot be read is one line with its name."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from no_memory import NO_MEMORY
from photo_standins import again, photo
from PIL import Image, ImageCms, UnidentifiedImageError

from iqp_adapter.bench.outputs import write_png
from iqp_adapter.photo.demo import write_demo
from iqp_adapter.pictures import (
    eight_bit,
    encode,
    luma,
    open_photo,
    png,
    read_large,
    read_photo,
    read_pixels,
    read_tensor,
    rgb_of,
    size_of,
    target_format,
)
from iqp_adapter.pictures.decode import content_of
from iqp_adapter.store.files import IMAGE_SUFFIXES, list_images
from iqp_adapter.training.record import Record

COLOURS = np.ascontiguousarray(photo()[60:140:2, 180:300:2])
"""(40, 60, 3) uint8, the astronaut's face."""

GREY = luma(COLOURS)
ALPHA = np.tile(np.linspace(0, 255, 60).round().astype(np.uint8), (40, 1))
TAG = 274
"""Of the orientation in TIFF and EXIF."""


def deep(levels: np.ndarray) -> np.ndarray:
    return levels.astype(np.uint16) * 257


def real(levels: np.ndarray) -> np.ndarray:
    return levels.astype(np.float32) / 255


# -- every form of one picture

Write = Callable[[Path], Any]


def pillow(array: np.ndarray, mode: str | None = None, **options: Any) -> Write:
    image = Image.fromarray(array)
    return lambda path: (image.convert(mode) if mode else image).save(path, **options)


def tiff(array: np.ndarray, **options: Any) -> Write:
    colours = array.ndim == 3 and array.shape[2] > 2
    given = {"photometric": "rgb" if colours else "minisblack", "metadata": None, **options}
    stored = np.moveaxis(array, -1, 0) if given.get("planarconfig") == "separate" else array
    return lambda path: tifffile.imwrite(path, stored, **given)


def opencv(array: np.ndarray, **options: Any) -> Write:
    return lambda path: cv2.imwrite(
        str(path), array[..., ::-1] if array.ndim == 3 else array, [*options.get("how", [])]
    )


def sixteen(array: np.ndarray, **chunks: bytes) -> Write:
    beside = b"".join(chunk(kind.encode(), content) for kind, content in chunks.items())
    return lambda path: path.write_bytes(png.encode(array, beside))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def lying(array: np.ndarray) -> np.ndarray:
    """The samples as orientation 6 stores them."""
    return np.ascontiguousarray(np.rot90(array))


def turned(**options: Any) -> dict[str, Any]:
    return {"extratags": [(TAG, "H", 1, 6, True)], **options}


def multiplied(levels: np.ndarray, full: int) -> np.ndarray:
    """Associated alpha: colours times alpha."""
    share = np.maximum(ALPHA, 1)[..., None] / 255
    return np.dstack([(levels * share).round(), share * full]).round().astype(np.uint16)


LZW, FLAT = [cv2.IMWRITE_TIFF_COMPRESSION, 5], [cv2.IMWRITE_TIFF_COMPRESSION, 1]
RGBA, DEEP_RGBA = np.dstack([COLOURS, ALPHA]), np.dstack([deep(COLOURS), deep(ALPHA)])
LA, DEEP_LA = np.dstack([GREY, ALPHA]), np.dstack([deep(GREY), deep(ALPHA)])
BITS = np.where(GREY > 127, 255, 0).astype(np.uint8)
POSTER = np.asarray(Image.fromarray(COLOURS).quantize(32).convert("RGB"))
EXIF = Image.Exif()
EXIF[TAG] = 6

FORMS: dict[str, tuple[np.ndarray, Write]] = {
    "rgb.png": (COLOURS, pillow(COLOURS)),
    "rgb.bmp": (COLOURS, pillow(COLOURS)),
    "rgb.tif": (COLOURS, pillow(COLOURS)),
    "rgb.webp": (COLOURS, pillow(COLOURS, lossless=True)),
    "rgb.ppm": (COLOURS, pillow(COLOURS)),
    "rgba.png": (COLOURS, pillow(RGBA)),
    "rgba.tif": (COLOURS, pillow(RGBA)),
    "rgba.webp": (COLOURS, pillow(RGBA, lossless=True, exact=True)),
    "lying.png": (COLOURS, pillow(lying(COLOURS), exif=EXIF)),
    "lying.tif": (COLOURS, tiff(lying(COLOURS), **turned())),
    "planar.tif": (COLOURS, tiff(COLOURS, planarconfig="separate")),
    "big-endian.tif": (COLOURS, tiff(COLOURS, byteorder=">")),
    "transparent rgb.png": (COLOURS, pillow(COLOURS, transparency=(1, 2, 3))),
    "palette.png": (POSTER, lambda path: Image.fromarray(COLOURS).quantize(32).save(path)),
    "l.png": (GREY, pillow(GREY)),
    "l.tif": (GREY, pillow(GREY)),
    "la.png": (GREY, pillow(LA)),
    "la.tif": (GREY, pillow(LA)),
    "transparent l.png": (GREY, pillow(GREY, transparency=7)),
    "one bit.png": (BITS, pillow(BITS, "1")),
    "one bit.tif": (BITS, pillow(BITS, "1")),
    "white is zero.tif": (GREY, tiff(255 - GREY, photometric="miniswhite")),
    "deep.png": (COLOURS, sixteen(deep(COLOURS))),
    "deep by opencv.png": (COLOURS, opencv(deep(COLOURS))),
    "deep rgba.png": (COLOURS, sixteen(DEEP_RGBA)),
    "deep transparent rgb.png": (COLOURS, sixteen(deep(COLOURS), tRNS=struct.pack(">HHH", 1, 2, 3))),
    "deep lying.png": (COLOURS, sixteen(deep(lying(COLOURS)), eXIf=EXIF.tobytes()[6:])),
    "deep l.png": (GREY, pillow(deep(GREY))),
    "deep la.png": (GREY, sixteen(DEEP_LA)),
    "deep transparent l.png": (GREY, sixteen(deep(GREY), tRNS=struct.pack(">H", 7 * 257))),
    "deep.pgm": (GREY, pillow(deep(GREY))),
    "deep.tif": (COLOURS, tiff(deep(COLOURS))),
    "deep zlib.tif": (COLOURS, tiff(deep(COLOURS), compression="zlib")),
    "deep lzw.tif": (COLOURS, opencv(deep(COLOURS), how=LZW)),
    "deep flat.tif": (COLOURS, opencv(deep(COLOURS), how=FLAT)),
    "deep planar.tif": (COLOURS, tiff(deep(COLOURS), planarconfig="separate")),
    "deep planar zlib.tif": (COLOURS, tiff(deep(COLOURS), planarconfig="separate", compression="zlib")),
    "deep big-endian.tif": (COLOURS, tiff(deep(COLOURS), byteorder=">")),
    "deep bigtiff.tif": (COLOURS, tiff(deep(COLOURS), bigtiff=True)),
    "deep lying.tif": (COLOURS, tiff(deep(lying(COLOURS)), **turned())),
    "deep rgba.tif": (COLOURS, tiff(DEEP_RGBA, extrasamples=["unassalpha"])),
    "deep multiplied.tif": (COLOURS, tiff(multiplied(deep(COLOURS), 65535), extrasamples=["assocalpha"])),
    "deep l.tif": (GREY, pillow(deep(GREY))),
    "deep l lzw.tif": (GREY, pillow(deep(GREY), compression="tiff_lzw")),
    "deep l big-endian.tif": (GREY, tiff(deep(GREY), byteorder=">")),
    "deep l lying.tif": (GREY, tiff(deep(lying(GREY)), **turned())),
    "deep la.tif": (GREY, tiff(DEEP_LA, extrasamples=["unassalpha"], planarconfig="contig")),
    "deep white is zero.tif": (GREY, tiff(deep(255 - GREY), photometric="miniswhite")),
    "real l.tif": (GREY, pillow(real(GREY))),
    "real l double.tif": (GREY, tiff(real(GREY).astype(np.float64))),
    "real l half.tif": (GREY, tiff(real(GREY).astype(np.float16))),
    "real.tif": (COLOURS, tiff(real(COLOURS))),
    "real planar.tif": (COLOURS, tiff(real(COLOURS), planarconfig="separate")),
    "real lzw.tif": (COLOURS, opencv(real(COLOURS), how=LZW)),
}
"""Name -> what it shows, (40, 60) or (40, 60, 3) uint8, and how it is written."""


@pytest.mark.parametrize("name", FORMS)
def test_one_picture_reads_alike_in_every_form(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    shown, write = FORMS[name]
    write(path)
    shown = shown if shown.ndim == 3 else np.dstack([shown] * 3)
    room = 0.02 if "multiplied" in name else 1 / 1024 if "half" in name else 1e-6
    first = 5 if "multiplied" in name else 0  # where alpha is nearly nothing, so are the colours that are stored
    tensor = read_tensor(path).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(tensor[:, first:], shown[:, first:] / 255, atol=room)
    np.testing.assert_allclose(read_pixels(path)[:, first:], shown[:, first:], atol=round(255 * room))
    large = read_large(path, 40)
    full = np.iinfo(large.dtype).max if large.dtype.kind == "u" else 1
    np.testing.assert_allclose(large / full, tensor, atol=1e-6)
    assert size_of(path) == (60, 40)
    if path.suffix not in (".ppm", ".pgm"):
        np.testing.assert_array_equal(read_photo(path).pixels, large)


@pytest.mark.parametrize("name", [name for name in FORMS if not name.endswith((".ppm", ".pgm"))])
def test_every_form_is_written_again_as_it_was(tmp_path: Path, name: str) -> None:
    """Depth, colours, alpha and turn: the same samples after reading, writing and reading."""
    first, second = tmp_path / name, tmp_path / f"again {name}"
    FORMS[name][1](first)
    given = read_photo(first)
    encode(given, given.pixels, given.alpha, second, target_format(given, second))
    back = read_photo(second)
    assert back.format == given.format and back.pixels.dtype == given.pixels.dtype
    np.testing.assert_array_equal(back.pixels, given.pixels)
    assert (back.alpha is None) == (given.alpha is None)
    if given.alpha is not None:
        np.testing.assert_array_equal(back.alpha, given.alpha)
    assert given.form.planes(given.pixels, given.alpha).shape == back.form.planes(back.pixels, back.alpha).shape
    assert given.form.grey == (FORMS[name][0] is GREY or FORMS[name][0] is BITS)  # type: ignore[attr-defined]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_and_png_of_the_same_pixels_are_equal(tmp_path: Path, mode: str) -> None:
    Image.fromarray(COLOURS).convert(mode).save(tmp_path / "a.jpg", quality=80)
    with Image.open(tmp_path / "a.jpg") as image:
        image.convert("RGB").save(tmp_path / "a.png")
    sixteen(deep(read_pixels(tmp_path / "a.png")))(tmp_path / "b.png")
    pictures = [read_tensor(tmp_path / name) for name in ("a.jpg", "a.png", "b.png")]
    assert torch.equal(pictures[0], pictures[1]) and torch.equal(pictures[1], pictures[2])


@pytest.mark.parametrize(
    "mode", ["P", "PA", "LA", "La", "RGBa", "RGBX", "YCbCr", "HSV", "1", "I", "I;16", "I;16B", "F"]
)
def test_every_mode_of_pillow_is_taken(mode: str) -> None:
    deep_grey, real_grey = Image.fromarray(deep(GREY)), Image.fromarray(real(GREY))
    given = {"I": deep_grey.convert("I"), "I;16": deep_grey, "F": real_grey}.get(mode)
    if mode == "I;16B":
        given = Image.frombytes("I;16B", (60, 40), deep(GREY).astype(">u2").tobytes())
    shown = rgb_of(given or Image.fromarray(COLOURS).convert("RGBA" if mode[-1] == "a" else "RGB").convert(mode))
    expected = {"1": None, "P": None, "PA": None}.get(mode, np.dstack([GREY] * 3) if mode[0] in "LIF" else COLOURS)
    assert shown.shape == (40, 60, 3) and shown.dtype == np.uint8
    if expected is not None:
        assert np.abs(shown.astype(int) - expected).max() <= (1 if mode[0] in "LIF" else 8)


def test_sixteen_bits_that_eight_do_not_hold_stay(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (40, 60, 3), np.uint16)
    png_file, tiff_file = tmp_path / "a.png", tmp_path / "a.tif"
    sixteen(levels)(png_file)
    tiff(levels, planarconfig="separate", byteorder=">", **turned())(tiff_file)
    np.testing.assert_allclose(read_tensor(png_file).permute(1, 2, 0).numpy(), levels / 65535, atol=1e-7)
    np.testing.assert_array_equal(np.rot90(read_photo(tiff_file).pixels), levels)
    assert np.abs(read_pixels(png_file) - levels / 257).max() <= 0.5


def test_a_transparent_level_of_deep_grey_becomes_alpha(tmp_path: Path) -> None:
    levels = deep(GREY)
    sixteen(levels, tRNS=struct.pack(">H", levels[3, 4]))(tmp_path / "in.png")
    given = read_photo(tmp_path / "in.png")
    np.testing.assert_array_equal(given.alpha == 0, levels == levels[3, 4])


@pytest.mark.parametrize("name", ["grey8.png", "grey16.png", "grey16.tif"])
def test_deep_grey_is_no_white(cases: Path, name: str) -> None:
    assert read_tensor(cases / "02-deep-grey" / name).mean() == pytest.approx(0.574, abs=1e-3)


def test_an_identical_deep_output_has_no_noise(cases: Path) -> None:
    """The benchmark keeps outputs with 8 bits, and compares them with originals at full depth."""
    for name in ("grey16.png", "grey16.tif"):
        original = read_tensor(cases / "02-deep-grey" / name).permute(1, 2, 0).numpy()
        error = np.square(read_pixels(cases / "02-deep-grey" / name) / 255 - original).mean()
        assert error == 0 or -10 * math.log10(error) > 50


def test_a_float_picture_keeps_its_brightness(cases: Path, tmp_path: Path) -> None:
    given = read_photo(cases / "03-float-tiff" / "float_grey.tif")
    assert given.pixels.dtype == np.float32 and given.pixels.max() == pytest.approx(0.99, abs=0.01)
    encode(given, given.pixels, given.alpha, tmp_path / "out.tif", "TIFF")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), given.pixels[..., 0])
    assert given.form.build(given.pixels, None).mode == "F"
    with pytest.raises(ValueError, match=r"PNG does not hold float32 samples, .*write it as TIFF"):
        target_format(given, tmp_path / "out.png")


# -- what a file says beside its pixels

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


COLOUR_CHUNKS = {
    "gAMA": struct.pack(">I", 100_000),
    "cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000),
    "cICP": bytes([9, 16, 0, 1]),
    "sRGB": b"\0",
    "pHYs": struct.pack(">IIB", 11811, 11811, 1),
    "tIME": bytes([7, 209, 2, 3, 4, 5, 6]),
    "tEXt": b"Author\0someone",
}


@pytest.mark.parametrize("array", [COLOURS, GREY, LA, deep(COLOURS), deep(GREY), DEEP_LA], ids=lambda a: str(a.dtype))
@pytest.mark.parametrize("kind", COLOUR_CHUNKS)
def test_chunks_of_png_stay_to_the_byte(tmp_path: Path, array: np.ndarray, kind: str) -> None:
    sixteen(array, **{kind: COLOUR_CHUNKS[kind]})(tmp_path / "in.png")
    again(tmp_path / "in.png", tmp_path / "out.png")
    assert chunk(kind.encode(), COLOUR_CHUNKS[kind]) in (tmp_path / "out.png").read_bytes()


def test_colour_chunks_of_a_photo_stay(cases: Path, tmp_path: Path) -> None:
    written = again(cases / "16-png-colour-chunks" / "gamma_1.png", tmp_path / "out.png")
    with Image.open(cases / "16-png-colour-chunks" / "gamma_1.png") as given:
        assert {"gamma", "chromaticity"} <= given.info.keys()
        assert {key: written.info[key] for key in given.info} == given.info


def test_a_large_profile_is_read_and_stays(cases: Path, tmp_path: Path) -> None:
    source = cases / "15-large-profile" / "icc_1600kB.png"
    assert read_tensor(source).ndim == 3
    given = read_photo(source)
    encode(given, given.pixels, given.alpha, tmp_path / "out.png", "PNG")
    encode(given, given.pixels, given.alpha, tmp_path / "out.jpg", "JPEG")
    assert read_photo(tmp_path / "out.png").form.info["icc_profile"] == given.form.info["icc_profile"]
    with Image.open(tmp_path / "out.jpg") as other:
        assert other.info["icc_profile"] == given.form.info["icc_profile"] and len(other.info["icc_profile"]) > 1 << 20


def test_a_text_too_large_for_pillow_stays(tmp_path: Path) -> None:
    content = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * (1 << 21))
    sixteen(COLOURS, iTXt=content)(tmp_path / "in.png")
    given = read_photo(tmp_path / "in.png")
    encode(given, given.pixels, None, tmp_path / "out.png", "PNG")
    assert chunk(b"iTXt", content) in (tmp_path / "out.png").read_bytes() and given.note == ""


def test_rubbish_for_exif_costs_the_exif_alone(cases: Path, tmp_path: Path) -> None:
    source = cases / "04-broken-png" / "d_bad_exif.png"
    given = read_photo(source)
    assert given.note == "EXIF not kept" and read_tensor(source).shape == (3, 240, 240)
    written = again(source, tmp_path / "out.png")
    assert "exif" not in written.info and np.array_equal(written, given.pixels)


@pytest.mark.parametrize("exif", [b"Exif\0\0rubbish", b"rubbish!", b"MM\0*\0\0", b"II*\0\xff\xff\xff\xff", b"\0"])
@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp"])
def test_rubbish_for_exif_in_every_format(tmp_path: Path, name: str, exif: bytes) -> None:
    Image.fromarray(COLOURS).save(tmp_path / name, exif=exif)
    assert read_pixels(tmp_path / name).shape == (40, 60, 3)
    again(tmp_path / name, tmp_path / f"again.{name}")
    assert read_photo(tmp_path / f"again.{name}").note == ""


@pytest.mark.parametrize("kind", ["tEXt", "gAMA", "iCCP", "pHYs", "eXIf"])
def test_a_damaged_chunk_beside_the_pixels_is_left_out_and_named(tmp_path: Path, kind: str) -> None:
    spoilt = bytearray(chunk(kind.encode(), b"abc"))
    spoilt[-1] ^= 255
    (tmp_path / "in.png").write_bytes(png.encode(COLOURS, bytes(spoilt)))
    assert kind in read_photo(tmp_path / "in.png").note or kind == "eXIf"
    assert "not kept" in read_photo(tmp_path / "in.png").note
    assert np.array_equal(again(tmp_path / "in.png", tmp_path / "out.png"), COLOURS)


def test_lossless_webp_stays_lossless(tmp_path: Path) -> None:
    for name, options in {"a": {}, "b": {"exif": EXIF, "icc_profile": PROFILE}}.items():
        Image.fromarray(COLOURS).save(tmp_path / f"{name}.webp", lossless=True, **options)
        assert np.array_equal(again(tmp_path / f"{name}.webp", tmp_path / f"{name}2.webp"), COLOURS)
    Image.fromarray(COLOURS).save(tmp_path / "c.webp", quality=80)
    assert not read_photo(tmp_path / "c.webp").form.info.get("lossless")


def test_cmyk_with_a_bad_profile_falls_back_and_says_so(tmp_path: Path) -> None:
    for number, profile in enumerate((b"rubbish", PROFILE)):  # no profile at all, and one of RGB
        path = tmp_path / f"{number}.jpg"
        Image.fromarray(COLOURS).convert("CMYK").save(path, quality=98, icc_profile=profile)
        given = read_photo(path)
        assert given.note == "CMYK was turned into RGB without its profile, which cannot be used"
        assert np.abs(given.pixels.astype(int) - COLOURS).mean() < 3
        assert "icc_profile" not in again(path, tmp_path / f"out{number}.jpg").info


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_deep_tiff_keeps_what_it_says(tmp_path: Path, planar: str) -> None:
    texts = {270: "Café", 271: "Scanner", 305: "Scanning tool", 306: "2001:02:03 04:05:06"}
    more = [
        (700, "B", 5, b"<xmp>", True),
        *((tag, "s", 0, text.encode(), True) for tag, text in texts.items() if tag != 305),
    ]
    options = {
        "software": texts[305],
        "planarconfig": planar,
        "iccprofile": PROFILE,
        "resolution": (300, 300),
        "resolutionunit": "inch",
    }
    tiff(deep(COLOURS), extratags=more, **options)(tmp_path / "in.tif")
    written = again(tmp_path / "in.tif", tmp_path / "out.tif")
    assert written.info["icc_profile"] == PROFILE and written.info["dpi"] == (300, 300)
    assert written.info["xmp"] == b"<xmp>"
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert {tag.code: tag.value for tag in file.pages.first.tags if tag.code in texts} == texts
        assert len({tag.code for tag in file.pages.first.tags}) == len(file.pages.first.tags)
    again(tmp_path / "in.tif", tmp_path / "out.png")
    assert read_photo(tmp_path / "out.png").form.info["icc_profile"] == PROFILE


def test_deep_arrays_become_files_as_deep_as_the_kind_allows(tmp_path: Path) -> None:
    for array in (deep(COLOURS), deep(GREY)):
        given = open_photo(array)
        for name in ("a.png", "a.tif"):
            encode(given, given.pixels, None, tmp_path / name, target_format(given, tmp_path / name))
            np.testing.assert_array_equal(read_photo(tmp_path / name).pixels, given.pixels)
        encode(given, given.pixels, None, tmp_path / "a.bmp", "BMP")
        np.testing.assert_array_equal(read_pixels(tmp_path / "a.bmp"), eight_bit(given.pixels))


def test_jpeg_has_more_endings_than_two(cases: Path) -> None:
    assert {".jfif", ".jpe"} <= IMAGE_SUFFIXES
    photos = [path for path in list_images([cases / "14-suffixes"]) if path.suffix != ".heic"]  # where that is read
    assert [path.name for path in photos] == ["a.jpg", "b.jfif", "c.jpe"]
    for path in photos:
        assert target_format(read_photo(path), Path("out") / path.name) == "JPEG"


# -- what cannot be read


def saved(kind: str, **options: Any) -> bytes:
    content = BytesIO()
    Image.fromarray(COLOURS).save(content, kind, **options)
    return content.getvalue()


def scan(array: np.ndarray, **options: Any) -> bytes:
    content = BytesIO()
    tifffile.imwrite(content, array, metadata=None, **options)
    return content.getvalue()


def holed(levels: np.ndarray, value: float) -> np.ndarray:
    levels = levels.copy()
    levels[3, 4] = value
    return levels


HUGE = b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty.png": (lambda: b"", "not a picture"),
    "text.jpg": (lambda: b"no picture", "not a picture"),
    "script.eps": (lambda: saved("EPS"), "not a picture"),
    "script.png": (lambda: saved("EPS"), "not a picture"),
    "cut.png": (lambda: saved("PNG")[:3000], "truncated"),
    "cut.jpg": (lambda: saved("JPEG")[:900], "truncated"),
    "cut.tif": (lambda: saved("TIFF")[:2000], ""),
    "deep cut.png": (lambda: png.encode(deep(COLOURS), b"")[:3000], ""),
    "deep spoilt.png": (lambda: png.encode(deep(COLOURS), b"").replace(b"\xff", b"\0"), ""),
    "deep cut.tif": (lambda: scan(deep(COLOURS), photometric="rgb")[:2000], ""),
    "deep cut zlib.tif": (lambda: scan(deep(COLOURS), photometric="rgb", compression="zlib")[:2000], ""),
    "huge.png": (lambda: saved("PNG")[:8] + chunk(*HUGE) + saved("PNG")[33:], "more than 178 megapixels"),
    "moving.webp": (lambda: saved("WEBP", save_all=True, append_images=[Image.new("RGB", (60, 40))]), "more than one"),
    "moving.gif": (lambda: saved("GIF", save_all=True, append_images=[Image.new("RGB", (60, 40))]), "more than one"),
    "moving.png": (lambda: saved("PNG", save_all=True, append_images=[Image.new("RGB", (60, 40))]), "more than one"),
    "pages.tif": (lambda: saved("TIFF", save_all=True, append_images=[Image.new("RGB", (60, 40))]), "more than one"),
    "deep pages.tif": (lambda: scan(np.stack([deep(COLOURS)] * 2), photometric="rgb"), "more than one"),
    "nan.tif": (lambda: scan(holed(real(GREY), np.nan)), r"finite values in \[0, 1\], this one spans \[nan, nan\]"),
    "infinite.tif": (lambda: scan(holed(real(GREY), np.inf)), r"spans \[.*, inf\]"),
    "nan rgb.tif": (lambda: scan(holed(real(COLOURS), np.nan), photometric="rgb"), "finite values"),
    "bright.tif": (lambda: scan(real(GREY) * 255), r"spans \[.*\]; divide it by its maximum"),
    "signed.tif": (lambda: scan(GREY.astype(np.int16)), "int16"),
    "wide.tif": (lambda: scan(GREY.astype(np.uint32)), "uint32"),
    "five.tif": (
        lambda: scan(np.dstack([deep(COLOURS)] * 2)[..., :5], photometric="rgb", planarconfig="contig"),
        "5 x 16 bits, RGB",
    ),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("read", [read_pixels, read_tensor, lambda path: read_large(path, 1), read_photo])
def test_what_cannot_be_read_is_one_line_with_its_name(tmp_path: Path, name: str, read: Callable[[Path], Any]) -> None:
    content, reason = BAD[name]
    (tmp_path / name).write_bytes(content())
    with pytest.raises(OSError, match=reason or None) as raised:
        read(tmp_path / name)
    assert str(raised.value).startswith(f"{tmp_path / name}: ") and "\n" not in str(raised.value)


@pytest.mark.parametrize("error", NO_MEMORY.values(), ids=NO_MEMORY)
def test_a_picture_that_memory_lacks_for_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: Any) -> None:
        raise error

    path = tmp_path / "large.png"
    Image.fromarray(COLOURS).save(path)
    monkeypatch.setattr("iqp_adapter.pictures.files.decode", fail)
    with pytest.raises(OSError, match=r"large\.png: no memory is left .*smaller pictures"):
        read_photo(path)


def test_what_is_no_picture_does_not_fill_the_memory() -> None:
    class Film(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None and 0 <= size < 1 << 20
            return super().read(size)

    with pytest.raises(UnidentifiedImageError):
        content_of(Film(b"\0\0\0\x18ftypmp42" * 1000))


def test_a_broken_chunk_is_one_line(cases: Path) -> None:
    path = cases / "04-broken-png" / "b_broken.png"
    for read in (read_pixels, read_tensor, read_photo):
        with pytest.raises(OSError, match=r"b_broken.png: broken PNG file"):
            read(path)


def test_folders_and_nothing_are_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=f"{tmp_path}: Is a directory"):
        read_pixels(tmp_path)
    with pytest.raises(OSError, match="nowhere.png: No such file"):
        size_of("nowhere.png")


def test_postscript_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    def run(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a program was run")

    monkeypatch.setattr(subprocess, "check_call", run)
    monkeypatch.setattr(subprocess, "Popen", run)
    (tmp_path / "x.png").write_bytes(saved("EPS"))
    with pytest.raises(OSError, match="not a picture that can be read"):
        read_tensor(tmp_path / "x.png")


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_broken_deep_files_are_read_or_named_in_one_line(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    whole = (
        png.encode(deep(COLOURS), b"") if kind == "PNG" else scan(deep(COLOURS), photometric="rgb", compression="zlib")
    )
    path = tmp_path / "broken"
    for _ in range(40):
        broken = np.frombuffer(whole, np.uint8).copy()
        broken[rng.integers(0, min(len(broken), 400), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(broken.tobytes())
        try:
            read_photo(path)
        except OSError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


# -- a full disk


def test_other_writers_of_pictures_notice_a_full_disk(tmp_path: Path, full_disk: Any) -> None:
    record = Record(tmp_path)
    for write in (
        lambda: write_png(tmp_path / "a.png", COLOURS, "source"),
        lambda: record.grid("b", [torch.zeros(1, 3, 40, 60)], ["row"]),
        lambda: write_demo(tmp_path),
    ):
        with full_disk(90), pytest.raises(OSError, match="File too large"):
            write()
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("name", ["x.jpg", "x.bmp", "x.tif", "x.png", "x.webp", "deep.tif", "deep l.tif", "deep.png"])
def test_a_full_disk_is_noticed(tmp_path: Path, name: str, full_disk: Any) -> None:
    if name.startswith("x"):
        pillow(COLOURS, **({"compression": "raw"} if name == "x.tif" else {}))(tmp_path / name)
    else:
        FORMS[name][1](tmp_path / name)
    given = read_photo(tmp_path / name)
    whole, cut = tmp_path / f"whole{name}", tmp_path / f"cut{name}"
    encode(given, given.pixels, given.alpha, whole, given.format)
    for missing in (1, 700):
        with full_disk(whole.stat().st_size - missing), pytest.raises(OSError, match="File too large"):
            encode(given, given.pixels, given.alpha, cut, given.format)
