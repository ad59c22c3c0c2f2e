"""Builds the no-reference metrics of pyiqa: by name, offline where that is possible, with errors that say what to do.

Source: pyiqa (https://github.com/chaofengc/IQA-PyTorch, PolyForm Noncommercial) is called; nothing of it is copied.
"""

from __future__ import annotations

import contextlib
import io
import logging
import pickle
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from iqp_adapter.compat import make_importable
from iqp_adapter.files import sha256_of

NO_GRADIENT = {"piqe", "entropy", "nrqm", "pi", "ilniqe"}
NEEDS_FLOAT64 = {"niqe", "niqe_matlab", "ilniqe", "nrqm", "pi"}
SMALLEST = {"niqe": 96, "niqe_matlab": 96, "pi": 96, "liqe": 224, "liqe_mix": 224}
"""Side in pixels below which a metric fails."""

_NOT_OF_ONE_IMAGE = {"fid", "sfid", "fid_dinov2", "inception_score", "clipscore"}  # listed as NR all the same
_FACE_CROPS = {name: {"align_crop_face": False} for name in ("topiq_nr-face", "topiq_nr-face-v1")}
_WHOLE_IN_ONE_FILE = {"topiq": {"backbone_pretrain": False}, "musiq-ava": {"num_class": 10}}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metric:
    """What a scorer needs of a metric: its network, its direction, and the protocol that names its numbers."""

    network: nn.Module
    lower_better: bool
    protocol: str


def names() -> list[str]:
    """Every metric of pyiqa that scores one image without a reference."""
    return [name for name in _pyiqa().list_models("NR") if name not in _NOT_OF_ONE_IMAGE]


def build(name: str, weights: Path | None, options: dict[str, Any]) -> Metric:
    """One metric on the CPU; NIQE takes its parameters from the basicsr package where that is installed.

    Args:
        name: one of `names()`.
        weights: a local weight file, or None for the published one, which pyiqa fetches.
        options: arguments of pyiqa's network.

    Raises:
        ValueError: for an option or weights that the metric does not take.
        OSError: where a file can not be fetched.
        ModuleNotFoundError: where a package is missing.
    """
    settings = _FACE_CROPS.get(name, {}) | options
    tags = [f"{key}={value}" for key, value in sorted(options.items())]
    with tempfile.TemporaryDirectory() as folder, _explained(name):
        if weights:
            settings = _local_file(name, weights, Path(folder)) | settings
            tags.insert(0, sha256_of(weights)[:8])
        elif name == "niqe" and find_spec("basicsr"):
            settings["pretrained_model_path"] = _niqe_parameters(Path(folder))
            tags.insert(0, "basicsr-params")
        pyiqa = _pyiqa()
        model = pyiqa.create_metric(name, device="cpu", **settings)
    return Metric(model.net, model.lower_better, "@".join([f"pyiqa-{pyiqa.__version__}/{name}", *tags]))


def _pyiqa() -> Any:
    make_importable()
    import pyiqa

    return pyiqa


def _niqe_parameters(folder: Path) -> str:
    """basicsr's copy of the official parameters, in the form that pyiqa reads; basicsr itself is not imported."""
    import numpy as np
    from scipy.io import savemat

    spec = find_spec("basicsr")
    assert spec and spec.submodule_search_locations
    parameters = np.load(Path(spec.submodule_search_locations[0]) / "metrics" / "niqe_pris_params.npz")
    file = folder / "niqe.mat"
    savemat(file, {"mu_prisparam": parameters["mu_pris_param"], "cov_prisparam": parameters["cov_pris_param"]})
    return str(file)


def _local_file(name: str, weights: Path, folder: Path) -> dict[str, Any]:
    """Settings that make a metric read this file alone. pyiqa unpickles whatever it is given, so it is read here first."""
    if weights.suffix == ".safetensors":
        from safetensors.torch import load_file

        torch.save({"params": load_file(weights)}, folder / "weights.pth")
        weights = folder / "weights.pth"
    elif weights.suffix != ".mat":
        try:
            torch.load(weights, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(f"{weights} holds more than tensors and is not opened; convert it to safetensors") from error
    extra = [settings for prefix, settings in _WHOLE_IN_ONE_FILE.items() if name.startswith(prefix)]
    return {"pretrained_model_path": str(weights)} | (extra[0] if extra else {})


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Keeps pyiqa's prints for the log, and turns its traces into one line that says what to do."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{name} needs the package {error.name}; try pip install {error.name}") from error
    except (TypeError, KeyError, RuntimeError) as error:
        raise ValueError(f"{name} does not take these weights or options: {_one_line(error)}") from error
    except OSError as error:
        raise OSError(_not_fetched(name, said.getvalue(), error)) from error
    finally:
        _log.debug("%s", said.getvalue().strip())


def _not_fetched(name: str, said: str, error: OSError) -> str:
    download = re.search(r'Downloading: "(?P<url>\S+)" to (?P<file>\S+)', said)
    wanted = f"{download['url']}, to be kept as {download['file']}" if download else "a file of the Hugging Face cache"
    return (
        f"{name} needs {wanted}, which can not be had: {_one_line(error)}; "
        "copy it there by hand, set HF_ENDPOINT to a mirror or TORCH_HOME to a filled cache, or pass weights="
    )


def _one_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
