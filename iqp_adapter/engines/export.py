"""Exporting: a restorer becomes a folder with a program, its dial, and what a comparison with torch has shown."""

from __future__ import annotations

import gc
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from ..core.quality import BEST
from ..pictures import fit, read_tensor
from ..restorer import Restorer
from ..store.files import list_images, sha256_of
from ..store.folders import atomic_folder
from ..version import __version__
from .engine import refuse_engine, refuse_precision
from .exported import CONFIG, KIND, LAYOUT, Exported
from .facts import Facts
from .formats import Arrays, Format, format_of, version_of, writing_format_of
from .graph import Graph, NotExportableError, Program, inputs_for, trace
from .quantised import require
from .quiet import quiet
from .self_check import FAR, refuse_far, self_check

logger = logging.getLogger(__name__)

EXACT = "fp32"

_TURN = Lock()
"""Tracing changes torch for the whole process, so that one thread at a time exports."""


def export(
    restorer: Restorer,
    folder: str | Path,
    format: str = "openvino",
    precision: str = EXACT,
    *,
    calibrate: str | Path | None = None,
    size: int | None = None,
) -> dict[str, Any]:
    """Writes a restorer as a program for another engine, with quality, guidance and fidelity as inputs.

    Args:
        restorer: as `load` gives it; where a dial or an adapter acts, it is part of the program.
        folder: a new one; `load(folder)` runs it.
        format: "openvino" or "onnx".
        precision: "fp32" (exact), "bf16" or "fp16" (OpenVINO alone), "int8".
        calibrate: folder of some dozens of degraded faces, by which int8 finds its ranges.
        size: side of the pictures in pixels, of a restorer that takes any.

    Returns:
        The config that is written, with the self-check in it.

    Raises:
        NotExportableError: for a restorer of which an operator is missing in the format.
        ValueError: for a folder that has something in it, an unknown format or precision, and a program that answers
            otherwise than torch.
        ImportError: where the format's packages are missing.
    """
    kind, folder = writing_format_of(format), Path(folder)
    refuse_precision(format, precision, kind.PRECISIONS)
    refuse_engine(restorer)
    if restorer.device.type != "cpu":
        raise ValueError(
            f"{restorer.name} is on {restorer.device}; restorers are exported on the CPU: load(..., device='cpu')"
        )
    kind.check(precision, torch.device("cpu"))  # before minutes are spent: the self-check runs it there
    facts = Facts.of(restorer).of_side(size)
    examples = _examples(facts, calibrate) if precision == "int8" else []
    with _TURN, atomic_folder(folder) as partial, quiet():
        program = _written(Graph(restorer, facts).eval(), kind, partial, precision, examples)
        config = _config(program, format, precision, {name: sha256_of(partial / name) for name in kind.FILES})
        del program
        gc.collect()  # a traced program holds itself and copies of weights in cycles
        _write(partial, config)
        config["self_check"] = self_check(restorer, Exported(partial))
        refuse_far(facts.name, config["self_check"], FAR if precision == EXACT else math.inf)
        _write(partial, config)
    return config


def _written(graph: Graph, kind: Format, folder: Path, precision: str, examples: Sequence[Arrays]) -> Program:
    """The program that is written: for batches of any size, or where that cannot be, for single pictures."""
    try:
        program = trace(graph)
        kind.write(program, folder, precision, examples)
    except NotExportableError as error:
        logger.debug("not for any batch: %s", error)
        program = trace(graph, any_batch=False)
        kind.write(program, folder, precision, examples)
    return program


def _config(program: Program, format: str, precision: str, files: dict[str, str]) -> dict[str, Any]:
    kind = format_of(format)
    packages = ("torch", *kind.PACKAGES, *kind.WRITERS)
    return {
        "kind": KIND,
        "layout": LAYOUT,
        "version": __version__,
        "format": format,
        "precision": precision,
        "any_batch": program.any_batch,
        "inputs": list(program.graph.inputs),
        "outputs": list(program.outputs),
        "restorer": program.graph.facts.to_config(),
        "files": files,
        "made_with": {name: version_of(name) for name in packages},
    }


def _write(folder: Path, config: dict[str, Any]) -> None:
    (folder / CONFIG).write_text(json.dumps(config, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _examples(facts: Facts, folder: str | Path | None) -> list[Arrays]:
    """Inputs of single pictures, at the best quality."""
    if folder is None:
        raise ValueError("precision int8 needs pictures to find its ranges; give a folder of degraded faces: calibrate")
    require()
    return [_example(facts, path) for path in list_images([folder])]


def _example(facts: Facts, path: Path) -> Arrays:
    lq = fit(read_tensor(path)[None], facts.resolution, like=torch.zeros(()))  # (3, H, W) -> (1, 3, R, R)
    return {name: value.numpy() for name, value in inputs_for(facts, lq, torch.full((1, 1), BEST)).items()}
