"""Scorer: iqp-lite and pyiqa's metrics behind one call. pyiqa's own networks run here, with random weights where theirs
would have to be fetched."""

from __future__ import annotations

import logging
import pickle
import urllib.error
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import Tensor, nn

from iqp_adapter.core.metrics import canonical
from iqp_adapter.scoring import pyiqa_metrics
from iqp_adapter.scoring import scorer as scoring
from iqp_adapter.scoring.scorer import Scorer

RANDOM_WEIGHTS = {
    "musiq": {"pretrained": False},
    "cnniqa": {"pretrained": None},
    "topiq_nr": {"pretrained": False, "backbone_pretrain": False},
}
"""Metrics whose networks pyiqa builds without a download."""

OFFLINE = ["iqp-lite", "iqp-colour", "niqe", "piqe", "entropy", *RANDOM_WEIGHTS]


def scorer_of(metric: str, device: torch.device | str = "cpu") -> Scorer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Scorer(metric, device=device, **RANDOM_WEIGHTS.get(metric, {}))


@pytest.fixture(scope="module")
def scorers(device) -> dict[str, Scorer]:
    return {metric: scorer_of(metric, device) for metric in OFFLINE}


@pytest.fixture(scope="module")
def astronaut() -> Tensor:
    """The whole photo, (1, 3, 512, 512)."""
    from skimage.data import astronaut

    return torch.from_numpy(astronaut().copy()).permute(2, 0, 1)[None] / 255  # (H, W, 3) -> (1, 3, H, W)


@pytest.fixture(scope="module")
def images(astronaut) -> Tensor:
    """Three different images, (3, 3, 224, 224)."""
    return torch.cat([astronaut[..., :224, :224], astronaut[..., -224:, -224:], astronaut[..., 100:324, 100:324]])


@pytest.mark.parametrize("metric", OFFLINE)
def test_one_float_a_picture_whatever_its_company(scorers, images, metric):
    with torch.no_grad():
        together = scorers[metric](images)
        alone = torch.cat([scorers[metric](image[None]) for image in images])
    assert together.shape == (3,) and together.dtype == torch.float32
    assert together.unique().numel() == 3
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("metric", OFFLINE)
def test_the_gradient_follows_the_caller(scorers, images, metric):
    scorer, pixels = scorers[metric], images[:1].clone().requires_grad_()
    with torch.no_grad():
        assert not scorer(pixels).requires_grad
        assert not torch.is_grad_enabled()
    score = scorer(pixels)
    assert score.requires_grad == scorer.differentiable
    if scorer.differentiable:
        [gradient] = torch.autograd.grad(score.sum(), pixels)
        assert gradient.isfinite().all() and gradient.abs().sum() > 0


# Independent of this code: pyiqa with basicsr's parameters gave its published NIQE of its five calibration images to
# 0.0006, and these values for the astronaut. Its luma is rounded: ties that fall otherwise move the score by 0.002.
@pytest.mark.parametrize(("options", "value"), [({}, 3.0640), ({"color_space": "ycbcr"}, 3.1236)])
def test_niqe_runs_offline_on_the_official_parameters(astronaut, options, value):
    if find_spec("basicsr") is None:
        pytest.skip("the parameters are in basicsr, which is not installed")
    assert Scorer("niqe", device="cpu", **options)(astronaut).item() == pytest.approx(value, abs=3e-3)


def test_directions_and_protocols(scorers):
    import pyiqa

    assert {metric for metric, scorer in scorers.items() if scorer.lower_better} == {"niqe", "piqe"}
    assert scorers["iqp-lite"].protocol == canonical("iqp-lite").replace("@", "/v")
    assert scorers["niqe"].protocol == f"pyiqa-{pyiqa.__version__}/niqe@basicsr-params"
    assert scorers["piqe"].protocol == f"pyiqa-{pyiqa.__version__}/piqe"
    assert len({scorer.protocol for scorer in scorers.values()}) == len(scorers)


def test_a_holder_does_not_hold_its_weights(scorers):
    class Restorer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scorer = scorers["iqp-lite"]

    restorer = Restorer().train()
    assert not restorer.state_dict() and not list(restorer.parameters())
    assert not any(module.training for module in scorers["iqp-lite"]._network.modules())


@pytest.mark.parametrize("metric", ["iqp-lite", "niqe"])
def test_copies_and_pickles_score_alike(scorers, images, metric):
    expected = scorers[metric](images)
    for copy in (deepcopy(scorers[metric]), pickle.loads(pickle.dumps(scorers[metric]))):
        assert torch.equal(copy(images), expected)


@pytest.mark.parametrize("metric", ["iqp-lite", "niqe", "piqe"])
def test_sides_need_no_multiple_of_anything(scorers, astronaut, metric):
    """Rows and columns that fill no block are left out or mirrored, and never weigh like a whole block."""
    with torch.no_grad():
        whole, *cut = (scorers[metric](astronaut[..., : 480 + more, : 480 + more]).item() for more in (0, 1, 7, 15))
    assert cut == pytest.approx([whole] * 3, rel=0.06)


