"""Builds the no-reference metrics of pyiqa by name, offline if possible, with errors that say what to do.

Source: calls pyiqa (https://github.com/chaofengc/IQA-PyTorch, PolyForm Noncommercial) and copies nothing of it.
"""

from __future__ import annotations

import contextlib
import logging
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor, nn

from ..compat import installed_file, make_importable
from ..core.metrics import NEWEST, versions
from ..store.files import sha256_of
from ..store.foreign import read_foreign, refuse_more_than_tensors
from ..store.printed import logged
from ..store.words import said_by
from .block_metrics import InTiles, TiledNiqe, TiledPiqe
from .metric import Metric
from .scales import published_of

NO_GRADIENT = {"piqe", "entropy", "nrqm", "pi", "ilniqe"}
NEEDS_FLOAT64 = {"niqe", "niqe_matlab", "ilniqe", "nrqm", "pi"}
SMALLEST = {"niqe": 96, "niqe_matlab": 96, "pi": 96, "liqe": 224, "liqe_mix": 224}
"""Side in pixels below which a metric fails."""

_IN_TILES: dict[str, type[InTiles]] = {"niqe": TiledNiqe, "niqe_matlab": TiledNiqe, "piqe": TiledPiqe}
_NOT_OF_ONE_IMAGE = {"fid", "sfid", "fid_dinov2", "inception_score", "clipscore"}  # pyiqa lists them as NR nevertheless
_FACE_CROPS = {name: {"align_crop_face": False} for name in ("topiq_nr-face", "topiq_nr-face-v1")}
_ALL_IN_ONE_FILE: dict[str, dict[str, Any]] = {"topiq": {"backbone_pretrain": False}, "musiq-ava": {"num_class": 10}}

_NIQE = "basicsr/metrics/niqe_pris_params.npz"

_log = logging.getLogger(__name__)


def names() -> list[str]:
    """Every metric of pyiqa's own that scores one image without a reference."""
    ours = {*NEWEST, *(version for name in NEWEST for version in versions(name))}  # in pyiqa as a plug-in
    pyiqa = _pyiqa()
    from pyiqa.default_model_configs import DEFAULT_CONFIGS  # other packages add theirs, and may have forgotten some

    modes = {name: entry.get("metric_mode") for name, entry in DEFAULT_CONFIGS.items() if isinstance(entry, dict)}
    order = pyiqa.list_models()
    left_out = _NOT_OF_ONE_IMAGE | ours
    return [name for name in order if modes.get(name) == "NR" and name not in left_out and name.isprintable()]


def build(name: str, weights: Path | None, options: dict[str, Any]) -> Metric:
    """One metric on the CPU; NIQE takes its parameters from the basicsr package if that is installed.

    Args:
        name: one of `names()`.
        weights: a local weight file, or None for the published one, which pyiqa fetches.
        options: arguments of pyiqa's network.

    Raises:
        ValueError: for an option or weights that the metric does not take.
        OSError: if a file cannot be fetched.
        ModuleNotFoundError: if a package is missing.
    """
    settings = _FACE_CROPS.get(name, {}) | options
    tags = [f"{key}={value}" for key, value in sorted(options.items())]
    with tempfile.TemporaryDirectory() as folder, _explained(name):
        if weights:
            settings = _local_file(name, weights, Path(folder)) | settings
            tags.insert(0, sha256_of(weights)[:8])
        elif name == "niqe" and (parameters := installed_file("basicsr", _NIQE)):
            settings["pretrained_model_path"] = _niqe_parameters(parameters, Path(folder))
            tags.insert(0, "basicsr-params")
        pyiqa = _pyiqa()
        model = pyiqa.create_metric(name, device="cpu", **settings)
    if weights and weights.suffix != ".mat":
        _refuse_unread(name, model.net, read_foreign(weights))
    protocol = "@".join([f"pyiqa-{pyiqa.__version__}/{name}", *tags])
    network = _IN_TILES[name](model.net) if name in _IN_TILES else model.net
    return Metric(
        name,
        network,
        model.lower_better,
        protocol,
        tiled=name in _IN_TILES,
        differentiable=name not in NO_GRADIENT,
        smallest=SMALLEST.get(name, 32),
        float64=name in NEEDS_FLOAT64,
        scales=published_of(name),
    )


