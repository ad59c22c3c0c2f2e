"""The ONNX format, which many runtimes read; here ONNX Runtime runs it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from .formats import Arrays, Session
from .graph import Program, refused_as
from .quantised import quantised

FILES = ("model.onnx",)
PRECISIONS = ("fp32", "int8")
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
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
        model = quantised(model, [dict(inputs) for inputs in calibration])
    onnx.save_model(model, folder / FILES[0])


def open(folder: Path, precision: str, device: torch.device) -> Session:
    import onnxruntime

    provider, here = PROVIDERS.get(device.type), onnxruntime.get_available_providers()
    if provider not in here:
        raise ValueError(
            f"this ONNX Runtime has no {device.type} ({', '.join(here)}); give device='cpu', or take torch"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(os.fspath(folder / FILES[0]), options, providers=[provider])
    except Exception as error:  # of a class that its binary part makes
        raise ValueError(
            f"ONNX Runtime {onnxruntime.__version__} cannot read {folder / FILES[0]} "
            f"({' '.join(str(error).split())[:200]}); export it again"
        ) from None

    def run(inputs: Arrays) -> list[np.ndarray]:
        return list(session.run(None, dict(inputs)))

    return run
