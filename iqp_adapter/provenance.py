"""What a result depends on besides the code: versions, machine, seed, data by hash, and the command."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from .store.files import list_images, sha256_of

_PACKAGES = (
    "torch", "torchvision", "numpy", "opencv-python", "pillow", "pyiqa", "basicsr", "timm", "accelerate", "openvino",
    "onnxruntime", "onnx", "onnxscript", "nncf",
)  # fmt: skip


def dataset_hash(root: str | Path) -> str:
    """The identity of a data set: sha256 over the sorted sha256s of its pictures; names and order do not count."""
    return hash_of_all(map(sha256_of, list_images([Path(root)])))


def hash_of_all(hashes: Iterable[str]) -> str:
    """One sha256 of those of several files, in hex."""
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()


def environment(seed: int) -> dict[str, Any]:
    """What a number depends on besides the code: versions, machine, seed; ready for JSON."""
    return {
        "seed": seed,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": dict(_versions()),
    }


def command(program: str, options: Sequence[str]) -> str:
    """A command with its options as it is typed, without the places of this machine."""
    return shlex.join([*program.split(), *map(placeless, options)])


def placeless(text: str) -> str:
    """Words in which absolute paths have kept their last two names, so that no report tells where it was made."""
    path = r"(?<![\w./}])(?<!\b\w:)(?:/[^\s/='\"]+){2,}"  # neither in a URL nor after the letter of a drive
    return re.sub(path, lambda found: "/".join(found[0].split("/")[-2:]), text)


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
