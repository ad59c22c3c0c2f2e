"""A batch of faces: scored, restored, identified and scored again. A face that fails is left alone, with its reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.colours import with_colours_of
from ..restorer import Restorer
from .attempts import answers, reason
from .faces import Face
from .match import LEVELS, best_match
from .options import Embedder, FaceScorer, Options
from .outcomes import Outcome

BEYOND = 0.25
"""How far values may overshoot [0, 1], as sharp edges do; what goes further is on another scale."""

PIXELS = 8 * 256**2
"""Pixels that are restored at once by default: more need more memory, and save no time on a CPU."""

Restore = Callable[..., Tensor]


class FaceBatch:
    """Takes faces of any photos through scorers, model and embedder; see `restore_photos`.

    Attributes:
        resolution: side of a face, in pixels.
        size: faces that are restored at once.

    Raises:
        TypeError, ValueError: where model, options, scorers and embedder do not fit together.
    """

    def __init__(
        self, model: Restorer, options: Options, scorers: Sequence[FaceScorer] = (), embedder: Embedder | None = None
    ) -> None:
        self.model = model
        self.options = options
        self.scorers = scorers
        self.embedder = embedder
        self.resolution = _resolution(model)
        self.size = options.batch or max(1, PIXELS // self.resolution**2)
        self.scale: Any = model.score_scale
        self.restore_faces = _restoring(model, options.optimise)
        model.check({"fidelity": options.fidelity})
        if options.min_identity is not None and embedder is None:
            raise ValueError("min_identity needs embedder=..., such as photo.identity.DlibIdentity()")
        if options.skip_if is not None and not any(self._drives(scorer) for scorer in scorers):
            metric = "the metric it was trained with" if self.scale is None else self.scale.metric
            raise ValueError(
                f"skip_if needs the model's score scale and scorers=[Scorer.of(model.score_scale)], of {metric}"
            )

    @torch.no_grad()
    def restore(self, faces: Sequence[Face]) -> None:
        """Gives each face, which has a crop, its outcome; one that has a quality already is restored at that."""
        started = time.perf_counter()
        self._score(faces, "before")
        chosen = [face for face in faces if not self._is_good(face)]
        self._ask(chosen)
        self._identify(_left(chosen))
        self._restore_less(_left(chosen))
        self._score(_left(chosen), "after")
        for face in _left(chosen):
            face.finish()
        for face in faces:
            face.seconds = (time.perf_counter() - started) / len(faces)

    # -- the model

    def _ask(self, faces: Sequence[Face]) -> None:
        fixed = [face for face in faces if face.quality is not None or not self.options.matches]
        self._match([face for face in faces if face not in fixed])
        for face in fixed:
            face.quality = self.options.quality if face.quality is None else face.quality
        self._call(fixed, self.restore_faces, self.options.scale)

    def _match(self, faces: Sequence[Face]) -> None:
        """Gives each face the one of several qualities that fits the photo around it."""
        ladders: dict[Face, list[Tensor]] = {face: [] for face in faces}
        for level in LEVELS:
            for face in faces:
                face.quality = level
            self._call(faces, self.restore_faces, self.options.scale)
            faces = _left(faces)
            for face in faces:
                ladders[face].append(_picture(face))
        for face in faces:
            assert face.matrix is not None  # faces without one are left alone
            index = best_match(face.photo, [_array(picture) for picture in ladders[face]], face.matrix)
            face.quality, face.picture = LEVELS[index], ladders[face][index]

    def _restore_less(self, faces: Sequence[Face]) -> None:
        """Faces that have lost their identity are restored again at half the scale, then without the prior."""
        for share in (0.5, 0.0):
            again = [face for face in _left(faces) if self._is_unlike(face)]
            scale = share * self.options.scale
            for face in again:
                face.note = f"identity {face.identity:.2f} at a higher scale; restored at {scale:g}"
            self._call(again, self.model.restore, scale)
            self._identify(_left(again))

    def _is_unlike(self, face: Face) -> bool:
        least, alike = self.options.min_identity, face.identity
        return least is not None and alike is not None and alike < least

    def _call(self, faces: Sequence[Face], restore: Restore, scale: float) -> None:
        """Gives each face its picture, or leaves it as failed."""
        ask = partial(self._restored, restore, scale)
        for face, answer in zip(faces, answers(ask, faces), strict=True):
            if isinstance(answer, Exception):
                face.leave(Outcome.FAILED, f"the model failed: {reason(answer)}")
            elif fault := _fault(answer):
                face.leave(Outcome.FAILED, f"the model gave {fault}")
            else:
                face.picture = self._coloured(face, answer)

    def _restored(self, restore: Restore, scale: float, faces: Sequence[Face]) -> Tensor:
        """(B, 3, R, R) on the CPU."""
        lq = _crops(faces)
        asked: dict[str, Any] = {"quality": _quality(faces), "scale": scale, "fidelity": self.options.fidelity}
        restored = restore(lq.to(self.model.device), **asked)
        if not isinstance(restored, Tensor) or restored.shape != lq.shape:
            given = tuple(restored.shape) if isinstance(restored, Tensor) else type(restored).__name__
            raise TypeError(f"it gave {given}, expected a tensor {tuple(lq.shape)} like its input")
        return restored.float().cpu()

    def _coloured(self, face: Face, restored: Tensor) -> Tensor:
        if self.options.colour == "model":
            return restored.clamp(0, 1)
        lq = _crop(face)
        kept = with_colours_of(lq[None], restored[None])[0].clamp(0, 1)
        return kept if face.toning is None else face.toning.apply(lq, kept)

    # -- what is said of a face

    def _drives(self, scorer: FaceScorer) -> bool:
        """Whether the model's scale is of its scores: on the same scales of members, and at the same side."""
        if self.scale is None or scorer.metric != self.scale.metric:
            return False
        seen = getattr(scorer, "member_scales", ()), getattr(scorer, "side", None)
        return seen == (self.scale.members, self.scale.side)

    def _score(self, faces: Sequence[Face], when: str) -> None:
        pictures = _crops if when == "before" else _pictures
        for scorer in self.scorers:
            scores = answers(partial(_scores, scorer, pictures), faces)
            for face, score in zip(faces, scores, strict=True):
                if isinstance(score, Exception) or not score.isfinite():
                    why = reason(score) if isinstance(score, Exception) else f"it is {score:g}"
                    face.remark(f"no {scorer.metric} {when}: {why}")
                else:
                    self._enter(face, scorer, when, score)

    def _enter(self, face: Face, scorer: FaceScorer, when: str, score: Tensor) -> None:
        entry = face.scores.setdefault(scorer.metric, {})
        entry[when] = float(score)
        if self._drives(scorer):
            entry[f"quality_{when}"] = float(self.scale.quality(score[None])[0])

    def _is_good(self, face: Face) -> bool:
        if self.options.skip_if is None:
            return False
        quality = face.scores.get(self.scale.metric, {}).get("quality_before")
        if quality is None or quality <= self.options.skip_if:
            return False
        face.leave(Outcome.GOOD, f"good already: quality {quality:.2f} is above skip_if {self.options.skip_if:g}")
        return True

    def _identify(self, faces: Sequence[Face]) -> None:
        embedder = self.embedder
        if embedder is None:
            return
        alike = answers(lambda some: torch.cosine_similarity(embedder(_crops(some)), embedder(_pictures(some))), faces)
        for face, cosine in zip(faces, alike, strict=True):
            if isinstance(cosine, Exception) or not cosine.isfinite():
                face.identity = None
                face.remark(f"no identity: {reason(cosine) if isinstance(cosine, Exception) else f'it is {cosine:g}'}")
            else:
                face.identity = float(cosine)


