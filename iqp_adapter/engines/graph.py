"""A restorer as a program of tensors alone, which other engines can run."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core.quality import BEST
from ..restorer import Restorer
from ..store.words import wants_memory
from .facts import Facts, rows_of

logger = logging.getLogger(__name__)

LQ, QUALITY, SCALE, FIDELITY = "lq", "quality", "scale", "fidelity"
"""Names of a program's inputs, in their order."""

MOST = 1024
"""Pictures in a batch, at most."""


class NotExportableError(ValueError):
    """A restorer that cannot be exported; says what is in the way."""


class Graph(nn.Module):
    """What a restorer does, as a function of tensors.

        lq (B, 3, R, R) ──┐
        quality (B, 1) ───┼── restorer ──► restored (B, 3, R, R), codes (B, L) of each codebook
        scale (B,) ───────┤
        fidelity (B,) ────┘

    All that people turn stays an input: the quality, NaN for "any", and the strength of its guidance, where the
    restorer takes them, and the fidelity, where it has one.

    Args:
        restorer: what becomes a program.
        facts: of the restorer.

    Attributes:
        inputs: names of what it takes, in their order.
    """

    restorer: Restorer

    def __init__(self, restorer: Restorer, facts: Facts):
        super().__init__()
        self.__dict__["restorer"] = restorer  # its modules are held below, once
        self.held = nn.ModuleList(restorer.parts(BEST if facts.takes_quality else None))
        self.facts, self.inputs = facts, inputs_of(facts)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        asked = dict(zip(self.inputs, tensors, strict=True))
        restored, codes = self.restorer.restore_with_codes(
            asked[LQ], quality=asked.get(QUALITY), scale=asked.get(SCALE), fidelity=asked.get(FIDELITY)
        )
        return restored, *codes

    def example(self, batch: int) -> tuple[Tensor, ...]:
        """Inputs as they may be: seeded noise, half the quality, everything else as usual."""
        side = self.facts.resolution or 0
        lq = torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0))
        values = inputs_for(self.facts, lq, torch.full((batch, 1), 0.5))
        return tuple(value.clone().to(self.restorer.device) for value in values.values())


def inputs_of(facts: Facts) -> tuple[str, ...]:
    """Names of what the program of a restorer takes."""
    has = {LQ: True, QUALITY: facts.takes_quality, SCALE: facts.guided, FIDELITY: facts.fidelity is not None}
    return tuple(name for name, there in has.items() if there)


def inputs_for(
    facts: Facts, lq: Tensor, quality: Tensor, scale: float | Tensor = 1.0, fidelity: float | Tensor | None = None
) -> dict[str, Tensor]:
    """What the program of a restorer takes, by its names in their order.

    Args:
        lq: pictures (B, 3, R, R) in [0, 1].
        quality: (B, 1), NaN for no preference.
        scale, fidelity: a number, or one for each picture (B,); by default the restorer's own fidelity.
    """
    weight = facts.fidelity or 0.0 if fidelity is None else fidelity
    batch = len(lq)
    values = {LQ: lq, QUALITY: quality, SCALE: rows_of(scale, batch), FIDELITY: rows_of(weight, batch)}
    return {name: values[name] for name in inputs_of(facts)}


@dataclass(frozen=True)
class Program:
    """A graph that was traced.

    Attributes:
        traced: as torch has it.
        example: inputs that it was traced with.
        any_batch: whether it takes batches of any size; of some hosts it takes single pictures alone.
    """

    traced: torch.export.ExportedProgram
    graph: Graph
    example: tuple[Tensor, ...]
    any_batch: bool

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what it gives: the picture, then the codes of each codebook."""
        count = len(self.traced.graph_signature.user_outputs)
        return "restored", *(f"codes_{place}" for place in range(count - 1))


@torch.no_grad()
def trace(graph: Graph, any_batch: bool = True) -> Program:
    """Follows a restorer's tensors once.

    Args:
        any_batch: for batches of any size, else for single pictures.

    Raises:
        NotExportableError: names what cannot be followed.
    """
    example = graph.example(2 if any_batch else 1)
    axes = {0: torch.export.Dim("batch", min=1, max=MOST)} if any_batch else {}
    with refused_as(graph.facts.name), graph.restorer.traceable():
        traced = torch.export.export(graph, example, dynamic_shapes=(tuple(axes for _ in graph.inputs),), strict=False)
    return Program(traced, graph, example, any_batch)


@contextmanager
def refused_as(name: str) -> Iterator[None]:
    """Turns whatever an exporter raises into one line, which names the operator where the error does.

    Raises:
        NotExportableError: in place of any error.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, ImportError) or wants_memory(error):  # no restorer is to blame
            raise
        logger.debug("cannot export %s", name, exc_info=True)
        raise NotExportableError(f"{name} cannot be exported: {_reason(error)}; run it by the engine torch") from error


_OPERATOR = re.compile(r"\b(?:aten|prims|torchvision|quantized)(?:::|\.)[a-z_]\w*")


def _reason(error: Exception) -> str:
    text = " ".join(str(each) for each in _chain(error))
    operators = dict.fromkeys(_OPERATOR.findall(text))
    if operators:
        return f"nothing there stands for the operator {', '.join(list(operators)[:3])}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
