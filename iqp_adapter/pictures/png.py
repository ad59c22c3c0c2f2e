"""PNG files: the chunks beside the pixels, which are kept as they are, and 16 bits per sample."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from io import SEEK_CUR, BytesIO
from typing import IO, Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEAD = len(SIGNATURE) + 25
"""Bytes of the signature and the first chunk, IHDR."""

_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_BESIDE = {b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI", b"pHYs", b"eXIf", b"tIME"} | _TEXTS
_TELLING = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
"""Texts that may say how the picture is turned; the others are kept unread."""

_LARGEST_PROFILE = 1 << 26
"""Bytes; a profile of more is no profile but a trap."""


def apart(file: IO[bytes], without: bytes = b"") -> tuple[bytes, list[bytes]]:
    """A PNG file without the chunks that stand beside its pixels, and those chunks.

    Pillow refuses a whole file for one damaged or large chunk that no pixel depends on, so it reads them by themselves.

    Args:
        without: a kind of chunk that is skipped, such as IDAT where only the head is wanted.
    """
    found: tuple[list[bytes], list[bytes]] = ([], [])
    for chunk in _chunks(file, without):
        found[_kind(chunk) in _BESIDE].append(chunk)
    return SIGNATURE + b"".join(found[0]), found[1]


def said(beside: list[bytes]) -> tuple[bytes, dict[str, Any], str]:
    """The chunks that can be kept, what they say in Pillow's words, and a note on those that cannot be kept."""
    kept: list[bytes] = []
    info: dict[str, Any] = {}
    lost: list[str] = []
    for chunk in beside:
        try:
            info |= _said(chunk)
        except Exception:  # Pillow raises errors of all kinds; the note says what is lost
            lost.append("EXIF" if _kind(chunk) == b"eXIf" else f"a damaged {_kind(chunk).decode()} chunk is")
        else:
            kept.append(chunk)
    return b"".join(kept), info, "; ".join(f"{each} not kept" for each in dict.fromkeys(lost))


def _said(chunk: bytes) -> dict[str, Any]:
    if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
        raise ValueError("damaged")
    if _kind(chunk) == b"iCCP":
        return {"icc_profile": _profile(chunk[8:-4])}
    if _kind(chunk) in _TEXTS:
        return _text(chunk) if chunk[8:].startswith(_TELLING) else {}
    if _kind(chunk) == b"eXIf":
        Image.Exif().load(chunk[8:-4])
    return _alone(chunk)


def _text(chunk: bytes) -> dict[str, Any]:
    try:
        return _alone(chunk)
    except ValueError:  # too large for Pillow; it is kept unread
        return {}


def _alone(chunk: bytes) -> dict[str, Any]:
    """What Pillow reads in a file that has this chunk and one pixel."""
    with Image.open(BytesIO(_with(_DOT, chunk))) as dot:
        return {str(key): value for key, value in dot.info.items()}


def _profile(content: bytes) -> bytes:
    """Name, zero, method of compression, compressed profile -> profile."""
    packed = zlib.decompressobj()
    profile = packed.decompress(content[content.index(b"\0") + 2 :], _LARGEST_PROFILE)
    if not packed.eof:
        raise ValueError("damaged or too large")
    return profile


def beside_of(info: Mapping[str, Any]) -> bytes:
    """The chunks that say what the file of another kind said."""
    texts = PngInfo()
    for key, text in info.get("text", {}).items():
        texts.add_itxt(key, str(text))
    known = {key: info[key] for key in ("exif", "icc_profile", "dpi") if key in info}
    dot = BytesIO()
    Image.new("L", (1, 1)).save(dot, "PNG", pnginfo=texts, **known)
    return b"".join(apart(dot)[1])


# -- pixels


def is_deep(data: bytes) -> bool:
    """Whether these bytes are a PNG file with 16 bits per sample that Pillow would reduce to 8: all but grey."""
    return data.startswith(SIGNATURE) and data[24:25] == b"\x10" and data[25:26] != b"\0"


def sixteen_bit(data: bytes) -> np.ndarray:
    """Samples as stored, (H, W, 3) RGB, (H, W, 4) RGBA or (H, W, 2) grey and alpha, uint16.

    Raises:
        ValueError: where the file is damaged.
    """
    import cv2

    whole = list(_chunks(BytesIO(data)))
    if _kind(whole[-1]) != b"IEND" or any(zlib.crc32(part[4:-4]) != int.from_bytes(part[-4:], "big") for part in whole):
        raise ValueError("the picture is damaged or cut short")
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16 or stored.ndim != 3:
        raise ValueError("this kind of 16-bit picture cannot be read; save it as PNG with 8 or 16 bits per colour")
    grey_and_alpha = data[25] == _COLOURS[2]
    return np.ascontiguousarray(stored[..., [0, 3] if grey_and_alpha else [2, 1, 0, 3][: stored.shape[2]]])


def encode(planes: np.ndarray, beside: bytes) -> bytes:
    """(H, W) grey or (H, W, 2 to 4), uint8 or uint16, as a file with these chunks beside the pixels."""
    return _with(_eight(planes) if planes.dtype == np.uint8 else _sixteen(planes), beside)


def _eight(planes: np.ndarray) -> bytes:
    content = BytesIO()
    Image.fromarray(planes).save(content, "PNG")
    return content.getvalue()


_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
"""Number of samples -> PNG's number for grey, grey and alpha, RGB, RGBA."""

_UP = 2
"""PNG's number for rows that are stored as differences to the row above."""


def _sixteen(planes: np.ndarray) -> bytes:
    """Written here, since Pillow and OpenCV know no grey and alpha of 16 bits."""
    height, width, samples = (*planes.shape, 1)[:3]
    rows = planes.astype(">u2").reshape(height, -1).view(np.uint8)  # (H, W, C) -> (H, W * C * 2)
    lines = np.full((height, 1 + rows.shape[1]), _UP, np.uint8)
    lines[:, 1:] = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    head = struct.pack(">IIBBBBB", width, height, 16, _COLOURS[samples], 0, 0, 0)
    parts = (_chunk(b"IHDR", head), _chunk(b"IDAT", zlib.compress(lines.tobytes())), _chunk(b"IEND", b""))
    return SIGNATURE + b"".join(parts)


# -- chunks


def _chunks(file: IO[bytes], without: bytes = b"") -> Iterator[bytes]:
    """The chunks of a file up to its end; where it is cut short, the last one is."""
    file.seek(len(SIGNATURE))
    kind = b""
    while kind != b"IEND" and len(start := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if kind == without:
            file.seek(length + 4, SEEK_CUR)
        else:
            yield start + file.read(length + 4)


def _kind(chunk: bytes) -> bytes:
    return chunk[4:8]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return b"".join([struct.pack(">I", len(content)), kind, content, struct.pack(">I", zlib.crc32(kind + content))])


def _with(data: bytes, beside: bytes) -> bytes:
    return data[:_HEAD] + beside + data[_HEAD:]


_DOT = _eight(np.zeros((1, 1), np.uint8))
"""A picture of one pixel, to read a chunk with."""
