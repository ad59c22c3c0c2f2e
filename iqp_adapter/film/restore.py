"""A film from its file to a new file. What is done is kept beside it until all is, so that a killed run goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..photo.batch import FaceBatch
from ..photo.canvas import canvas_of
from ..photo.centerface import CenterFace
from ..photo.detect import Detector
from ..photo.options import Embedder, FaceScorer, Options
from ..photo.outcomes import FaceReport, Outcome, PhotoReport, Status, check_report, write_report
from ..photo.pipeline import Pipeline
from ..photo.plan import ending, leases_of
from ..photo.settings import Settings
from ..restorer import Restorer
from ..store.files import atomic_path, put_new, sha256_of
from ..store.leases import LIFETIME, Leases
from ..store.reading import json_file
from ..store.temporary import remove_strays, temporary_name
from .colour import Colours
from .decide import decide
from .flow import Shown, restored, shown
from .looked import Looked
from .looking import Looking, every
from .reading import Film, again, frames, open_film
from .steady import REACH
from .tracks import Track, tracks_of
from .writing import PART, WRITTEN, join, refuse_unfit, write_part

if TYPE_CHECKING:
    from av import VideoFrame

PART_SECONDS = 4
"""Length of a part; what a killed run has to do again is at most one."""

Progress = Callable[[str, int, int | None], None]
"""Is told what is done, and how many frames of how many; None where the file does not say how many there are."""


def restore_film(
    source: str | Path,
    out: str | Path,
    model: Restorer,
    *,
    detector: Detector | None = None,
    scorers: Sequence[FaceScorer] = (),
    embedder: Embedder | None = None,
    report: Path | None = None,
    progress: Progress = lambda doing, done, total: None,
    **options: Any,
) -> PhotoReport:
    """Restores the faces of a film; sound, subtitles, times of the frames, turn and colours are kept.

    Each face is decided about once a shot, "match" included. Frames stream through, so that memory does not grow with
    the film, but for some hundred bytes a frame. A run that was killed goes on where it was when it is started again.

    Args:
        source: a film that FFmpeg reads.
        out: a new file, with a suffix of `WRITTEN`, or a folder for one of the source's name.
        report: write what was done here as JSON: the faces are those of the shots.
        model, detector, scorers, embedder, options: as for `restore_photos`.

    Raises:
        ImportError: without the extra `film`.
        ValueError: for options that only photos take, and for films and results of kinds that are not restored.
        OSError: where the result or the report would overwrite another file, where another run is at it, or a run with
            other options or weights has begun it; where files cannot be read or written.
    """
    source, out = Path(source), Path(out)
    pipeline = Pipeline(model, Options(**options), detector or CenterFace(), scorers, embedder)
    _refuse_options(pipeline.options)
    film, target = open_film(source), target_of(source, out)
    refuse_unfit(film, target)
    if report is not None:
        check_report(report)
    settings = Settings(pipeline, compare=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    with Leases(leases_of(target, True), settings.digest) as leases:
        if not leases.take_over(target.name):
            raise BlockingIOError(
                f"another run is at {target}; wait for its end, or, if its machine stopped, {LIFETIME:.0f} seconds"
            )
        remove_strays(target.parent)
        run = _Run(film, target, pipeline, settings, progress)
        if target.exists() and not run.is_joined():
            raise FileExistsError(f"{target} exists; name a new file")
        done = run.restore()
    if report is not None:
        write_report(report, [done], settings.described)
    return done


def target_of(source: Path, out: Path) -> Path:
    """The file of the result: the one that is named, or in the folder that is."""
    if out.suffix and not out.is_dir():
        return out
    return out / (source.name if source.suffix.lower() in WRITTEN else f"{source.stem}.mkv")


def _refuse_options(options: Options) -> None:
    if options.aligned:
        raise ValueError("aligned is for pictures of one face each; leave it out for a film")
    if options.min_identity is not None:
        raise ValueError(
            "min_identity would change a face from frame to frame; leave it out for a film, or lower scale"
        )


_TRACKS, _JOINED = "tracks.json", "joined.json"
"""What was decided about the faces, and the hash of the result, in the folder of what is done."""


class _Run:
    """Looks, decides, restores part by part, and joins; each of these is skipped where an earlier run has done it."""

    def __init__(self, film: Film, target: Path, pipeline: Pipeline, settings: Settings, progress: Progress) -> None:
        self.film = film
        self.target = target
        self.pipeline = pipeline
        self.settings = settings
        self.progress = progress
        self.colours = Colours(film)
        self.folder = target.with_name(ending(f".{target.name}", ".iqp-film"))

    @cached_property
    def source(self) -> str:
        """The hash of the film."""
        return sha256_of(self.film.path)

    def is_joined(self) -> bool:
        """Whether the result is that of an earlier run, which was killed before it had removed what it kept."""
        path = self.folder / _JOINED
        return path.exists() and self.target.exists() and json_file(path) == {"result": sha256_of(self.target)}

    def restore(self) -> PhotoReport:
        self._begin()
        report = replace(self._report(), status="complete") if self.is_joined() else self._restored_anew()
        unwanted = self.folder.with_name(temporary_name(self.folder.name))
        self.folder.rename(unwanted)  # which every run removes, if this one is killed now
        shutil.rmtree(unwanted)
        return report

    def _restored_anew(self) -> PhotoReport:
        looked = self._look()
        tracks = tracks_of(looked.looks, every(float(self.film.rate)), float(self.film.rate), len(looked.times))
        report = self._decide(tracks, looked)
        parts = self._parts(tracks, report.faces, looked)
        self._join(parts)
        return report

    def _begin(self) -> None:
        """Makes the folder of what is done, or goes on with that of an earlier run."""
        work = {"settings": self.settings.digest, "source": self.source}
        path = self.folder / "film.json"
        if self.folder.exists() and path.exists() and json.loads(path.read_text(encoding="utf-8")) != work:
            raise FileExistsError(
                f"{self.folder} holds a part of {self.target} that was made with other options, weights or another "
                f"source; repeat those, remove that folder, or choose another output"
            )
        self.folder.mkdir(exist_ok=True)
        remove_strays(self.folder)
        _write(path, work)

    def _look(self) -> Looked:
        looked = Looked(self.folder)
        start = looked.times[-1] if looked.times else None
        last = looked.looks[-1] if looked.looks else None
        looking = Looking(self.pipeline.detector, self.colours, every(float(self.film.rate)), last)
        with closing(frames(self.film, start)) as source:
            for done in looked.go_on(looking.over(source)):
                self.progress("looking for faces", done, self.film.frames)
        return looked

    def _decide(self, tracks: Sequence[Track], looked: Looked) -> PhotoReport:
        path = self.folder / _TRACKS
        if not path.exists():
            batch, film = self.pipeline.batch, self.film
            faces = decide(film, self.colours, tracks, looked.times, batch, partial(self.progress, "deciding"))
            height, width = (film.width, film.height) if film.turns % 2 else (film.height, film.width)
            status: Status = "restored" if any(face.outcome is Outcome.RESTORED for face in faces) else "unchanged"
            report = PhotoReport(str(film.path), str(self.target), status, "", width, height, faces)
            _write(path, asdict(report))
        return self._report()

    def _report(self) -> PhotoReport:
        return PhotoReport.from_dict(json.loads((self.folder / _TRACKS).read_text(encoding="utf-8")))

    def _parts(self, tracks: Sequence[Track], decided: Sequence[FaceReport], looked: Looked) -> list[Path]:
        """Restores and writes the parts that are missing."""
        size, total = max(1, round(PART_SECONDS * self.film.rate)), len(looked.times)
        parts = [self.folder / f"part-{number:05}.{PART}" for number in range(-(-total // size))]
        done = next((number for number, part in enumerate(parts) if not part.exists()), len(parts))
        if done == len(parts):
            return parts
        with closing(self._restored(done * size, tracks, decided, looked)) as coming:
            for number in range(done, len(parts)):
                own = self._told(islice(coming, size), number * size, total)
                with atomic_path(parts[number]) as partial:
                    write_part(partial, self.film, own)
                    self.settings.refuse_changes()
        return parts

    def _told(self, coming: Iterator[Any], first: int, total: int) -> Iterator[Any]:
        for number, each in enumerate(coming, first):
            yield each
            self.progress("restoring", number + 1, total)

    def _restored(
        self, first: int, tracks: Sequence[Track], decided: Sequence[FaceReport], looked: Looked
    ) -> Generator[tuple[int, VideoFrame], None, None]:
        """The frames from a number on."""
        options = replace(self.pipeline.options, faces="all", min_face=0, force=True, skip_if=None)
        batch = FaceBatch(self.pipeline.model, options)
        before = max(0, first - 2 * REACH)
        with closing(again(self.film, looked.times, before)) as source:
            cut = shown(source, before, self.colours, tracks, options, batch.resolution)
            for each in restored(_decided(cut, dict(zip(tracks, decided, strict=True))), batch):
                if each.number >= first:
                    yield each.frame.time, self._picture(each, options)

    def _picture(self, each: Shown, options: Options) -> VideoFrame:
        faces = list(each.faces.values())
        changed = [face.region for face in faces if face.restored is not None]
        if not changed and options.upscale == 1:
            return self.colours.planar(each.frame.picture)
        canvas = canvas_of(each.pixels, faces, options)
        if options.upscale > 1:
            return self.colours.frame(canvas)
        return self.colours.put(each.frame.picture, canvas, changed)

    def _join(self, parts: Sequence[Path]) -> None:
        with atomic_path(self.target, put_new) as partial:
            join(partial, self.film, parts)
            if sha256_of(self.film.path) != self.source:
                raise OSError(f"{self.film.path} changed while it was restored; start again with another output")
            _write(self.folder / _JOINED, {"result": sha256_of(partial)})


def _decided(cut: Iterable[Shown], decided: dict[Track, FaceReport]) -> Iterator[Shown]:
    """Has faces restored, or left alone, as was decided for their tracks."""
    for each in cut:
        for track, face in each.faces.items():
            report = decided[track]
            if report.outcome is Outcome.RESTORED:
                face.quality = report.quality
            else:
                face.leave(report.outcome, report.skipped)
        yield each


def _write(path: Path, content: Any) -> None:
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content), encoding="utf-8")
