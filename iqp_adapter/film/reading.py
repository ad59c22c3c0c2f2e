"""Reading films: what is known of one beforehand, and its frames in their order, from any of them on."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from av import VideoFrame

_HDR = {16: "PQ", 18: "HLG"}
"""Numbers of the transfer characteristics of films with more than the usual range of brightness."""


class Frame(NamedTuple):
    """A frame of a film.

    Attributes:
        time: when it is shown, in units of the film's `time_base`.
        picture: as it is stored.
    """

    time: int
    picture: VideoFrame


@dataclass(frozen=True)
class Film:
    """What is known of a film before it is read.

    Attributes:
        width, height: as it is stored, before it is turned.
        time_base: the unit of its times, in seconds.
        rate: frames per second, on average.
        duration: seconds, as its file says; None where it does not.
        turns: quarters of a full turn, counter-clockwise, by which it is shown turned.
        sample_aspect: width of a pixel in units of its height.
        tags: numbers by which the file says how samples stand for colours: see `colour`.
    """

    path: Path
    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    duration: float | None
    turns: int
    sample_aspect: Fraction | None
    format: str
    tags: dict[str, int]

    @property
    def frames(self) -> int | None:
        """About how many it has; None where nothing is known."""
        return None if self.duration is None else max(1, round(self.duration * self.rate))


def open_film(path: Path) -> Film:
    """Looks at a film's first frame.

    Raises:
        ImportError: without the package `av`.
        OSError, ValueError: where it cannot be read, or is of a kind that cannot be restored well.
    """
    with _opened(path) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise ValueError(f"{path} has no frame that can be read")
        _refuse(path, stream, first)
        context = stream.codec_context
        seconds = container.duration / 1e6 if container.duration else None  # in microseconds
        return Film(
            path=path,
            width=first.width,
            height=first.height,
            time_base=stream.time_base,
            rate=stream.average_rate or stream.guessed_rate or Fraction(25),
            duration=seconds,
            turns=round(first.rotation / 90) % 4,
            sample_aspect=stream.sample_aspect_ratio,
            format=first.format.name,
            tags=_tags(context) | (_OF_RGB if first.format.is_rgb else {}),
        )


_TAGS = ("color_range", "colorspace", "color_trc", "color_primaries")
_OF_RGB = {"color_range": 1, "colorspace": 2}
"""A film in RGB becomes one of the usual range and matrix, since the result is none."""


def _tags(context: Any) -> dict[str, int]:
    return {name: int(getattr(context, name)) for name in _TAGS}


def frames(film: Film, start: int | None = None) -> Generator[Frame, None, None]:
    """The frames of a film, each of them with a later time than the one before.

    Args:
        start: the time of the first one to be given; by default that of the film's first.

    Raises:
        OSError, ValueError: where it cannot be read on.
    """
    last: int | None = None
    with _opened(film.path) as (container, stream):
        if start is not None:
            container.seek(start, stream=stream)
        for picture in container.decode(stream):
            time = picture.dts if picture.pts is None else picture.pts
            if time is None:
                raise ValueError(f"{film.path} has frames without a time; {_MEND}")
            if start is not None and last is None and time > start:
                break  # the file's index leads behind the frame
            if (last is None or time > last) and (start is None or time >= start):
                yield Frame(time, picture)
            last = time if last is None else max(last, time)
    if start is not None and (last is None or last < start):  # the index may also lead behind all frames
        yield from (frame for frame in frames(film) if frame.time >= start)


def again(film: Film, times: Sequence[int], first: int) -> Generator[Frame, None, None]:
    """The frames of a film that was read before, from a number on.

    Args:
        times: of all frames, as they were found before.

    Raises:
        OSError, ValueError: where it cannot be read on, or has other frames now, as damaged films may have.
    """
    with closing(frames(film, times[first])) as found:
        for number, (time, frame) in enumerate(zip_longest(islice(times, first, None), found), first):
            if frame is None or frame.time != time:
                raise ValueError(f"{film.path} is damaged: frame {number} differs when it is read again; {_MEND}")
            yield frame


_MEND = "copy it to another .mkv file first"


def last_duration(film: Film) -> int:
    """How long the last frame is shown, in units of the film's `time_base`; 0 where the file does not say."""
    with _opened(film.path) as (container, stream):
        end = None if stream.duration is None else (stream.start_time or 0) + stream.duration
        lasting = [(packet.pts, packet.duration or 0) for packet in container.demux(stream) if packet.pts is not None]
    begin, duration = max(lasting)
    return duration if end is None or end <= begin else end - begin


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """A film's container, and the stream of its pictures."""
    av = library()
    with plain_errors(path), av.open(str(path)) as container:
        streams = [s for s in container.streams.video if av.stream.Disposition.attached_pic not in s.disposition]
        if not streams:
            raise ValueError(f"{path} has no moving pictures")
        streams[0].thread_type = "AUTO"
        with plain_errors(path, _DAMAGED):
            yield container, streams[0]


_DAMAGED = "; it is damaged; 'ffmpeg -i FILM -c:v libx264 -crf 12 -c:a copy NEW.mkv' leaves out what cannot be read"


@contextmanager
def plain_errors(path: Path, advice: str = "") -> Iterator[None]:
    """Turns an error of FFmpeg into an OSError of one line, which names the file."""
    try:
        yield
    except library().FFmpegError as error:
        raise OSError(f"{path}: {error.strerror}{advice}") from error


def library() -> Any:
    """The package `av`, which speaks FFmpeg.

    Raises:
        ImportError: says how it is installed.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError("films need a further package: pip install 'iqp_adapter[film]'") from error
    return av


def _refuse(path: Path, stream: Any, first: Any) -> None:
    if kind := _HDR.get(int(stream.codec_context.color_trc)):
        raise ValueError(f"{path} is in HDR ({kind}), which no restorer has learnt; convert it to SDR first")
    if first.interlaced_frame:
        raise ValueError(f"{path} is interlaced: its frames are two half pictures each; deinterlace it first")
