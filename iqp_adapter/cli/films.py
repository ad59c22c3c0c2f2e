"""Films of `iqp restore`: which of its arguments are films, and what is shown while they are restored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..store.words import counted
from .terminal import progress, say, shown

if TYPE_CHECKING:
    from ..film.restore import Progress
    from ..photo.outcomes import PhotoReport
    from ..restorer import Restorer


def films_among(names: Sequence[str], output: Path) -> list[Path]:
    """The films that are named, which are restored one after the other; none where photos are named.

    Raises:
        ValueError: where photos are named, too, or where only the output is named as a film.
    """
    from ..photo.kinds import FILMS, is_film

    films = [Path(name) for name in names if is_film(name) and Path(name).is_file()]
    if films and len(films) < len(names):
        raise ValueError(f"{films[0]} is a film; restore photos and films by two commands")
    if not films and is_film(output.name) and not output.is_dir():
        raise ValueError(
            f"{output} is the name of a film, but none is given; films are known by their suffix: "
            f"{', '.join(sorted(FILMS))}"
        )
    return films


def restore_films(films: Sequence[Path], output: Path, model: Restorer, **asked: Any) -> list[PhotoReport]:
    """Restores films, and shows how far each is and when it will be done.

    Raises:
        ValueError: where several films would become one file.
    """
    from ..film import restore_film

    if len(films) > 1 and (output.suffix or asked["report"] is not None):
        raise ValueError(
            f"{len(films)} films need a folder as their output, and take no --report; name films one by one"
        )
    done = []
    for film in films:
        with _progress(film) as progress:
            done.append(restore_film(film, output, model, progress=progress, **asked))
    return done


def show_films(films: Sequence[PhotoReport]) -> None:
    for film in films:
        say(f"restored {film.restored} of {counted(len(film.faces), 'face')}, counted anew in each shot: {film.output}")
        if not film.faces:
            say(f"no face found: {film.source}; if there is one, try --detector retinaface")
        for face in film.faces:
            if face.skipped:
                say(f"left alone: {film.source}, face {face.index}, {face.note}: {face.skipped}")


@contextmanager
def _progress(film: Path) -> Iterator[Progress]:
    from rich.markup import escape

    with progress(transient=True) as bars:
        tasks: dict[str, Any] = {}

        def tell(doing: str, done: int, total: int | None) -> None:
            if doing not in tasks:
                tasks[doing] = bars.add_task(escape(f"{shown(film.name)}: {doing}"), total=total)
            bars.update(tasks[doing], completed=done, total=total)

        yield tell
