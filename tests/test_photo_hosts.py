"""Photos restored by wrapped hosts, through the pipeline and by `iqp restore --model`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photo_standins import FACE, LANDMARKS, Brightness, photo
from PIL import Image
from tiny_hosts import TINY_HOSTS
from torch import nn
from typer.testing import CliRunner

import iqp_adapter as iqp
from iqp_adapter import Site
from iqp_adapter.cli import app
from iqp_adapter.compat import make_importable
from iqp_adapter.photo import restore_photo, restore_photos
from iqp_adapter.scoring.scales import lite_scale

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning", "ignore:.*torch.jit.*:DeprecationWarning")
BARE = "restoreformer has no trained adapter, so it restores as it always does, whatever --quality and --scale; "


def opened(model: iqp.WrappedHost) -> iqp.WrappedHost:
    for block in model.adapters["default"].blocks.values():
        nn.init.ones_(block.gate)
    return model.eval()


def tiny(name: str) -> nn.Module:
    make_importable()
    for package in TINY_HOSTS[name].needs:
        pytest.importorskip(package)
    return TINY_HOSTS[name].build()


@pytest.fixture
def host() -> nn.Module:
    return tiny("restoreformer-gfpgan")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: nn.Module) -> Path:
    """A folder with the astronaut, a weight file as it is published, and an adapter for it."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo()).save("astronaut.png")
    torch.save({"params_ema": host.state_dict()}, "RestoreFormer.pth")
    opened(iqp.wrap(host)).save_pretrained("adapter")
    return tmp_path


def restore(*options: str, photo: str = "astronaut.png", model: str = "RestoreFormer.pth") -> Any:
    return CliRunner().invoke(app, ["restore", photo, "--model", model, "--force", *options])


def result(folder: str) -> np.ndarray:
    return np.asarray(Image.open(Path(folder) / "astronaut.png"))


def test_a_weight_file_restores_photos_as_its_host_does(work, host):
    ran = restore("-o", "bare", "--report", "report.json", "--quality", "best", "--colour", "model")
    assert ran.exit_code == 0, ran.output
    assert BARE in ran.output and ran.output.count("adapter") == 2
    assert "restored 1 face in 1 of 1 photo: bare" in ran.output
    x, y = LANDMARKS[2].round().astype(int)
    restored = result("bare")
    assert np.any(restored[y, x] != photo()[y, x]) and np.array_equal(restored[400:], photo()[400:])
    report = json.loads(Path("report.json").read_text())
    [face] = report["photos"][0]["faces"]
    assert report["settings"]["model"] == "restoreformer"
    assert face["quality"] is None and set(face["scores"]) == {lite_scale().metric, "piqe"}
    assert 0 <= face["scores"][lite_scale().metric]["quality_after"] <= 1


def test_an_adapter_brings_the_dial(work):
    for folder, options in {
        "bare": [],
        "best": ["--adapter", "adapter", "--quality", "best"],
        "low": ["--adapter", "adapter", "--quality", "0.1"],
        "off": ["--adapter", "adapter", "--scale", "0"],
    }.items():
        ran = restore("-o", folder, *options)
        assert ran.exit_code == 0 and (BARE in ran.output) == (folder == "bare"), ran.output
    assert np.array_equal(result("off"), result("bare"))
    assert not np.array_equal(result("best"), result("bare"))
    assert not np.array_equal(result("best"), result("low"))


def test_a_result_of_other_weights_is_made_again(work, host):
    assert "by an earlier run" not in restore("-o", "out").output
    assert "by an earlier run" in restore("-o", "out").output
    with torch.no_grad():
        host.decoder.conv_out.bias += 0.5
    torch.save({"params_ema": host.state_dict()}, "RestoreFormer.pth")
    before = result("out")
    assert "by an earlier run" not in restore("-o", "out").output
    assert not np.array_equal(result("out"), before)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--fidelity", "0.5"], "fidelity is 0.5, but restoreformer has no fidelity; it takes nothing"),
        (["--model", "codeformr"], "neither a file here nor a published name; did you mean 'codeformer'"),
        (["--model", "weights/none.pth"], "'weights/none.pth' is neither a file here nor a published name"),
        (["--adapter", "none"], "no checkpoint 'none'"),
        (["--model", "tiny", "--adapter", "adapter"], "was trained for restoreformer"),
    ],
)
def test_what_can_not_be_is_one_line(work, options, error):
    ran = restore(*options)
    *_, last = ran.stderr.splitlines()
    assert ran.exit_code == 2 and last.startswith("iqp: ") and error in last, ran.output


def test_the_fidelity_weight_is_the_hosts_own():
    model = iqp.wrap(tiny("codeformer-spandrel"))
    inside, outside = (restore_photo(photo(), model, detector=FACE, force=True, fidelity=weight) for weight in (0, 1))
    assert not np.array_equal(inside, outside)


def test_the_adapters_own_metric_drives(host):
    model = opened(iqp.wrap(host, scales=[Brightness.scale]))
    options = {"detector": FACE, "scorers": [Brightness()], "force": True}
    [restored] = restore_photos([photo()], model, **options, skip_if=0.99)
    [kept] = restore_photos([photo()], model, **options, skip_if=0.01)
    assert restored.changed and not kept.changed
    scores = kept.faces[0].scores["brightness"]
    assert scores["quality_before"] == pytest.approx(scores["before"] / 100, abs=1e-6)


def test_faces_that_are_good_already_are_left_alone_by_a_bare_host_too(work):
    assert "good already: quality" in restore("-o", "out", "--skip-if", "0").output


def test_a_host_of_any_size_is_refused_for_photos(host):
    model = iqp.wrap(nn.Sequential(nn.Conv2d(3, 3, 1)), sites=[Site("0", 3, "BCHW")])
    with pytest.raises(ValueError, match="Sequential does not say how large a face it restores"):
        restore_photo(photo(), model, detector=FACE)
