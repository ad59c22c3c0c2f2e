"""The ONNX format, which many runtimes read; here ONNX Runtime runs it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from .formats import Arrays, NotHereError, Session, Shape, unreadable
from .graph import Program, refused_as
from .quantised import quantised

FILES = ("model.onnx",)
PRECISIONS = ("fp32", "int8")
PACKAGES = ("onnxruntime",)
WRITERS = ("onnx", "onnxscript")
EXTRA = "onnx"

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def write(program: Program, folder: Path, precision: str, calibration: Iterable[Arrays]) -> None:
    import onnx

    with refused_as(program.graph.facts.name):
        written = torch.onnx.export(
            program.traced,
            program.example,
            dynamo=True,
            input_names=list(program.graph.inputs),
            output_names=list(program.outputs),
            verbose=False,
        )
        assert written is not None  # a program gives one
        model = written.model_proto
    if precision == "int8":
        model = quantised(program.graph.facts.name, model, [dict(inputs) for inputs in calibration])
    onnx.save_model(model, folder / FILES[0])


def check(precision: str, device: torch.device) -> None:
    import onnxruntime

    here = onnxruntime.get_available_providers()
    if PROVIDERS.get(device.type) not in here:
        raise NotHereError(
            f"this ONNX Runtime has no {device.type} ({', '.join(here)}); give device='cpu', or take torch"
        )


def open(folder: Path, precision: str, device: torch.device) -> Session:
    import onnxruntime

    path, name = folder / FILES[0], f"ONNX Runtime {onnxruntime.__version__}"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what fails is raised, too
    with unreadable(f"{name} cannot read {path}"):
        session = onnxruntime.InferenceSession(
            os.fspath(path),
            options,
            providers=[PROVIDERS[device.type]],
            enable_fallback=False,  # which would print, and run elsewhere than asked for
        )

    def run(inputs: Arrays) -> list[np.ndarray]:
        with unreadable(f"{name} cannot run {path}"):
            return list(session.run(None, dict(inputs)))

    return Session({each.name: _shape(each.shape) for each in session.get_inputs()}, run)


def _shape(sizes: Iterable[int | str | None]) -> Shape:
    return tuple(size if isinstance(size, int) else None for size in sizes)
