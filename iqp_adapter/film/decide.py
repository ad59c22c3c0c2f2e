"""One decision a track: whether its face is restored, and at which quality. Neither changes from frame to frame.

A few frames of each track are restored as photos are. What becomes of the face in most of them is decided for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain, islice

import numpy as np

from ..photo.batch import FaceBatch
from ..photo.faces import Face
from ..photo.outcomes import FaceReport
from .colour import Colours
from .flow import shown
from .reading import Film, again
from .steady import REACH
from .tracks import Track

SAMPLES = 3
"""Frames of a track that are restored to decide about it."""


def decide(
    film: Film,
    colours: Colours,
    tracks: Sequence[Track],
    times: Sequence[int],
    batch: FaceBatch,
    progress: Callable[[int, int], None],
) -> list[FaceReport]:
    """What is to become of each track: its outcome, the quality of its face, and why it is left alone.

    Args:
        times: of all frames.
        batch: restores faces with all that was asked for.
        progress: is told how many of how many frames were restored.
    """
    samples = [_samples(track) for track in tracks]
    reports: list[list[FaceReport]] = [[] for _ in tracks]
    numbers = sorted(set(chain(*samples)))
    for done, number in enumerate(numbers):
        progress(done, len(numbers))
        found = _faces_at(number, film, colours, tracks, times, batch)
        asked = [index for index, own in enumerate(samples) if number in own]
        batch.restore([face for index in asked if (face := found[tracks[index]]).outcome is None])
        for index in asked:
            reports[index].append(found[tracks[index]].report())
    return [
        replace(_usual(each), index=index, note=_when(track, film))
        for index, (track, each) in enumerate(zip(tracks, reports, strict=True))
    ]


def _samples(track: Track) -> set[int]:
    """Numbers of frames, evenly among those in which the face was seen."""
    seen = [sighting.frame for sighting in track.sightings]
    places = (np.arange(SAMPLES) + 0.5) / SAMPLES * len(seen)
    return {seen[int(place)] for place in places}


def _faces_at(
    number: int, film: Film, colours: Colours, tracks: Sequence[Track], times: Sequence[int], batch: FaceBatch
) -> dict[Track, Face]:
    """The faces of a frame, cut out and steadied."""
    first = max(0, number - REACH)
    with closing(again(film, times, first)) as source:
        near = islice(source, number + REACH + 1 - first)
        found = shown(near, first, colours, tracks, batch.options, batch.resolution)
        return next(each.faces for each in found if each.number == number)


def _usual(reports: Sequence[FaceReport]) -> FaceReport:
    """Of the reports of a face, the one in the middle, by quality, of those with the most frequent outcome."""
    usual, _ = Counter(report.outcome for report in reports).most_common(1)[0]
    of_it = sorted((report for report in reports if report.outcome is usual), key=_level)
    return of_it[len(of_it) // 2]


def _level(report: FaceReport) -> float:
    return report.quality if isinstance(report.quality, float) else 0.0


def _when(track: Track, film: Film) -> str:
    """The time in which a face is seen, for people."""
    first, last = (float(frame / film.rate) for frame in (track.first, track.last))
    return f"seen from {first:.1f} to {last:.1f} s, decided once"
