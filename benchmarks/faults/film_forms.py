"""Tiny films of the astronaut in the kinds that cameras, phones and converters make, and their damages."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np
from PIL import Image

from benchmarks.faults.mutations import bytes_mutated

RATE, FRAMES, SIDE, SOUND = 12, 12, 96, 16_000
_UNIT = Fraction(1, 12_000)


@dataclass(frozen=True)
class Form:
    """How a film is stored.

    Attributes:
        container, codec, format: as FFmpeg names them; no codec for a film without pictures.
        sound: codec of its tone; None for a silent one.
        size: width and height.
        frames: number of pictures; a film may have none.
        steps: how many usual times each frame is shown, one after the other and again from the first.
        turned: degrees, counter-clockwise.
        options: of the container.
    """

    container: str
    codec: str | None = "libx264"
    format: str = "yuv420p"
    sound: str | None = "aac"
    size: tuple[int, int] = (SIDE, SIDE)
    frames: int = FRAMES
    steps: Sequence[Fraction] = (Fraction(1),)
    turned: int = 0
    options: dict[str, str] = field(default_factory=dict)


FORMS = {
    "plain.mp4": Form("mp4"),
    "streamed.mp4": Form("mp4", options={"movflags": "faststart"}),
    "pieces.mp4": Form("mp4", options={"movflags": "frag_keyframe+empty_moov"}),
    "plain.mkv": Form("matroska"),
    "lossless.mkv": Form("matroska", codec="ffv1", sound="flac"),
    "camera.mts": Form("mpegts", sound="ac3"),
    "old.avi": Form("avi", codec="mpeg4", sound="mp3"),
    "web.webm": Form("webm", codec="libvpx", sound="libopus"),
    "deep.mov": Form("mov", codec="libx265", format="yuv420p10le"),
    "turned.mov": Form("mov", turned=90),
    "upside_down.mp4": Form("mp4", turned=180),
    "uneven.mkv": Form("matroska", steps=(Fraction(1), Fraction(1, 3), Fraction(5), Fraction(2))),
    "halting.mp4": Form("mp4", steps=(*[Fraction(1)] * 6, Fraction(4000))),
    "odd.mkv": Form("matroska", format="yuv444p", size=(SIDE - 1, SIDE - 3)),
    "odd_and_turned.mp4": Form("mp4", format="yuv444p", size=(SIDE + 1, SIDE - 3), turned=270),
    "little.avi": Form("avi", codec="rawvideo", format="bgr24", size=(5, 3)),
    "silent.mp4": Form("mp4", sound=None),
    "one.mp4": Form("mp4", frames=1),
    "no_frames.mp4": Form("mp4", frames=0),
    "sound_alone.mp4": Form("mp4", codec=None),
}


def films(folder: Path) -> dict[str, bytes]:
    """Every form, a photo and a page that are called films, and a film that is called one of another kind, by name."""
    made = {name: film(folder / name, form) for name, form in FORMS.items()}
    photo = io.BytesIO()
    Image.fromarray(_picture(0, (SIDE, SIDE))).save(photo, "PNG")
    return made | {
        "a_photo.mp4": photo.getvalue(),
        "a_page.mp4": b"<!DOCTYPE html><html><body>Sign in</body></html>",
        "another_kind.avi": made["plain.mkv"],
        "another_kind.mkv": made["plain.mp4"],
    }


def film(path: Path, form: Form) -> bytes:
    """Writes a film; its content."""
    with av.open(str(path), "w", format=form.container, options=form.options) as target:
        pictures = None if form.codec is None else _pictures(target, form)
        sound = None if form.sound is None else target.add_stream(form.sound, rate=_rate(form.sound), layout="mono")
        target.start_encoding()
        time = Fraction(0)
        for number in range(form.frames):
            if pictures is not None:
                frame = av.VideoFrame.from_ndarray(_picture(number, form.size), "rgb24").reformat(format=form.format)
                frame.pts, frame.time_base = int(time / _UNIT), _UNIT
                target.mux(pictures.encode(frame))
            time += Fraction(1, RATE) * form.steps[number % len(form.steps)]
        if pictures is not None:
            target.mux(pictures.encode())
        if sound is not None:
            _say(target, sound, min(float(time), 2.0))
    return path.read_bytes()


def _pictures(film: Any, form: Form) -> Any:
    options = {"libx264": {"crf": "10"}, "libx265": {"x265-params": "log-level=error:crf=10"}}.get(form.codec or "", {})
    stream = film.add_stream(form.codec, rate=RATE, options=options)
    stream.width, stream.height = form.size
    stream.pix_fmt = form.format
    if form.container != "avi":  # which knows no small units
        stream.codec_context.time_base = _UNIT
    if form.turned:
        stream.set_display_rotation(form.turned)
    return stream


def _rate(codec: str) -> int:
    return 48_000 if codec in ("libopus", "ac3") else SOUND


def _say(film: Any, stream: Any, seconds: float) -> None:
    """A tone."""
    rate = stream.codec_context.sample_rate
    tone = (8000 * np.sin(0.05 * np.arange(int(rate * seconds)))).astype(np.int16)
    size = 960 if rate == 48_000 else 1024
    for start in range(0, len(tone), size):
        part = av.AudioFrame.from_ndarray(tone[None, start : start + size], format="s16", layout="mono")
        part.rate, part.pts, part.time_base = rate, start, Fraction(1, rate)
        film.mux(stream.encode(part))
    film.mux(stream.encode())


def _picture(number: int, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8: the astronaut's head, which moves."""
    from skimage.data import astronaut

    left, top = 90 + 2 * number, number % 3
    cut = Image.fromarray(astronaut()).crop((left, top, left + 300, top + 300))
    return np.asarray(cut.resize(size, Image.Resampling.BICUBIC))


