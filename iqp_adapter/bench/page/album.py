"""The pictures that a page carries: reduced, each once, and as many as a budget of bytes allows."""

from __future__ import annotations

import base64
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from ...pictures import read_pixels
from ..report import Report

LONGEST_SIDE = 512
"""Larger pictures are reduced to this many pixels."""

_QUALITY = 88
_log = logging.getLogger(__name__)


@dataclass
class Album:
    """Pictures as data URIs, and where they belong.

    Attributes:
        uris: every picture once.
        shown: method -> place in `uris` for every test picture; None where the page has none.
        kept: number of test pictures that the budget had room for.
        unreadable: names of files that could not be read.
    """

    uris: list[str] = field(default_factory=list)
    shown: dict[str, list[int | None]] = field(default_factory=dict)
    kept: int = 0
    unreadable: list[str] = field(default_factory=list)


def collect(report: Report, folder: Path, budget: int) -> Album:
    """Takes test pictures, each with all methods' results, until the next one would not fit.

    Args:
        report: its paths are relative to `folder`.
        budget: bytes for all data URIs together.
    """
    album = Album(shown={role: [None] * len(report.pictures) for role in report.images})
    places: dict[Path, int] = {}
    for index in order(report) if report.images else ():
        files = {role: folder / paths[index] for role, paths in report.images.items() if paths and paths[index]}
        new = [file for file in dict.fromkeys(files.values()) if file not in places]
        fresh = {file: uri for file in new if (uri := _read(file, album))}
        budget -= sum(map(len, fresh.values()))
        if budget < 0:
            break
        places |= {file: len(album.uris) + place for place, file in enumerate(fresh)}
        album.uris += fresh.values()
        album.kept += 1
        for role, file in files.items():
            album.shown[role][index] = places.get(file)
    return album


def order(report: Report) -> list[int]:
    """Test pictures in the order in which they get room: drawn with seed 0, in turn with the worst of every method.

    The draw keeps the page honest, the worst cases give "worst first" something to show.
    """
    count = len(report.pictures)
    draw = random.Random(0).sample(range(count), count)
    return _in_turn(draw, _in_turn(*_worst_first(report)))


def _in_turn(*lists: list[int]) -> list[int]:
    """The first of every list, then the second of every list, and so on; each item once."""
    turns = chain.from_iterable(zip_longest(*lists))
    return list(dict.fromkeys(item for item in turns if item is not None))


def _worst_first(report: Report) -> Iterator[list[int]]:
    """For every method and metric, the test pictures that have a value, the worst one first."""
    for of in report.values.values():
        for column in report.columns:
            known = [(value, index) for index, value in enumerate(of.get(column.id, ())) if value is not None]
            yield [index for _, index in sorted(known, reverse=column.lower_better)]


def _read(file: Path, album: Album) -> str | None:
    """A file as a data URI; one that cannot be read is noted in the album, for the page to say so."""
    try:
        return _data_uri(read_pixels(file))
    except OSError as error:
        _log.warning("the page goes without %s", error)
        album.unreadable.append(file.name)
        return None


def _data_uri(pixels: np.ndarray) -> str:
    """WebP of the reduced picture, or JPEG where Pillow was built without WebP."""
    from PIL import Image, features

    picture = Image.fromarray(pixels)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    form = "webp" if features.check("webp") else "jpeg"
    content = BytesIO()
    picture.save(content, form, quality=_QUALITY)
    return f"data:image/{form};base64,{base64.b64encode(content.getvalue()).decode()}"
