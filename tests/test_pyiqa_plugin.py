"""IQP-Lite and IQP-Colour as metrics of pyiqa."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from skimage.data import astronaut
from torch import Tensor

from iqp_adapter import Scorer
from iqp_adapter.compat import make_importable
from iqp_adapter.scoring.pyiqa_plugin import register

pytest.importorskip("pyiqa")


@pytest.fixture
def pyiqa() -> Iterator[Any]:
    """pyiqa that knows our metrics, for one test."""
    make_importable()
    import pyiqa
    from pyiqa.default_model_configs import DEFAULT_CONFIGS

    before = dict(DEFAULT_CONFIGS)
    register()
    register()
    yield pyiqa
    DEFAULT_CONFIGS.clear()
    DEFAULT_CONFIGS.update(before)


def faces() -> Tensor:
    """(3, 3, 64, 64), one of them blurred and one noisy."""
    face = torch.from_numpy(astronaut()[80:144, 190:254] / 255.0).permute(2, 0, 1)[None].float()
    blurred = torch.nn.functional.avg_pool2d(face, 5, 1, 2)
    noisy = (face + 0.2 * torch.randn(face.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    return torch.cat([face, blurred, noisy])


@pytest.mark.parametrize("name", ["iqp-lite", "iqp-lite@1", "iqp-colour"])
def test_scores_are_those_of_the_scorer(name, pyiqa):
    metric = pyiqa.create_metric(name, device="cpu")
    scores = metric(faces())
    assert torch.equal(scores, Scorer(name, device="cpu")(faces())) and scores.shape == (3,)
    assert torch.allclose(torch.cat([metric(face[None]) for face in faces()]), scores, atol=1e-3)
    assert not scores.requires_grad
    assert (metric.lower_better, metric.metric_mode, metric.score_range) == (False, "NR", "0, 100")


def test_they_are_listed_by_pyiqa_and_not_twice_by_the_scorer(pyiqa):
    assert {"iqp-lite", "iqp-colour", "iqp-lite@1"} <= set(pyiqa.list_models("NR", filter="iqp-*"))
    assert len(Scorer.available()) == len(set(Scorer.available()))


def test_as_a_loss_it_has_a_gradient_and_no_parameters(pyiqa):
    loss = pyiqa.create_metric("iqp-lite", as_loss=True, device="cpu")
    images = (faces() * 1.5 - 0.1).requires_grad_()  # as a model may give them
    value = loss(images)
    value.backward()
    assert value.shape == () and torch.allclose(value, Scorer("iqp-lite", device="cpu")(images.clamp(0, 1)).mean())
    assert float(images.grad.abs().sum()) > 0 and not list(loss.net.parameters()) and not loss.net.state_dict()
    each = pyiqa.create_metric("iqp-lite", as_loss=True, loss_reduction="none", device="cpu")(faces())
    assert each.shape == (3,)


def test_grey_pictures_and_files_are_taken_and_small_ones_refused(pyiqa, tmp_path):
    from PIL import Image

    metric = pyiqa.create_metric("iqp-lite", device="cpu")
    grey = faces().mean(1, keepdim=True)
    assert torch.equal(metric(grey), metric(grey.expand(-1, 3, -1, -1)))
    Image.fromarray(astronaut()[80:144, 190:254]).save(tmp_path / "a.png")
    assert torch.allclose(metric(str(tmp_path / "a.png")), metric(faces()[:1]), atol=1e-3)
    with pytest.raises(ValueError, match=r"32 x 32, iqp-lite@2 needs 64 a side"):
        metric(faces()[..., :32, :32])
    with pytest.raises(AssertionError, match=r"normalized to \[0, 1\]"):
        metric(faces() * 255)
    with pytest.raises(TypeError, match="typo"):
        pyiqa.create_metric("iqp-lite", device="cpu", typo=1)


def test_it_runs_where_the_metric_is_moved_to(pyiqa, monkeypatch):
    metric = pyiqa.create_metric("iqp-lite", device="cpu").to("meta")
    places = []
    monkeypatch.setattr(metric.net._scorer, "to", lambda device: places.append(device) or (lambda images: images))
    assert metric.net(torch.empty(1, 3, 64, 64, device="meta")).device.type == "meta"
    assert [place.type for place in places] == ["meta"]


PLUGGED = """
import torch, pyiqa
try:
    pyiqa.create_metric("iqp-lite")
except AssertionError as error:
    print(error)
pyiqa.create_metric("psnr")
print(pyiqa.create_metric("iqp-lite", device="cpu")(torch.rand(2, 3, 64, 64)).shape)
"""


def test_an_installation_is_a_plug_in_of_pyiqa(root, tmp_path):
    """What pip writes of setup.cfg's entry points is all that pyiqa needs, once it has looked for another network."""
    settings = configparser.ConfigParser()
    settings.read(root / "setup.cfg")
    info = tmp_path / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[pyiqa.archs]\n{settings['options.entry_points']['pyiqa.archs']}\n")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}
    done = subprocess.run([sys.executable, "-c", PLUGGED], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    refused, scored = done.stdout.splitlines()
    assert "iqp-lite not implemented yet" in refused and scored == "torch.Size([2])"


def test_one_call_is_enough_without_an_installation(root, tmp_path):
    code = "from iqp_adapter.scoring.pyiqa_plugin import register; register(); import pyiqa, torch\n"
    code += "print(pyiqa.create_metric('iqp-colour', device='cpu')(torch.rand(1, 3, 64, 64)).shape)"
    env = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.splitlines() == ["torch.Size([1])"], done.stderr
