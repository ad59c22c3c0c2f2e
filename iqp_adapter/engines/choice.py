"""Which engine runs a restorer: the one that is asked for, or the fastest whose pictures were shown to be as good."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path

import torch

from ..restorer import Restorer
from ..store.reading import json_file
from .eager import Eager
from .engine import refuse_engine, refuse_precision
from .formats import FORMATS, NotHereError, format_of, is_installed
from .graph import NotExportableError
from .kept import kept_export

logger = logging.getLogger(__name__)

AUTO, TORCH = "auto", "torch"
ENGINES = (AUTO, TORCH, *FORMATS)
"""Names of the engines; "auto" is the fastest that passed."""

Way = tuple[str, str]
"""An engine and a precision."""


def run_by(
    restorer: Restorer,
    engine: str = AUTO,
    precision: str | None = None,
    compiled: bool = False,
    device: torch.device | None = None,
) -> Restorer:
    """The restorer, run by an engine.

    Args:
        engine: "torch", "openvino", "onnx", or "auto": the fastest that is installed and passed the comparison with
            exact torch, for restorers of this kind; torch at fp32 for a kind that was not compared, and on GPUs.
        precision: "fp32", "bf16", "fp16" or "int8"; without one the fastest that passed, else "fp32".
        compiled: by `torch.compile`, with the engine "torch".
        device: where an exported restorer is to run, the CPU by default; by the engine "torch" it runs where it is.

    Raises:
        ValueError: for an unknown engine or precision, and a restorer that the engine cannot run.
        ImportError: where the engine is not installed.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; use {', '.join(ENGINES)}")
    refuse_engine(restorer)
    if compiled and engine not in (AUTO, TORCH):
        raise ValueError(f"engine {engine} compiles nothing; leave compile out, or take the engine torch")
    if engine == AUTO:
        return _fastest(restorer, precision, compiled)
    chosen = precision or next((each for name, each in passed(restorer) if name == engine), "fp32")
    return _made(restorer, (engine, chosen), compiled, device)


def passed(restorer: Restorer) -> list[Way]:
    """The ways that were shown to be as good for restorers of this kind, the fastest first; on the CPU alone."""
    return list(_table().get(restorer.name, ())) if restorer.device.type == "cpu" else []


@lru_cache(maxsize=1)
def _table() -> dict[str, list[Way]]:
    """Written by `benchmarks.engines.make_table`."""
    data = json_file(Path(__file__).with_name("passed.json"))
    return {name: [(engine, precision) for engine, precision in ways] for name, ways in data.items()}


_PASSED_OVER = (NotExportableError, NotHereError, OSError, ImportError)
"""An instance unlike those that were compared, another processor, a full disk, a package that is half installed."""


def _fastest(restorer: Restorer, precision: str | None, compiled: bool) -> Restorer:
    for way in passed(restorer):
        engine, own = way
        if (compiled and engine != TORCH) or precision not in (None, own) or not _is_here(engine):
            continue
        try:
            return _made(restorer, way, compiled)
        except _PASSED_OVER as error:
            logger.warning("%s", error)
    if precision in (None, "fp32") and not compiled:
        return restorer
    return _made(restorer, (TORCH, precision or "fp32"), compiled)


def _is_here(engine: str) -> bool:
    return engine == TORCH or is_installed(engine)


def _made(restorer: Restorer, way: Way, compiled: bool, device: torch.device | None = None) -> Restorer:
    engine, precision = way
    if engine == TORCH:
        return Eager(restorer, precision, compiled)
    refuse_precision(engine, precision, format_of(engine).PRECISIONS)
    return kept_export(restorer, engine, precision, device)