def test_half_precision_and_autocast_change_nothing(scorers, images, device):
    scorer = scorers["iqp-lite"]
    rounded = images.bfloat16()
    expected = scorer(rounded.float())
    with torch.autocast(device.type, torch.bfloat16):
        assert torch.equal(scorer(rounded), expected)


def test_metrics_in_float64_leave_mps(monkeypatch):
    monkeypatch.setattr(scoring, "device_of", torch.device)  # as if this machine had it
    assert scorer_of("niqe").to("mps").device.type == "cpu"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(3, 96, 96), r"torch.float32 \(3, 96, 96\), expected float \(B, 3, H, W\)"),
        (torch.rand(1, 1, 96, 96), r"expected float \(B, 3, H, W\)"),
        (torch.zeros(1, 3, 96, 96, dtype=torch.uint8), "divide 8-bit values by 255"),
        (torch.rand(1, 3, 96, 96) * 255, r"span \[.*\], expected \[0, 1\]"),
        (torch.full((1, 3, 96, 96), float("nan")), r"expected \[0, 1\]"),
        (torch.rand(1, 4, 96, 96), r"expected float \(B, 3, H, W\)"),
        (torch.rand(1, 3, 96, 96) > 0.5, "torch.bool"),
        (torch.ones(1, 3, 96, 96, dtype=torch.int64), "torch.int64"),
        (torch.zeros(0, 3, 96, 96), "images are empty"),
        (torch.zeros(1, 3, 96, 0), "images are empty"),
        (torch.full((1, 3, 96, 96), 1e38), r"expected \[0, 1\]"),
        (torch.full((1, 3, 96, 96), -torch.inf), r"expected \[0, 1\]"),
        (torch.rand(1, 3, 95, 200), "images are 95 x 200, niqe needs 96 a side"),
        (torch.full((2, 3, 96, 96), 0.5), "niqe has no score for"),
    ],
    ids=[
        "3-d",
        "grey",
        "uint8",
        "0..255",
        "nan",
        "rgba",
        "bool",
        "int",
        "none",
        "flat",
        "huge",
        "inf",
        "small",
        "plain",
    ],
)
def test_what_has_no_score_is_said_in_one_line(scorers, images, message):
    with pytest.raises(ValueError, match=message) as error:
        scorers["niqe"](images)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("images", [None, "photo.png", [[0.5]]], ids=["none", "name", "list"])
def test_what_is_no_tensor_is_said_in_one_line(scorers, images):
    with pytest.raises(TypeError, match="expected a tensor") as error:
        scorers["iqp-lite"](images)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("error", [RuntimeError, AssertionError, IndexError])
def test_whatever_a_network_cannot_do_is_one_line(monkeypatch, images, error):
    def fail(*_: object) -> None:
        raise error("[enforce fail at alloc_cpu.cpp] not enough memory\nand more")

    scorer = scorer_of("iqp-lite")
    monkeypatch.setattr(scorer._network, "forward", fail)
    with pytest.raises(ValueError, match=r"iqp-lite@\d has no score for 224 x 224 images: .*not enough memory$"):
        scorer(images)


def test_an_unknown_name_brings_its_neighbours():
    with pytest.raises(ValueError, match="unknown metric 'niqee'; nearest: niqe"):
        Scorer("niqee")
    with pytest.raises(ValueError, match="unknown metric 3; nearest"):
        Scorer(3)
    assert Scorer.available()[0] == "iqp-lite"
    assert not {"fid", "inception_score", "clipscore", "ssim"} & set(Scorer.available())


def test_an_unknown_option_is_said_in_one_line():
    with pytest.raises(ValueError, match="niqe does not take these weights or options: .*colour"):
        Scorer("niqe", colour="ycbcr")
    with pytest.raises(ValueError, match="iqp-lite takes no options, got width"):
        Scorer("iqp-lite", width=3)


