"""What the results of a run depend on beside their sources, and whether that is still so."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from ..version import __version__
from .pipeline import Pipeline


class Settings:
    """Model, options, and all else that a result and its report depend on.

    Attributes:
        described: for the report.
        digest: tells settings apart. The size of the batch does not count: it may change the last bits of a result
            (see the journal), not what was asked for.
    """

    def __init__(self, pipeline: Pipeline, compare: bool) -> None:
        self._model, self._quality = pipeline.model, pipeline.options.quality
        self._stamp = self._stamped()
        asked = asdict(pipeline.options)
        del asked["batch"]
        counting = {
            **asked,
            "model": pipeline.model.name,
            "weights": self._fingerprint(),
            "engine": f"{pipeline.model.engine} {pipeline.model.precision}",
            "detector": type(pipeline.detector).__name__,
            "metrics": [scorer.metric for scorer in pipeline.scorers],
            "identity": pipeline.embedder is not None,
            "compare": compare,
            "background": pipeline.background and pipeline.background.name,
            "version": __version__,
        }
        self.described: dict[str, Any] = {**counting, "batch": pipeline.batch.size}
        made_with = [_made_with(part) for part in (pipeline.detector, pipeline.embedder) if part is not None]
        self.digest = hashlib.sha256(json.dumps([counting, made_with], sort_keys=True).encode()).hexdigest()[:16]

    def refuse_changes(self) -> None:
        """Raises ValueError where the model has been changed since: its results would be recorded as another's."""
        stamp = self._stamped()
        if stamp == self._stamp:
            return
        if self._fingerprint() != self.described["weights"]:
            raise ValueError(
                f"{self._model.name} was changed while its results were written; start the run again, the photos that "
                f"were restored before will be done again"
            )
        self._stamp = stamp

    def _fingerprint(self) -> str:
        return self._model.fingerprint(self._quality)

    def _stamped(self) -> tuple[str, list[tuple[int, int]]]:
        """Differs after every change of weights or settings; reads no weight, so that it costs nothing."""
        parts = self._model.parts(self._quality)
        tensors = [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]
        return repr(sorted(self._model.settings.items())), [(tensor.data_ptr(), _version(tensor)) for tensor in tensors]


def _made_with(part: Any) -> str:
    """The kind of a detector or embedder, and the numbers, texts and arrays that it was made with."""
    kept = {
        name: value
        for name, value in getattr(part, "__dict__", {}).items()
        if isinstance(value, (int, float, str, tuple))
    }
    return f"{type(part).__name__} {json.dumps(kept, sort_keys=True, default=_as_lists)}"


def _as_lists(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else type(value).__name__


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version