# -- damages


def damaged(name: str, content: bytes, rng: Random) -> tuple[str, bytes]:
    """Another name and content, by one damage of one kind."""
    return rng.choice(_DAMAGES)(name, content, rng)


Damage = Callable[[str, bytes, Random], tuple[str, bytes]]


def _anywhere(name: str, content: bytes, rng: Random) -> tuple[str, bytes]:
    return name, bytes_mutated(content, rng)


def _cut_late(name: str, content: bytes, rng: Random) -> tuple[str, bytes]:
    """As a download that broke off, or a full card."""
    return name, content[: rng.randrange(len(content) // 2, len(content))]


def _renamed(name: str, content: bytes, rng: Random) -> tuple[str, bytes]:
    return f"{Path(name).stem}{rng.choice(('.mp4', '.mkv', '.avi', '.mpg', '.wmv', '.jpg', '.txt', ''))}", content


def _in_pictures(name: str, content: bytes, rng: Random) -> tuple[str, bytes]:
    return name, _in_packets(content, rng, "video")


def _in_sound(name: str, content: bytes, rng: Random) -> tuple[str, bytes]:
    return name, _in_packets(content, rng, "audio")


def _in_packets(content: bytes, rng: Random, kind: str) -> bytes:
    """Some bytes of what was encoded, the container being whole."""
    try:
        with av.open(io.BytesIO(content)) as film:
            packets = [p for p in film.demux() if p.stream.type == kind and p.pos is not None and p.size > 8]
            places = [(packet.pos, packet.size) for packet in packets]
    except av.FFmpegError:
        places = []
    if not places:
        return bytes_mutated(content, rng)
    changed = bytearray(content)
    for _ in range(rng.choice((1, 3))):
        start, size = rng.choice(places)
        for _ in range(rng.choice((1, 8))):
            changed[min(start + rng.randrange(size), len(changed) - 1)] = rng.randrange(256)
    return bytes(changed)


def _lasting(name: str, content: bytes, rng: Random) -> tuple[str, bytes]:
    """The header tells another length: of all, of a track, or of its media."""
    places = [(box, at) for box in (b"mvhd", b"mdhd", b"tkhd") if (at := content.find(box)) > 0]
    if not places:
        return _anywhere(name, content, rng)
    box, at = rng.choice(places)
    changed = bytearray(content)
    wrong = rng.choice((0, 1, 10**6, 2**31 - 1, 2**32 - 1))
    struct.pack_into(">I", changed, at + (24 if box == b"tkhd" else 20), wrong)
    return name, bytes(changed)


_DAMAGES: tuple[Damage, ...] = (
    _anywhere, _anywhere, _anywhere, _cut_late, _renamed, _in_pictures, _in_pictures, _in_sound, _lasting,
)  # fmt: skip