def test_an_unreachable_file_is_named_with_the_ways_out(monkeypatch, tmp_path):
    def unreachable(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("pyiqa.utils.download_util.download_url_to_file", unreachable)
    monkeypatch.setattr("pyiqa.utils.download_util.DEFAULT_CACHE_DIR", str(tmp_path))
    with pytest.raises(OSError, match="musiq needs https://.*musiq_koniq.* as .*HF_ENDPOINT") as error:
        Scorer("musiq")
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_an_unreachable_backbone_is_named_too(monkeypatch, capfd):
    """It is fetched by the Hugging Face Hub, which tries for a minute and says so on the terminal."""

    def unreachable(*args: object, **kwargs: object) -> None:
        logging.getLogger("huggingface_hub.utils._http").warning(
            "thrown while requesting HEAD https://hub/resnet50.bin"
        )
        raise LocalEntryNotFoundError("an error happened while trying to locate the file")

    monkeypatch.setattr("timm.models._builder.load_pretrained", unreachable)
    with pytest.raises(OSError, match=r"hyperiqa needs https://hub/resnet50.bin in .* and cannot fetch it \(an error"):
        Scorer("hyperiqa")
    assert "thrown" not in "".join(capfd.readouterr())


@pytest.mark.skipif(find_spec("icecream") is not None, reason="icecream is installed")
def test_a_missing_package_is_named():
    with pytest.raises(ModuleNotFoundError, match="qalign needs the package icecream; try pip install icecream"):
        Scorer("qalign")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_local_weights_are_the_ones_used(scorers, images, tmp_path, suffix):
    from safetensors.torch import save_file

    file = tmp_path / f"cnniqa{suffix}"
    state = scorers["cnniqa"]._network.state_dict()
    if suffix == ".pth":
        torch.save({"params": state}, file)
    else:
        save_file({key: value.contiguous() for key, value in state.items()}, file)
    local = Scorer("cnniqa", weights=file, device=scorers["cnniqa"].device)
    assert torch.equal(local(images), scorers["cnniqa"](images))
    assert local.protocol.rpartition("@")[2] != scorers["cnniqa"].protocol.rpartition("@")[2]


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"params": {"conv.weight": torch.zeros(1)}}, tmp_path / "other.pth")
    for metric in ("cnniqa", "topiq_nr"):
        with pytest.raises(ValueError, match=f"{metric} does not take these weights"):
            Scorer(metric, weights=tmp_path / "other.pth")


def test_weights_that_hold_code_are_not_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"params": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match=r"holds code \(.*\), which is never run"):
        Scorer("cnniqa", weights=tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()


def test_without_basicsr_niqe_asks_for_pyiqas_own_file(monkeypatch):
    monkeypatch.setattr(pyiqa_metrics, "installed_file", lambda package, path: None)
    with pytest.raises(OSError, match="niqe needs https://.*niqe_modelparameters.mat"):
        Scorer("niqe")


class Theirs(torch.nn.Module):
    """A metric that somebody else added to pyiqa's."""

    def __init__(self, answer=None):
        super().__init__()
        self.answer = answer

    def forward(self, images):
        return self.answer(images)


FAULTY = {
    "raises": (lambda x: 1 / 0, "has no score for 128 x 128 images: ZeroDivisionError: division by zero$"),
    "nothing": (lambda x: None, "gives a NoneType for 2 images, expected a score for each"),
    "several": (lambda x: (x, x), "gives a tuple for 2 images, expected a score for each"),
    "one for all": (lambda x: x.mean(), r"gives a tensor \(\) for 2 images, expected a score for each"),
    "maps": (lambda x: x, r"gives a tensor \(2, 3, 128, 128\) for 2 images"),
    "complex": (lambda x: x.mean((1, 2, 3)) * 1j, r"gives a tensor \(2,\) for 2 images"),
    "no numbers": (lambda x: x.mean((1, 2, 3)) * torch.nan, "has no score for image 0 of the batch"),
}


@pytest.fixture
def theirs(monkeypatch) -> dict[str, Any]:
    """What pyiqa knows of it."""
    from pyiqa.default_model_configs import DEFAULT_CONFIGS
    from pyiqa.utils.registry import ARCH_REGISTRY

    entry = {"metric_opts": {"type": "Theirs"}, "metric_mode": "NR", "lower_better": False, "score_range": "0, 1"}
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "Theirs", Theirs)
    monkeypatch.setitem(DEFAULT_CONFIGS, "theirs", entry)
    return entry


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_metric_of_others_is_named_in_one_line(theirs, monkeypatch, name):
    answer, words = FAULTY[name]
    scorer = Scorer("theirs", device="cpu")
    monkeypatch.setattr(scorer._network, "answer", answer)
    with pytest.raises((ValueError, TypeError), match=f"^theirs {words}"):
        scorer(torch.rand(2, 3, 128, 128))


def test_a_metric_of_others_that_cannot_be_made_is_named(theirs, monkeypatch):
    monkeypatch.setattr(Theirs, "__init__", lambda self: 1 / 0)
    with pytest.raises(ValueError, match="^theirs cannot be made: ZeroDivisionError: division by zero"):
        Scorer("theirs", device="cpu")


@pytest.mark.parametrize("entry", [{}, None, {"metric_mode": 3}])
def test_an_entry_that_says_nothing_costs_the_others_nothing(theirs, monkeypatch, entry):
    from pyiqa.default_model_configs import DEFAULT_CONFIGS

    assert "theirs" in Scorer.available()
    monkeypatch.setitem(DEFAULT_CONFIGS, "theirs", entry)
    assert {"niqe", "piqe"} < set(Scorer.available()) and "theirs" not in Scorer.available()
