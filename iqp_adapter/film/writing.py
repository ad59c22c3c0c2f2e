"""Writing films: parts of a film, each in a file of its own, and the whole of them with the source's sound.

Parts are written without frames that are stored out of order, so that they join at any time, whatever the frame rate.
Their container, NUT, keeps times in any unit.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .colour import stored_as
from .reading import Film, last_duration, library, plain_errors

if TYPE_CHECKING:
    from av import VideoFrame

_MUXERS = {".m4v": "mp4", ".mkv": "matroska", ".mov": "mov", ".mp4": "mp4"}

WRITTEN = frozenset(_MUXERS)
"""Suffixes of the results."""

PART = "nut"

CRF = "12"
"""Of the encoders' scale of quality, at which 18 passes for lossless to the eye; judges still see 16."""

_X265 = f"crf={CRF}:bframes=0:log-level=error"


def write_part(path: Path, film: Film, frames: Iterable[tuple[int, VideoFrame]]) -> None:
    """Encodes frames at their times, of the size that the first one has.

    Raises:
        OSError: where the file cannot be written.
    """
    av = library()
    with plain_errors(path), av.open(str(path), "w", format=PART) as container:
        stream = None
        for time, picture in frames:
            stream = stream or _video(container, film, picture)
            picture.pts, picture.time_base, picture.pict_type = time, film.time_base, 0
            container.mux(stream.encode(picture))
        if stream is not None:
            container.mux(stream.encode())


def _video(container: Any, film: Film, picture: VideoFrame) -> Any:
    """A stream for frames as this one: up to 8 bits by H.264, which all players know, and more by H.265."""
    format = stored_as(film)
    if format.endswith("p"):
        stream = container.add_stream("libx264", rate=film.rate, options={"crf": CRF, "bf": "0"})
    else:
        stream = container.add_stream("libx265", rate=film.rate, options={"x265-params": _X265})
    stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, format
    context = stream.codec_context
    context.time_base = film.time_base
    if film.sample_aspect is not None:
        context.sample_aspect_ratio = film.sample_aspect
    for name, value in film.tags.items():
        setattr(context, name, value)
    return stream


def join(path: Path, film: Film, parts: Sequence[Path]) -> None:
    """Writes parts as one film, with sound, subtitles, chapters and all that the source says of itself.

    Raises:
        OSError: where it cannot be written.
    """
    av = library()
    with plain_errors(path), av.open(str(film.path)) as source, _target(path, path.suffix) as target:
        with av.open(str(parts[0])) as first:
            video = target.add_stream_from_template(first.streams.video[0])
        video.codec_context.framerate = film.rate
        if path.suffix.lower() != ".mkv" and video.codec_context.codec.canonical_name == "hevc":
            video.codec_tag = "hvc1"  # the only one that Apple's players take
        if film.turns:
            video.set_display_rotation(90 * film.turns)
        if film.sample_aspect is not None:
            video.codec_context.sample_aspect_ratio = film.sample_aspect
        copied = {stream.index: _copy(target, stream) for stream in copied_streams(source)}
        target.metadata.update(source.metadata)
        target.set_chapters(source.chapters())
        flows = [_lasting(_pictures(parts, video), last_duration(film) * film.time_base)]
        if copied:
            flows.append(_others(source, copied))
        target.start_encoding()
        for packet in heapq.merge(*flows, key=lambda packet: packet.dts * packet.time_base):
            target.mux(packet)


def copied_streams(source: Any) -> list[Any]:
    """Sound and subtitles of a film."""
    return [*source.streams.audio, *source.streams.subtitles]


def refuse_unfit(film: Film, target: Path) -> None:
    """Raises ValueError for a target whose kind of file cannot be written, or takes no such sound or subtitles."""
    if target.suffix.lower() not in WRITTEN:
        raise ValueError(f"{target}: films are written as {', '.join(sorted(WRITTEN))}; name one of these")
    with plain_errors(film.path), library().open(str(film.path)) as source:
        wrong = {stream.name for stream in copied_streams(source) if not _takes(target.suffix, stream)}
    if wrong:
        raise ValueError(f"{target}: this kind of file takes no {', '.join(sorted(wrong))}; name a .mkv file")


def _takes(suffix: str, stream: Any) -> bool:
    """Whether a kind of file takes a stream, which some kinds tell only when they are begun."""
    try:
        with _target(Path(os.devnull), suffix) as trial:
            _copy(trial, stream)
            trial.start_encoding()
    except (ValueError, library().FFmpegError):
        return False
    return True


def _target(path: Path, suffix: str) -> Any:
    return library().open(str(path), "w", format=_MUXERS[suffix.lower()])


def _copy(target: Any, stream: Any) -> Any:
    copy = target.add_stream_from_template(stream)
    copy.metadata.update(stream.metadata)
    copy.disposition = stream.disposition
    return copy


def _pictures(parts: Sequence[Path], video: Any) -> Iterator[Any]:
    av = library()
    for part in parts:
        with av.open(str(part)) as container:
            for packet in container.demux(video=0):
                if packet.dts is not None:
                    packet.stream = video
                    yield packet


def _lasting(packets: Iterable[Any], last: Fraction) -> Iterator[Any]:
    """The packets, of which the last one is shown for so many seconds."""
    before = None
    for packet in packets:
        if before is not None:
            yield before
        before = packet
    if before is not None:
        before.duration = round(last / before.time_base)
        yield before


def _others(source: Any, copied: dict[int, Any]) -> Iterator[Any]:
    for packet in source.demux([source.streams[index] for index in copied]):
        if packet.dts is not None:  # the last one is empty
            packet.stream = copied[packet.stream.index]
            yield packet