def _pyiqa() -> Any:
    make_importable()
    import pyiqa

    return pyiqa


def _niqe_parameters(source: Path, folder: Path) -> str:
    """A file for pyiqa with basicsr's copy of the official parameters; does not import basicsr."""
    import numpy as np
    from scipy.io import savemat

    parameters = np.load(source)
    file = folder / "niqe.mat"
    savemat(file, {"mu_prisparam": parameters["mu_pris_param"], "cov_prisparam": parameters["cov_pris_param"]})
    return str(file)


def _local_file(name: str, weights: Path, folder: Path) -> dict[str, Any]:
    """Settings that make a metric read only this file; we read it first, since pyiqa would run code in it."""
    state = {} if weights.suffix == ".mat" else read_foreign(weights)
    if weights.suffix not in (".mat", ".safetensors"):
        refuse_more_than_tensors(weights)
    if weights.suffix == ".safetensors":
        weights = folder / "weights.pth"
        torch.save({"params": state}, weights)
    settings = {"pretrained_model_path": str(weights)}
    return next((settings | more for prefix, more in _ALL_IN_ONE_FILE.items() if name.startswith(prefix)), settings)


def _refuse_unread(name: str, network: nn.Module, state: dict[str, Tensor]) -> None:
    """Refuses a file that fits badly: pyiqa loads some networks not strictly, and missing weights would stay random."""

    def marks(values: Iterable[Tensor]) -> list[tuple[torch.Size, float]]:
        return [(value.shape, float(value.double().sum())) for value in values]

    held = set(marks(network.state_dict().values()))
    read = sum(mark in held for mark in marks(state.values()))
    if 2 * read < len(state):
        raise ValueError(f"{name} does not take these weights: it knows {read} of their {len(state)} tensors")


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turns errors of pyiqa and its helpers into one line that says what to do, and logs their output."""
    with logged(_log) as output, _captured("huggingface_hub", output):
        try:
            yield
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{name} needs the package {error.name}; try pip install {error.name}") from error
        except (TypeError, KeyError, RuntimeError) as error:
            raise ValueError(f"{name} does not take these weights or options: {first_line(error)}") from error
        except OSError as error:
            raise OSError(_not_fetched(name, output.getvalue(), error)) from error
        except Exception as error:  # whatever a metric of another package does
            raise ValueError(f"{name} cannot be made: {said_by(error)}") from error


@contextlib.contextmanager
def _captured(logger_name: str, stream: TextIO) -> Iterator[None]:
    """Sends the messages of a logger to a stream instead of the terminal."""
    logger, handler = logging.getLogger(logger_name), logging.StreamHandler(stream)
    handlers, propagate = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate


def _not_fetched(name: str, output: str, error: OSError) -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    download = re.search(r'Downloading: "(?P<url>\S+)" to (?P<file>\S+)', output)
    request = re.search(r"requesting \w+ (?P<url>\S+)", output)
    if download:
        wanted = f"{download['url']} as {download['file']}"
    else:
        wanted = f"{request['url'] if request else 'a weight file'} in {HF_HUB_CACHE} or {torch.hub.get_dir()}"
    return (
        f"{name} needs {wanted} and cannot fetch it ({first_line(error)}); put it there by hand, "
        "set HF_ENDPOINT to a mirror or TORCH_HOME and HF_HOME to filled caches, or pass weights="
    )


def first_line(error: Exception) -> str:
    """What an error says, without the rest of a long message."""
    return str(error).strip().split("\n")[0]
