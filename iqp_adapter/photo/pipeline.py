"""The pipeline: photos stream through, their faces are restored in batches, a bounded number of photos is in memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.colours import with_colours_of
from ..restorer import Restorer
from .detect import Detector
from .faces import Face, faces_of
from .io import MAX_PIXELS, Photo, open_photo
from .match import LEVELS, best_match
from .options import Embedder, FaceScorer, Options
from .outcomes import FaceReport, Outcome
from .paste import enlarge, paste, replace
from .result import Restored

HELD_MEGAPIXELS = 64
"""Photos that wait for a full batch are restored at once when they hold more than this."""


@dataclass(eq=False)
class _Job:
    photo: Photo
    faces: list[Face]
    seconds: float


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
        self.resolution = _resolution(model)
        self.scale: Any = model.score_scale
        self.restore_faces = _restoring(model, options.optimise)
        model.check({"fidelity": options.fidelity})
        if options.min_identity is not None and embedder is None:
            raise ValueError("min_identity needs embedder=..., such as photo.identity.DlibIdentity()")
        if options.skip_if is not None and not any(self._drives(scorer) for scorer in scorers):
            metric = "the metric it was trained with" if self.scale is None else self.scale.metric
            raise ValueError(f"skip_if needs the model's score scale and scorers=[Scorer(...)] of {metric}")

    def run(self, photos: Iterable[Any]) -> Iterator[Restored]:
        """Restores arrays, PIL images, paths or `Photo`s, in their order."""
        queue: deque[_Job] = deque()
        for source in photos:
            queue.append(self._find(source))
            yield from self._finished(queue)
            while self._is_full(queue):
                self._restore(_waiting(queue)[: self.options.batch])
                yield from self._finished(queue)
        while queue:
            self._restore(_waiting(queue)[: self.options.batch])
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
        faces = faces_of(photo.pixels, self.options, self.detector, self.resolution)
        return _Job(photo, faces, time.perf_counter() - started)

    # -- the model

    @torch.no_grad()
    def _restore(self, faces: list[Face]) -> None:
        if not faces:
            return
        started = time.perf_counter()
        lq = torch.stack([face.crop for face in faces if face.crop is not None])  # (B, 3, R, R)
        self._score(faces, lq, "before")
        good = [self._is_good(face) for face in faces]
        chosen = [face for face, fine in zip(faces, good, strict=True) if not fine]
        if chosen:
            lq = lq[torch.tensor([not fine for fine in good])]
            restored = self._ask(chosen, lq)
            self._identify(chosen, lq, restored)
            restored = self._recognisable(chosen, lq, restored)
            self._score(chosen, restored, "after")
            for face, picture in zip(chosen, restored, strict=True):
                face.finish(_array(picture))
        for face in faces:
            face.seconds = (time.perf_counter() - started) / len(faces)

    def _ask(self, faces: list[Face], lq: Tensor) -> Tensor:
        """(B, 3, R, R) restored, on the CPU."""
        if not self.options.matches:
            for face in faces:
                face.quality = self.options.quality
            return self._call(lq, self.options.quality, self.restore_faces, self.options.scale)
        rungs = [self._call(lq, level, self.restore_faces, self.options.scale) for level in LEVELS]
        ladder = torch.stack(rungs, 1)  # (B, levels, 3, R, R)
        picked = [self._match(face, candidates) for face, candidates in zip(faces, ladder, strict=True)]
        return torch.stack([candidates[index] for candidates, index in zip(ladder, picked, strict=True)])

    def _recognisable(self, faces: list[Face], lq: Tensor, restored: Tensor) -> Tensor:
        """Those that have lost their identity are restored again at half the scale, then without the prior."""
        restored = restored.clone()
        for share in (0.5, 0.0):
            unlike = [index for index, face in enumerate(faces) if self._is_unlike(face)]
            if not unlike:
                break
            scale, again = share * self.options.scale, [faces[index] for index in unlike]
            restored[unlike] = self._call(lq[unlike], self._qualities(again), self.model.restore, scale)
            for face in again:
                face.note = f"identity {face.identity:.2f} at a higher scale; restored at {scale:g}"
            self._identify(again, lq[unlike], restored[unlike])
        return restored

    def _is_unlike(self, face: Face) -> bool:
        least, alike = self.options.min_identity, face.identity
        return least is not None and alike is not None and alike < least

    def _qualities(self, faces: list[Face]) -> float | str | Tensor | None:
        if not self.options.matches:
            return self.options.quality
        return torch.tensor([face.quality for face in faces])

    def _match(self, face: Face, rungs: Tensor) -> int:
        assert face.matrix is not None  # faces without one are left alone
        index = best_match(face.photo, [_array(picture) for picture in rungs], face.matrix)
        face.quality = LEVELS[index]
        return index

    def _call(
        self, lq: Tensor, quality: float | str | Tensor | None, restore: Callable[..., Tensor], scale: float
    ) -> Tensor:
        device = self.model.device
        asked: dict[str, Any] = {"quality": quality, "scale": scale, "fidelity": self.options.fidelity}
        try:
            restored = restore(lq.to(device), **asked).float().cpu()
        except torch.OutOfMemoryError as error:
            raise ValueError(f"{device} has no memory for {len(lq)} faces at once; ask for a smaller batch") from error
        return with_colours_of(lq, restored).clamp(0, 1) if self.options.colour == "photo" else restored

    # -- what is said of a face

    def _drives(self, scorer: FaceScorer) -> bool:
        return self.scale is not None and scorer.metric == self.scale.metric

    def _score(self, faces: list[Face], pictures: Tensor, when: str) -> None:
        for scorer in self.scorers:
            scores = scorer(pictures).float().cpu()  # (B,)
            qualities = self.scale.quality(scores) if self._drives(scorer) else [None] * len(faces)
            for face, score, quality in zip(faces, scores, qualities, strict=True):
                entry = face.scores.setdefault(scorer.metric, {})
                entry[when] = float(score)
                if quality is not None:
                    entry[f"quality_{when}"] = float(quality)

    def _is_good(self, face: Face) -> bool:
        if self.options.skip_if is None:
            return False
        quality = face.scores[self.scale.metric]["quality_before"]
        if quality <= self.options.skip_if:
            return False
        face.leave(Outcome.GOOD, f"good already: quality {quality:.2f} is above skip_if {self.options.skip_if:g}")
        return True

    def _identify(self, faces: list[Face], lq: Tensor, restored: Tensor) -> None:
        if self.embedder is None:
            return
        alike = torch.cosine_similarity(self.embedder(lq), self.embedder(restored))
        for face, cosine in zip(faces, alike, strict=True):
            face.identity = float(cosine)

    # -- after the model

    def _paste(self, job: _Job) -> Restored:
        started = time.perf_counter()
        photo, factor = job.photo, self.options.upscale
        done = [face for face in job.faces if face.restored is not None]
        batches = sum(face.seconds for face in job.faces)
        if not done and factor == 1:
            return Restored(photo, photo.pixels, photo.alpha, _reports(job), False, job.seconds + batches)
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
            near = [other for other in faces if other is not face and face.meets(other)]
            paste(
                canvas,
                face.restored,
                face.matrix,
                factor=self.options.upscale,
                neighbours=[other.matrix for other in near if other.restored is not None and other.matrix is not None],
                spared=[np.array(other.box) for other in near if other.restored is None],
            )
        face.seconds += time.perf_counter() - started


def _resolution(model: Restorer) -> int:
    """Side of the faces that are cut out for a model, in pixels.

    Raises:
        TypeError: for what is no restorer.
        ValueError: for one that takes pictures of any size.
    """
    if not isinstance(model, Restorer):
        raise TypeError(
            f"a {type(model).__name__} is no Restorer; iqp_adapter.load makes one of a name, a file or a module, and a "
            f"class of your own inherits iqp_adapter.Restorer"
        )
    if model.resolution is None:
        raise ValueError(
            f"{model.name} does not say how large a face it restores, so none can be cut out of a photo; give it "
            f"aligned faces by model.restore(lq), or a host whose host file says its resolution"
        )
    return model.resolution


def _restoring(model: Restorer, optimise: int) -> Callable[..., Tensor]:
    """What restores a batch of faces: the model's `restore`, or its `optimise` with that many updates.

    Raises:
        ValueError: for a model that decides no codes.
    """
    if not optimise:
        return model.restore
    if not model.decides_codes:
        raise ValueError(f"{model.name} decides no codes, so that none can be optimised; leave optimise out")
    return partial(model.optimise, steps=optimise)


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


def _array(picture: Tensor) -> np.ndarray:
    """(3, R, R) -> (R, R, 3)"""
    return np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
