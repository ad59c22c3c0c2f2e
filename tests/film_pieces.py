"""Small films with sound, and detectors and restorers for them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from photo_standins import BOX, LANDMARKS, photo

from iqp_adapter.photo import Faces

SIZE = (256, 160)
UNIT = Fraction(1, 12800)
STEP = 512
"""Of a film with 25 frames a second."""

LEFT, TOP = 130, 40


def picture(number: int) -> np.ndarray:
    """(160, 256, 3) uint8: the astronaut's head, which goes to the left by a pixel a frame."""
    left = LEFT + number
    return np.ascontiguousarray(photo()[TOP : TOP + SIZE[1], left : left + SIZE[0]])


class Moving:
    """Finds the face of `picture`, by its number, as long as it is there; counts its looks."""

    def __init__(self, error: float = 0.0) -> None:
        self.seen: list[int | None] = []
        self.error = error

    @property
    def looks(self) -> int:
        return len(self.seen)

    def __call__(self, rgb: np.ndarray) -> Faces:
        number = _number(rgb)
        self.seen.append(number)
        if number is None:
            return Faces(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))
        wrong = np.random.default_rng(number).normal(0, self.error, (5, 2))
        shift = np.array([LEFT + number, TOP])
        return Faces((BOX - np.tile(shift, 2))[None], np.ones(1), (LANDMARKS - shift + wrong)[None])


def _number(rgb: np.ndarray) -> int | None:
    """Which picture it is; None for another one."""
    if rgb.shape[:2] != SIZE[::-1]:
        return None
    errors = np.abs(_few(rgb) - KNOWN).mean((1, 2, 3))
    return int(errors.argmin()) if errors.min() < 12 else None


def _few(pixels: np.ndarray) -> np.ndarray:
    return pixels[::8, ::8].astype(np.float32)


KNOWN = np.array([_few(picture(number)) for number in range(60)])


def write_film(
    path: Path,
    pictures: Sequence[np.ndarray],
    *,
    times: Sequence[int] | None = None,
    format: str = "yuv420p",
    codec: str = "libx264",
    full: bool = False,
    rotation: int = 0,
    wide: bool = False,
    sound: str | None = "aac",
) -> Path:
    """Encodes pictures (H, W, 3) uint8 at times in units of `UNIT`, and a tone of their length."""
    times = range(0, STEP * len(pictures), STEP) if times is None else times
    with av.open(str(path), "w") as film:
        stream = film.add_stream(codec, rate=25, options={"crf": "10"} if codec == "libx264" else {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = format, UNIT
        stream.codec_context.color_range = 2 if full else 1
        if wide:
            stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        if rotation:
            stream.set_display_rotation(rotation)
        voice = None if sound is None else film.add_stream(sound, rate=16000, layout="mono")
        for pixels, time in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame = frame.reformat(format=format, dst_color_range=2 if full else 1, dst_colorspace=5)
            frame.pts, frame.time_base = time, UNIT
            film.mux(_lasting(stream.encode(frame), times))
        film.mux(_lasting(stream.encode(), times))
        if voice is not None:
            _say(film, voice, float((times[-1] + 3 * STEP) * UNIT))
    return path


def _lasting(packets: list[Any], times: Sequence[int]) -> list[Any]:
    """Packets whose frames are shown until the next one, the last for three times the usual time."""
    until = dict(pairwise([*times, times[-1] + 3 * STEP]))
    for packet in packets:
        packet.duration = until[packet.pts] - packet.pts
    return packets


def _say(film: Any, voice: Any, seconds: float) -> None:
    tone = (8000 * np.sin(0.05 * np.arange(int(16000 * seconds)))).astype(np.int16)
    for start in range(0, len(tone), 1024):
        frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="s16", layout="mono")
        frame.rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
        film.mux(voice.encode(frame))
    film.mux(voice.encode())


class Read(NamedTuple):
    """What a player sees and hears of a film."""

    times: list[float]
    pictures: list[np.ndarray]
    """As they are stored."""
    sound: bytes
    rotation: int
    full: bool
    bits: int
    seconds: float
    rate: Fraction
    aspect: Fraction | None
    tag: str


def read_film(path: Path) -> Read:
    times, pictures, rotation, bits = [], [], 0, 0
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        for frame in film.decode(stream):
            times.append(float(frame.pts * frame.time_base))
            rotation, bits = frame.rotation, frame.format.components[0].bits
            range_ = 2 if stream.codec_context.color_range == 2 else 1
            pictures.append(frame.reformat(format="rgb24", src_color_range=range_, src_colorspace=5).to_ndarray())
        full = stream.codec_context.color_range == 2
        seconds, rate = film.duration / 1e6, stream.average_rate
        aspect, tag = stream.sample_aspect_ratio, stream.codec_tag
    with av.open(str(path)) as film:
        sound = b"".join(bytes(each.to_ndarray()) for each in film.decode(audio=0)) if film.streams.audio else b""
    return Read(times, pictures, sound, rotation, full, bits, seconds, rate, aspect, tag)
