"""The pipeline: photos stream through, their faces are restored in batches, a bounded number of photos is in memory."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..pictures import MAX_PIXELS, Photo, open_photo
from ..restorer import Restorer
from .attempts import reason
from .batch import FaceBatch
from .detect import Detector
from .faces import Face, faces_of
from .grain import missing_grain
from .options import Embedder, FaceScorer, Options
from .outcomes import FaceReport
from .paste import enlarge, paste, replace
from .result import Restored

logger = logging.getLogger(__name__)

HELD_MEGAPIXELS = 64
"""Photos that wait for a full batch are restored at once when they hold more than this."""


@dataclass(eq=False)
class _Job:
    photo: Photo
    faces: list[Face]
    seconds: float
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
    ) -> None:
        self.model = model
        self.options = options
        self.detector = detector
        self.scorers = scorers
        self.embedder = embedder
        self.batch = FaceBatch(model, options, scorers, embedder)

    def run(self, photos: Iterable[Any]) -> Iterator[Restored]:
        """Restores arrays, PIL images, paths or `Photo`s, in their order."""
        queue: deque[_Job] = deque()
        for source in photos:
            queue.append(self._find(source))
            yield from self._finished(queue)
            while self._is_full(queue):
                self.batch.restore(_waiting(queue)[: self.options.batch])
                yield from self._finished(queue)
        while queue:
            self.batch.restore(_waiting(queue)[: self.options.batch])
            yield from self._finished(queue)

    def _is_full(self, queue: deque[_Job]) -> bool:
        held = sum(job.photo.megapixels for job in queue)
        return max(len(queue), len(_waiting(queue))) >= self.options.batch or held > HELD_MEGAPIXELS

    def _finished(self, queue: deque[_Job]) -> Iterator[Restored]:
        while queue and not any(face.outcome is None for face in queue[0].faces):
            yield self._paste(queue.popleft())

    # -- before the model

    def _find(self, source: Any) -> _Job:
        started = time.perf_counter()
        photo = open_photo(source)
        check_size(photo, self.options.upscale)
        try:
            faces = faces_of(photo.pixels, self.options, self.detector, self.batch.resolution)
        except ImportError:  # no photo is to blame
            raise
        except Exception as error:
            logger.debug("failed: %s", photo.path, exc_info=True)
            failure = f"{photo.path or 'the photo'}: looking for faces failed: {reason(error)}"
            return _Job(photo, [], time.perf_counter() - started, failure)
        return _Job(photo, faces, time.perf_counter() - started)

    # -- after the model

    def _paste(self, job: _Job) -> Restored:
        started = time.perf_counter()
        photo, factor = job.photo, self.options.upscale
        done = [face for face in job.faces if face.restored is not None]
        batches = sum(face.seconds for face in job.faces)
        if job.failure or (not done and factor == 1):
            seconds = job.seconds + batches
            return Restored(photo, photo.pixels, photo.alpha, _reports(job), False, seconds, job.failure)
        canvas = enlarge(photo.pixels, factor)
        for face in done:
            self._put(canvas, face, job.faces)
        alpha = None if photo.alpha is None else enlarge(photo.alpha, factor)
        seconds = job.seconds + batches + time.perf_counter() - started
        return Restored(photo, canvas, alpha, _reports(job), True, seconds)

    def _put(self, canvas: np.ndarray, face: Face, faces: list[Face]) -> None:
        assert face.restored is not None and face.matrix is not None  # only restored faces come here
        started = time.perf_counter()
        if self.options.aligned:
            replace(canvas, face.restored)
        else:
            grain = missing_grain(face.photo, face.restored, face.matrix) if self.options.matches else None
            near = [other for other in faces if other is not face and face.meets(other)]
            paste(
                canvas,
                face.restored,
                face.matrix,
                factor=self.options.upscale,
                neighbours=[other.matrix for other in near if other.restored is not None and other.matrix is not None],
                spared=[np.array(other.box) for other in near if other.restored is None],
                grain=grain and grain.field,
            )
        face.seconds += time.perf_counter() - started


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


def _waiting(queue: Iterable[_Job]) -> list[Face]:
    return [face for job in queue for face in job.faces if face.outcome is None]


def _reports(job: _Job) -> list[FaceReport]:
    return [face.report() for face in job.faces]
