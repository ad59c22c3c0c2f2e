"""The pipeline: photos stream through, their faces are restored in batches, a bounded number of photos is in memory."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from ..pictures import MAX_PIXELS, Photo, eight_bit, open_photo
from ..restorer import Restorer
from .ahead import ahead
from .attempts import reason
from .background import Background
from .batch import FaceBatch
from .canvas import canvas_of
from .detect import Detector
from .faces import Face, faces_of
from .options import Embedder, FaceScorer, Options
from .outcomes import FaceReport
from .paste import enlarge
from .result import Restored

logger = logging.getLogger(__name__)

HELD_MEGAPIXELS = 64
"""Photos that wait for a full batch are restored at once when they hold more than this, and none is looked at ahead."""


@dataclass(eq=False)
class _Job:
    photo: Photo
    seconds: float
    seen: Any = None
    faces: list[Face] = field(default_factory=list)
    failure: str = ""


class Pipeline:
    """Detects, aligns, restores in batches and pastes; see `restore_photos`."""

    def __init__(
        self,
        model: Restorer,
        options: Options,
        detector: Detector,
        scorers: Sequence[FaceScorer] = (),
        embedder: Embedder | None = None,
        background: Background | None = None,
    ) -> None:
        self.model = model
        self.options = options
        self.detector = _fitting(detector, options)
        self.scorers = scorers
        self.embedder = embedder
        self.background = background
        self.batch = FaceBatch(model, options, scorers, embedder)

    def run(self, sources: Iterable[Any], opened: Callable[[Any], Any] = open_photo) -> Generator[Any, None, None]:
        """Restores sources, in their order.

        Of a list the next photos are looked at for faces while earlier ones are restored, by one more thread. An
        iterator, which may have to wait for its next photo, is asked for each in its turn.

        Args:
            opened: source -> photo; what it gives that is no photo is handed out as it is, when its turn comes.

        Yields:
            `Restored`.
        """
        queue: deque[_Job] = deque()
        with closing(self._seen(sources, opened, queue)) as coming:
            for job in coming:
                if not isinstance(job, _Job):
                    yield job
                    continue
                queue.append(self._cut(job))
                yield from self._finished(queue)
                while self._is_full(queue):
                    self.batch.restore(_waiting(queue)[: self.batch.size])
                    yield from self._finished(queue)
        while queue:
            self.batch.restore(_waiting(queue)[: self.batch.size])
            yield from self._finished(queue)

    def _is_full(self, queue: deque[_Job]) -> bool:
        return max(len(queue), len(_waiting(queue))) >= self.batch.size or _held(queue) > HELD_MEGAPIXELS

    def _finished(self, queue: deque[_Job]) -> Iterator[Restored]:
        while queue and not any(face.outcome is None for face in queue[0].faces):
            yield self._paste(queue.popleft())

    # -- before the model

    def _seen(
        self, sources: Iterable[Any], opened: Callable[[Any], Any], queue: Sequence[_Job]
    ) -> Generator[Any, None, None]:
        """Jobs whose photos the detector has seen, and whatever else the sources were opened as."""
        jobs = map(partial(self._open, opened), sources)
        if not isinstance(sources, Sequence) or len(sources) == 1:
            yield from map(self._see, jobs)
        else:
            yield from ahead(self._see, jobs, lambda given: self._has_room(given, queue))

    def _has_room(self, given: Sequence[Any], queue: Iterable[_Job]) -> bool:
        return len(given) <= self.batch.size and _held([*queue, *given]) <= HELD_MEGAPIXELS

    def _open(self, opened: Callable[[Any], Any], source: Any) -> Any:
        """A job, or what else a source was opened as: an error, too, since its turn has not come."""
        started = time.perf_counter()
        try:
            photo = opened(source)
            if not isinstance(photo, Photo):
                return photo
            check_size(photo, self.options.upscale)
        except Exception as error:
            return error
        return _Job(photo, time.perf_counter() - started)

    @torch.no_grad()
    def _see(self, job: Any) -> Any:
        """Adds what the detector sees in the photo."""
        if isinstance(job, Exception):
            raise job
        if isinstance(job, _Job) and not self.options.aligned:
            with self._looking(job):
                job.seen = self.detector(eight_bit(job.photo.pixels))
        return job

    def _cut(self, job: _Job) -> _Job:
        """Cuts out the faces that were seen."""
        if not job.failure:
            with self._looking(job):
                job.faces = faces_of(job.photo.pixels, self.options, job.seen, self.batch.resolution)
        return job

    @contextmanager
    def _looking(self, job: _Job) -> Iterator[None]:
        """Adds up the seconds; an error becomes the photo's failure."""
        started = time.perf_counter()
        try:
            yield
        except ImportError:  # no photo is to blame
            raise
        except Exception as error:
            logger.debug("failed: %s", job.photo.path, exc_info=True)
            job.failure = f"{job.photo.path or 'the photo'}: looking for faces failed: {reason(error)}"
        finally:
            job.seconds += time.perf_counter() - started

    # -- after the model

    def _paste(self, job: _Job) -> Restored:
        started = time.perf_counter()
        photo, factor = job.photo, self.options.upscale
        done = any(face.restored is not None for face in job.faces)
        batches = sum(face.seconds for face in job.faces)
        if job.failure or (not done and factor == 1 and self.background is None):
            seconds = job.seconds + batches
            return Restored(photo, photo.pixels, photo.alpha, _reports(job), False, seconds, job.failure)
        canvas = canvas_of(photo.pixels, job.faces, self.options, self.background or enlarge)
        alpha = None if photo.alpha is None else enlarge(photo.alpha, factor)
        seconds = job.seconds + batches + time.perf_counter() - started
        return Restored(photo, canvas, alpha, _reports(job), True, seconds)


def _fitting(detector: Detector, options: Options) -> Detector:
    """The detector, or what it offers where larger faces are wanted than by default.

    Where one face is asked for by its index, all count that the detector can see.
    """
    at_least = getattr(detector, "at_least", None)
    if at_least is None or options.min_face <= Options.min_face or options.faces not in ("all", "largest"):
        return detector
    fitting: Detector = at_least(options.min_face)
    return fitting


def check_size(photo: Photo, upscale: int) -> None:
    """Refuses a photo whose result would be larger than any photo may be.

    Raises:
        ValueError: says how many megapixels it would have.
    """
    megapixels = photo.megapixels * upscale**2
    if megapixels * 1e6 > MAX_PIXELS:
        raise ValueError(
            f"{photo.path or 'the photo'}: {megapixels:.0f} megapixels after upscale {upscale}, "
            f"at most {MAX_PIXELS // 10**6}; ask for a smaller upscale"
        )


def _held(jobs: Iterable[Any]) -> float:
    """Megapixels of the photos."""
    return sum(job.photo.megapixels for job in jobs if isinstance(job, _Job))


def _waiting(queue: Iterable[_Job]) -> list[Face]:
    return [face for job in queue for face in job.faces if face.outcome is None]


def _reports(job: _Job) -> list[FaceReport]:
    return [face.report() for face in job.faces]
