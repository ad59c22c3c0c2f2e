"""OpenVINO's format: Intel's runtime, which runs on the CPUs of others, too."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch

from .formats import Arrays, NotHereError, Session, Shape, reason, unreadable
from .graph import Program, refused_as
from .quantised import quantised

FILES = ("model.xml", "model.bin")
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
PACKAGES = ("openvino",)
WRITERS: tuple[str, ...] = ()
EXTRA = "openvino"

HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
"""In what OpenVINO computes; without a hint it takes what is fastest on the machine. Int8 is in the file itself."""

CAPABILITIES = {"bf16": "BF16", "fp16": "FP16"}
"""What a device must be able to do."""


def write(program: Program, folder: Path, precision: str, calibration: Iterable[Arrays]) -> None:
    """Precisions of 16 bits keep weights of 16 bits."""
    import openvino

    with refused_as(program.graph.facts.name):
        model = openvino.convert_model(program.traced)
    _name(model, program)
    if precision == "int8":
        model = quantised(program.graph.facts.name, model, [list(inputs.values()) for inputs in calibration])
    try:
        openvino.save_model(model, folder / FILES[0], compress_to_fp16=precision in CAPABILITIES)
    except RuntimeError as error:
        raise OSError(f"cannot write {folder / FILES[0]} ({reason(error)}); is the disk full?") from None


def _name(model: Any, program: Program) -> None:
    """Gives inputs and outputs their names and the sizes that are known; their number is dynamic, or 1."""
    from openvino import PartialShape

    batch = -1 if program.any_batch else 1
    for port, name, example in zip(model.inputs, program.graph.inputs, program.example, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_partial_shape(PartialShape([batch, *example.shape[1:]]))
    for port, name in zip(model.outputs, program.outputs, strict=True):
        port.get_tensor().set_names({name})
    model.validate_nodes_and_infer_types()


def check(precision: str, device: torch.device) -> None:
    if device.type != "cpu":
        raise NotHereError(f"engine openvino runs on the CPU here, not on {device}; give device='cpu', or take torch")
    able = capabilities()
    if CAPABILITIES.get(precision, "FP32") not in able:
        raise NotHereError(f"this machine's CPU has no {precision} ({', '.join(able)}); export with precision fp32")


def capabilities() -> list[str]:
    """What this machine's CPU can do."""
    return list(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


_TURN = Lock()
"""Two threads that want the first core at once would make two."""


def _core() -> Any:
    """One for the process, never freed.

    A core gives its thread a stack for signal handlers, and unmaps it at its end. Where that comes in another thread,
    or before the end of an earlier core, the thread keeps the address, and the next signal ends the process.
    """
    with _TURN:
        return _made_core()


@cache
def _made_core() -> Any:
    import openvino

    return openvino.Core()


def open(folder: Path, precision: str, device: torch.device) -> Session:
    import openvino

    path, name = folder / FILES[0], f"OpenVINO {openvino.__version__.split('-')[0]}"
    settings = {"INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    with unreadable(f"{name} cannot read {path}"):
        model = _core().compile_model(_read(path), "CPU", settings)

    def run(inputs: Arrays) -> list[np.ndarray]:
        with unreadable(f"{name} cannot run {path}"):
            return list(model(dict(inputs)).values())

    return Session({min(each.names, default=""): _shape(each.partial_shape) for each in model.inputs}, run)


def _read(path: Path) -> Any:
    """By the reader of OpenVINO's own format alone; others would try a damaged file as well, and print complaints."""
    from openvino.frontend import FrontEndManager

    reader = FrontEndManager().load_by_framework("ir")
    return reader.convert(reader.load(path))


def _shape(shape: Any) -> Shape:
    return tuple(size.get_length() if size.is_static else None for size in shape) if shape.rank.is_static else ()
