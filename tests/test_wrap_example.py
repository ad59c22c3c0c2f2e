"""The host that ships with the examples: it is small, it loads with its adapter, and its dial moves the score."""

from __future__ import annotations

import runpy
import sys

import pytest
import torch

import iqp_adapter as iqp
from iqp_adapter.compat import make_importable
from iqp_adapter.pictures import read_tensor

make_importable()


@pytest.fixture(scope="module")
def shipped(root):
    return root / "examples" / "restoreformer"


@pytest.fixture
def example(shipped, tmp_path, monkeypatch):
    """Runs the script with further arguments; gives the columns of its sheet, (5, 3, 256, 256) in [0, 1]."""
    pytest.importorskip("gfpgan")

    def run(*given):
        out = tmp_path / "out.png"
        monkeypatch.setattr(sys, "argv", ["wrap_host.py", str(out), *map(str, given)])
        runpy.run_path(str(shipped.parent / "wrap_host.py"))
        sheet = read_tensor(out)  # (3, H, W)
        assert sheet.shape == (3, 260, 2 + 5 * 258)
        return torch.stack([sheet[:, 2:258, 2 + 258 * place : 258 * (place + 1)] for place in range(5)])

    return run


def test_host_and_adapter_are_small(shipped):
    assert sum(path.stat().st_size for path in shipped.rglob("*.safetensors")) < 10_000_000


def test_more_quality_is_a_higher_score(example, shipped):
    columns = example()
    assert torch.equal(columns[0], read_tensor(shipped / "face.png"))
    degraded, bare, low, half, best = iqp.Scorer("iqp-lite")(columns).tolist()
    assert degraded < low < half < best and bare < best
    assert best - low > 5


def test_without_an_adapter_all_equals_the_bare_host(example, shipped):
    _, bare, *dial = example(shipped / "face.png", shipped / "host.safetensors")
    assert all(torch.equal(picture, bare) for picture in dial)
