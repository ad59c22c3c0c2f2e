"""A protocol that judges files: known values are taken from the cache, and it says why where it cannot be run."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..pictures import read_tensor
from ..provenance import environment
from ..store.words import message_of
from ..version import __version__
from .cache import Cache, content_of, digest
from .measuring import NotRunError, not_run_on, values_of
from .protocols import Kind, Measure, Moments, Protocol, SetMeasure
from .protocols.base import kept
from .protocols.frechet import frechet, moments
from .test_sets import Sample

logger = logging.getLogger(__name__)


class _NotNowError(Exception):
    """A metric fails on a picture in a way that need not come again, such as for want of memory: it is not cached."""


class Judge:
    """A protocol that is loaded when the first value is missing.

    Attributes:
        files: that it reads.
        key: hash of all that a value depends on besides the pictures.

    Args:
        given: the user's own files instead of the published ones.

    Raises:
        NotRunError: where something that the protocol needs is missing; `value` and `distance` raise it too.
    """

    def __init__(self, protocol: Protocol, device: torch.device, cache: Cache, given: Sequence[Path] = ()) -> None:
        self.protocol, self.device, self.cache, self.given = protocol, device, cache, given
        self._moments: dict[str, Moments] = {}
        with not_run_on(OSError, ImportError):
            self.files = protocol.files(given)
        packages = repr(sorted(environment(0)["packages"].items()))
        self.key = digest(
            protocol.id, protocol.pinned, __version__, packages, self.device.type, *map(content_of, self.files)
        )

    @cached_property
    def measure(self) -> Any:
        """The loaded protocol; the user's own weights that do not fit are an error."""
        errors = () if self.given else (OSError, ImportError, ValueError)
        with not_run_on(*errors):
            return self.protocol.load(self.device, self.files)

    def value(self, sample: Sample, output: Path) -> float | None:
        """The value of one output; None where there is none."""
        pair = _pair(self.protocol.kind, sample, output)
        if pair is None:
            return None
        try:
            value = self._remembered(pair, lambda: self._measured(sample.name, *pair), sample.name)
        except _NotNowError as error:
            logger.warning("no %s of %s: %s", self.protocol.id, output, error)
            return None
        return None if math.isnan(value) else value

    def distance(self, outputs: Sequence[Path], originals: Sequence[Path]) -> float:
        """The value of all outputs together."""
        return self._remembered([*outputs, *originals], lambda: self._frechet(outputs, originals))

    def _remembered(self, files: Sequence[Path], compute: Callable[[], float], *names: str) -> float:
        """The value of some files, computed once for their content.

        Raises:
            OSError: where they change meanwhile.
        """
        content = content_of(*files)
        key = digest(*names, content) if names else content
        known = self.cache.get(key, self.key)
        if known is None:
            known = compute()
            if content_of(*files) != content:
                raise OSError(f"{files[0]} or what it is compared with has changed during the run; start it again")
            self.cache.put(key, self.key, known)
        return known

    def _measured(self, name: str, output: Path, other: Path | None = None) -> float:
        picture = read_tensor(output)[None]
        reference = read_tensor(other)[None] if other else picture
        measure: Measure = self.measure  # loaded out here: an error of the weights is no error of the picture
        try:
            return float(values_of(measure, picture, reference, [name])[0])
        except ValueError as error:
            logger.warning("no %s of %s: %s", self.protocol.id, output, error)
            return math.nan
        except (RuntimeError, AssertionError, IndexError, MemoryError) as error:
            raise _NotNowError(message_of(error)[:200]) from error

    def _frechet(self, outputs: Sequence[Path], originals: Sequence[Path]) -> float:
        measure: SetMeasure = self.measure
        if measure.reference is None and not originals:
            raise NotRunError("needs originals, and not every test picture has one")
        with not_run_on(ValueError):
            reference = measure.reference or self._moments_of(originals)
            return frechet(*self._moments_of(outputs[: measure.first]), *reference)

    def _moments_of(self, files: Sequence[Path]) -> Moments:
        """Kept, since every candidate needs those of the originals."""
        key = content_of(*files)
        if key not in self._moments:
            features = [kept(self.measure.features(read_tensor(file)[None])) for file in files]
            self._moments[key] = moments(torch.from_numpy(np.concatenate(features)))
        return self._moments[key]


def _pair(kind: Kind, sample: Sample, output: Path) -> tuple[Path, ...] | None:
    """The files that a value depends on; None where one is missing."""
    if kind == "no-reference":
        return (output,)
    other = sample.original if kind == "reference" else sample.input
    return None if other is None else (output, other)
