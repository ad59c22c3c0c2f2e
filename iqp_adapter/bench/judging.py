"""A protocol at work on files: what it said before is remembered, and where it can not be run it says why."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..degradations.rng import global_seed
from ..pictures import read_tensor
from ..provenance import environment
from ..version import __version__
from .cache import Cache, content_of, digest
from .protocols import Kind, Measure, Moments, Protocol, SetMeasure
from .protocols.frechet import frechet, moments
from .test_sets import Sample

logger = logging.getLogger(__name__)


class NotRunError(Exception):
    """A protocol can not be run here; the message says why."""


class Judge:
    """A protocol that is loaded when the first value is missing.

    Attributes:
        files: that it reads.
        key: hash of all that a value depends on besides the pictures.

    Args:
        given: files of the user's in the place of the published ones.

    Raises:
        NotRunError: where the protocol needs what is not there; so do `value` and `distance`.
    """

    def __init__(self, protocol: Protocol, device: torch.device, cache: Cache, given: Sequence[Path] = ()) -> None:
        self.protocol, self.device, self.cache, self.given = protocol, device, cache, given
        self._moments: dict[str, Moments] = {}
        try:
            self.files = protocol.files(given)
        except (OSError, ImportError) as error:
            raise NotRunError(_line(error)) from error
        packages = repr(sorted(environment(0)["packages"].items()))
        self.key = digest(protocol.id, __version__, packages, self.device.type, *map(content_of, self.files))

    @cached_property
    def measure(self) -> Any:
        """The loaded protocol; weights that the user gives and that do not fit are the user's error."""
        try:
            return self.protocol.load(self.device, self.files)
        except (OSError, ImportError, ValueError) as error:
            if self.given:
                raise
            raise NotRunError(_line(error)) from error

    def value(self, sample: Sample, output: Path) -> float | None:
        """The value of one output; None where there is none."""
        pair = _pair(self.protocol.kind, sample, output)
        if pair is None:
            return None
        value = self._remembered(digest(sample.name, content_of(*pair)), lambda: self._measured(sample.name, *pair))
        return None if math.isnan(value) else value

    def distance(self, outputs: Sequence[Path], originals: Sequence[Path]) -> float:
        """The value of all outputs together."""
        content = content_of(*outputs, *originals)
        return self._remembered(content, lambda: self._frechet(outputs, originals))

    def _remembered(self, content: str, compute: Callable[[], float]) -> float:
        known = self.cache.get(content, self.key)
        if known is None:
            known = compute()
            self.cache.put(content, self.key, known)
        return known

    @torch.no_grad()
    def _measured(self, name: str, output: Path, other: Path | None = None) -> float:
        picture = read_tensor(output)[None]
        reference = read_tensor(other)[None] if other else picture
        measure: Measure = self.measure  # loaded out here: what is wrong with weights is not wrong with the picture
        try:
            with _repeatable():
                return float(measure.values(picture, reference, [name])[0])
        except ValueError as error:
            logger.warning("no %s of %s: %s", self.protocol.id, output, error)
            return math.nan

    def _frechet(self, outputs: Sequence[Path], originals: Sequence[Path]) -> float:
        measure: SetMeasure = self.measure
        if measure.reference is None and not originals:
            raise NotRunError("needs originals, and not every test picture has one")
        try:
            reference = measure.reference or self._moments_of(originals)
            return frechet(*self._moments_of(outputs[: measure.first]), *reference)
        except ValueError as error:
            raise NotRunError(_line(error)) from error

    def _moments_of(self, files: Sequence[Path]) -> Moments:
        """Those of the originals are asked for by every candidate."""
        key = content_of(*files)
        if key not in self._moments:
            self._moments[key] = moments(torch.cat([self.measure.features(read_tensor(file)[None]) for file in files]))
        return self._moments[key]


def _pair(kind: Kind, sample: Sample, output: Path) -> tuple[Path, ...] | None:
    """The files that a value depends on; None where one is missing."""
    if kind == "no-reference":
        return (output,)
    other = sample.original if kind == "reference" else sample.input
    return None if other is None else (output, other)


@contextmanager
def _repeatable() -> Iterator[None]:
    """Metrics that draw patches draw the same ones every time, and leave the global generators as they were."""
    with global_seed(0), torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def _line(error: Exception) -> str:
    """An error in one line, without the name of this user's home."""
    return (" ".join(str(error).split()) or type(error).__name__).replace(str(Path.home()), "~")
