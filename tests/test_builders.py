"""This library's classes of hosts answer as the official ones do, with weights that are made from the keys' names.

golden/hosts.npz holds the keys and shapes of small instances of the official classes, and what they answered.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import iqp_adapter as iqp
from iqp_adapter.compat import make_importable
from iqp_adapter.hosts.loading import load_host

GOLDEN = Path(__file__).parent / "golden" / "hosts.npz"
NEEDS = {"restoreformer++": "gfpgan"}


def by_name(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Weights that are made from their names alone, so that no file of them is needed."""
    return {key: filled(key, shape) for key, shape in shapes.items()}


def filled(key: str, shape: Sequence[int]) -> Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if key.endswith(".weight") and drawn.ndim == 1:
        return 1 + 0.1 * drawn
    if key.endswith(".bias"):
        return 0.02 * drawn
    return 0.5 * drawn if "embedding" in key else drawn / math.sqrt(drawn[0].numel())


def picture(side: int) -> Tensor:
    """In [-1, 1]."""
    return 2 * torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(7)) - 1


def sample(x: Tensor, count: int = 512) -> np.ndarray[Any, Any]:
    return x.flatten()[:: x.numel() // count][:count].numpy()


@pytest.fixture(scope="module")
def golden() -> Mapping[str, Any]:
    return dict(np.load(GOLDEN))


@pytest.fixture(params=["vqfr", "vqfr nearest", "vqfr_v1", "restoreformer++"])
def name(request: pytest.FixtureRequest) -> str:
    make_importable()
    if request.param in NEEDS:
        pytest.importorskip(NEEDS[request.param])
    return request.param


@pytest.fixture
def shapes(name: str, golden: Mapping[str, Any]) -> dict[str, list[int]]:
    words = (line.split() for line in golden[f"{name}/keys"])
    return {key: list(map(int, sides)) for key, *sides in words}


def called(host: Any, x: Tensor) -> Any:
    fidelity = {} if not hasattr(host, "main_branch") else {"fidelity_ratio": 0.3}
    return host(x, **fidelity)


def image_of(answer: Any) -> Tensor:
    return answer["main_dec"] if isinstance(answer, dict) else answer[0]


@torch.no_grad()
def test_a_file_of_the_official_class_answers_as_it_does(name, shapes, golden, tmp_path):
    torch.save({"params_ema": by_name(shapes)}, tmp_path / "net.pth")
    host = load_host(tmp_path / "net.pth")
    assert {key: list(value.shape) for key, value in host.state_dict().items()} == shapes
    assert list(host.state_dict()) == list(shapes)
    answer = called(host, picture(64))
    np.testing.assert_allclose(sample(image_of(answer)), golden[f"{name}/image"], atol=1e-4, rtol=0)
    if f"{name}/codes" in golden:
        assert np.array_equal(answer["quant_logit"].argmax(-1).numpy(), golden[f"{name}/codes"])


def test_the_built_host_is_wrapped_and_learns(name, shapes, tmp_path):
    torch.save({"params_ema": by_name(shapes)}, tmp_path / "net.pth")
    model = iqp.wrap(tmp_path / "net.pth")
    assert model.spec.name == name.partition(" ")[0].rstrip("+")
    assert model.decides_codes is (name == "vqfr")
    lq = picture(64) / 2 + 0.5
    restored = model.restore(lq)
    assert torch.equal(model.restore(lq, quality=0.9), restored)
    for block in model.adapters["default"].blocks.values():
        torch.nn.init.ones_(block.gate)
    assert not torch.equal(model.restore(lq, quality=0.9), restored)
    with model.conditioned(quality=0.9):
        image = image_of(called(model, picture(64)))
    image.square().mean().backward()
    assert any(parameter.grad is not None for parameter in model.adapters.parameters())


def test_a_vqfr_of_nearest_codes_has_no_codes_to_decide(golden, tmp_path):
    words = (line.split() for line in golden["vqfr nearest/keys"])
    state = by_name({key: list(map(int, sides)) for key, *sides in words})
    torch.save(state, tmp_path / "net.pth")
    model = iqp.wrap(tmp_path / "net.pth")
    assert model.codes is None and all("main_branch" in path for path in model.sites)