def _scores(scorer: FaceScorer, pictures: Callable[[Sequence[Face]], Tensor], faces: Sequence[Face]) -> Tensor:
    """(B,)"""
    return scorer(pictures(faces)).float().cpu()


def _fault(answer: Tensor) -> str:
    """What a model's answer (3, R, R) holds in the place of a picture; empty for a picture."""
    if not answer.isfinite().all():
        return "no numbers (NaN or infinity)"
    low, high = (float(bound) for bound in answer.aminmax())
    if low < -BEYOND or high > 1 + BEYOND:
        return f"values from {low:.3g} to {high:.3g}, expected [0, 1]"
    return ""


def _quality(faces: Sequence[Face]) -> float | str | Tensor | None:
    """What is asked for these faces: one quality, or a number each (B,)."""
    wanted = {face.quality for face in faces}
    return wanted.pop() if len(wanted) == 1 else torch.tensor([face.quality for face in faces])


def _left(faces: Sequence[Face]) -> list[Face]:
    return [face for face in faces if face.outcome is None]


def _crop(face: Face) -> Tensor:
    assert face.crop is not None  # the faces of a batch have one until they are finished
    return face.crop


def _picture(face: Face) -> Tensor:
    assert face.picture is not None  # those that are left have been restored
    return face.picture


def _crops(faces: Sequence[Face]) -> Tensor:
    """(B, 3, R, R)"""
    return torch.stack([_crop(face) for face in faces])


def _pictures(faces: Sequence[Face]) -> Tensor:
    """(B, 3, R, R)"""
    return torch.stack([_picture(face) for face in faces])


def _array(picture: Tensor) -> np.ndarray:
    """(3, R, R) -> (R, R, 3)"""
    return np.ascontiguousarray(picture.permute(1, 2, 0).numpy())


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


def _restoring(model: Restorer, optimise: int) -> Restore:
    """What restores a batch of faces: the model's `restore`, or its `optimise` with that many updates.

    Raises:
        ValueError: for a model that decides no codes.
    """
    if not optimise:
        return model.restore
    if not model.decides_codes:
        raise ValueError(f"{model.name} decides no codes, so that none can be optimised; leave optimise out")
    return partial(model.optimise, steps=optimise)
