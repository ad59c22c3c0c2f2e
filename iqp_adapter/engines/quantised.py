"""Weights and activations of 8 bits, whose ranges are those of example pictures."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from .graph import refused_as


def quantised(name: str, model: Any, examples: Sequence[Any]) -> Any:
    """A model of OpenVINO or ONNX with its convolutions and matrix products in 8 bits.

    Args:
        name: of the restorer.
        examples: inputs, as the model takes them; some dozens of faces such as will be restored.

    Raises:
        NotExportableError: for a model that NNCF cannot bring to 8 bits.
    """
    import nncf

    with refused_as(f"{name} in 8 bits"):
        dataset = nncf.Dataset(examples)
        return nncf.quantize(model, dataset, preset=nncf.QuantizationPreset.MIXED, subset_size=len(examples))


def require() -> None:
    """Raises ImportError without NNCF; asked before minutes are spent."""
    if find_spec("nncf") is None:
        raise ImportError("precision int8 needs the package nncf; pip install iqp_adapter[int8]")
