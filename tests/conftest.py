"""What tests share: the device, the faces that are not in the repository, tolerances, and no network."""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}


if "PYTEST_XDIST_WORKER" in os.environ:  # workers beside each other share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.fixture
def heard(request: pytest.FixtureRequest) -> Iterator[int]:
    """A signal that ends a process; under nohup the tests themselves would ignore one of them."""
    before = signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, before)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository; tests only read it."""
    return ROOT


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The accelerator of this machine, else the CPU."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def beside(name: str, what: str) -> Path:
    """A folder that is kept beside the repository; a test that needs it is skipped where it is not."""
    folder = ROOT.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"needs {what} in {folder}")
    return folder


@pytest.fixture(scope="session")
def faces() -> Path:
    """Folder of aligned faces with the parts train, dev and val, kept beside the repository and never in it."""
    return beside("faces", "the aligned faces")


@pytest.fixture(scope="session")
def cases() -> Path:
    """Folder of pictures rebuilt from users' reports, kept beside the repository; tests only read it."""
    return beside("cases", "the cases")


@pytest.fixture(scope="session")
def paper() -> Path:
    """Folder of facts about the authors' model: keys, scores, and what their classes answer."""
    return beside("paper", "the facts about the paper")


@pytest.fixture
def second_lite(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """iqp-lite has two versions, of the same weights, and the second is the newest."""
    from iqp_adapter.core import metrics
    from iqp_adapter.store import checkpoint, hub

    weights, shipped = tmp_path_factory.mktemp("weights"), hub.BUILTIN
    config, state = checkpoint.load(shipped / "iqp-lite-1")
    checkpoint.save(weights / "iqp-lite-2", state, config | {"version": 2})
    for folder in shipped.iterdir():
        if folder.name != "iqp-lite-2":
            (weights / folder.name).symlink_to(folder)
    monkeypatch.setattr(hub, "BUILTIN", weights)
    monkeypatch.setitem(metrics.NEWEST, "iqp-lite", 2)


@pytest.fixture
def topiq(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyiqa's topiq_nr-face-v1 and topiq_nr-face without their weights: the mean of the pixels is the score."""
    import pyiqa

    create = pyiqa.create_metric

    class Brightness(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((1, 2, 3))

    def made(name: str, **options: Any) -> Any:
        return SimpleNamespace(net=Brightness(), lower_better=False) if "topiq" in name else create(name, **options)

    monkeypatch.setattr(pyiqa, "create_metric", made)


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """`with full_disk(free)`: files cannot grow beyond so many bytes, which fails like a full disk."""

    @contextmanager
    def limited(free: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture(autouse=True)
def exact_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run exact torch unless a test asks for another engine, for which a model is exported first."""
    monkeypatch.setattr("iqp_adapter.engines.choice._table", dict)


@pytest.fixture(autouse=True)
def own_hashes(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Hashes of training pictures are kept apart from the user's."""
    monkeypatch.setattr("iqp_adapter.training.kept_hashes.cache", tmp_path_factory.getbasetemp)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test that reaches for another machine fails at once, with or without a network."""
    connect = socket.socket.connect

    def only_here(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not address[0].startswith(("127.", "::1", "localhost")):
            raise ConnectionError(f"tests use no network, but this one asked for {address[0]}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_here)
    yield
