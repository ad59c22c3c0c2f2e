"""Code that people run already goes on running with one line added: gfpgan's GFPGANer, facexlib's helper."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gfpgan_pieces
import numpy as np
import pytest
import torch
from photo_standins import LANDMARKS, photo
from tiny_hosts import TINY_HOSTS
from torch import nn

import iqp_adapter as iqp
from iqp_adapter.compat import make_importable

make_importable()
pytest.importorskip("gfpgan")


def opened(model: iqp.WrappedHost) -> iqp.WrappedHost:
    for block in model.adapters["default"].blocks.values():
        nn.init.ones_(block.gate)
    return model


def face() -> np.ndarray:
    """The astronaut's head, as OpenCV reads pictures: (180, 180, 3) BGR."""
    return np.ascontiguousarray(photo()[20:200, 130:310, ::-1])


def save_helpers(folder: Path) -> None:
    """Files of random nets under the names at which facexlib looks for a detector and a parser."""
    from facexlib.detection.retinaface import RetinaFace
    from facexlib.parsing.parsenet import ParseNet

    folder.mkdir(parents=True)
    detector = RetinaFace(network_name="resnet50", device="cpu")
    torch.save(detector.state_dict(), folder / "detection_Resnet50_Final.pth")
    torch.save(ParseNet(in_size=512, out_size=512, parsing_ch=19).state_dict(), folder / "parsing_parsenet.pth")


@pytest.fixture
def narrow_gfpganer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return gfpgan_pieces.narrow_gfpganer(tmp_path, monkeypatch)


@pytest.fixture
def full_gfpganer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """GFPGANer as it is, with all its files where it looks for them."""
    from gfpgan import GFPGANer

    gfpgan_pieces.save_gfpgan(tmp_path / "GFPGANv1.4.pth")
    save_helpers(tmp_path / "gfpgan" / "weights")
    monkeypatch.chdir(tmp_path)
    return GFPGANer("GFPGANv1.4.pth", upscale=1, device=torch.device("cpu"))


def enhanced(restorer: Any, seed: int = 0) -> np.ndarray:
    """The one restored face; the net's noise is drawn anew in every call."""
    torch.manual_seed(seed)
    _, [restored], _ = restorer.enhance(face(), has_aligned=True)
    return restored


@pytest.mark.parametrize("size", ["narrow", pytest.param("full", marks=pytest.mark.slow)])
def test_gfpganer_goes_on_with_a_wrapped_net(size, request, caplog):
    restorer = request.getfixturevalue(f"{size}_gfpganer")
    bare = enhanced(restorer)
    assert bare.std() > 5 and not np.array_equal(enhanced(restorer, seed=1), bare), "the noise is at work"

    restorer.gfpgan = iqp.wrap(restorer.gfpgan)

    assert np.array_equal(enhanced(restorer), bare)
    restorer.gfpgan.quality = 0.9
    assert np.array_equal(enhanced(restorer), bare), "nothing has been learned yet"
    opened(restorer.gfpgan)
    better = enhanced(restorer)
    assert not np.array_equal(better, bare)
    assert np.array_equal(enhanced(restorer), better), "keys and values that were kept are the same"
    warnings = [record.message for record in caplog.records]
    assert len(warnings) == 2 and "has learned nothing yet" in warnings[1]
    assert warnings[0] == "gfpgan takes 'weight' and does nothing with it: it has no fidelity weight"
    restorer.gfpgan = restorer.gfpgan.unwrap()
    assert np.array_equal(enhanced(restorer), bare)


def pasted(helper: Any, net: Callable[..., Any]) -> np.ndarray:
    """The loop of CodeFormer's inference script: faces cut out, restored one by one, and put back.

    `w` and `adain` are the official class's; spandrel's takes and ignores them, as it does bare.
    """
    from basicsr.utils import img2tensor, tensor2img
    from torchvision.transforms.functional import normalize

    helper.clean_all()
    helper.read_image(np.ascontiguousarray(photo()[..., ::-1]))
    helper.all_landmarks_5 = [LANDMARKS]
    helper.align_warp_face()
    for cropped in helper.cropped_faces:
        x = img2tensor(cropped / 255.0, bgr2rgb=True, float32=True)
        normalize(x, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), inplace=True)
        with torch.no_grad():
            output = net(x.unsqueeze(0), w=0.5, adain=True)[0]
        helper.add_restored_face(tensor2img(output, rgb2bgr=True, min_max=(-1, 1)).astype("uint8"))
    helper.get_inverse_affine(None)
    return helper.paste_faces_to_input_image()


@pytest.fixture
def full_helper(tmp_path: Path) -> Callable[..., Any]:
    from facexlib.utils.face_restoration_helper import FaceRestoreHelper

    save_helpers(tmp_path / "weights")
    return partial(FaceRestoreHelper, model_rootpath=str(tmp_path / "weights"))


@pytest.fixture
def light_helper(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    from facexlib.utils.face_restoration_helper import FaceRestoreHelper

    gfpgan_pieces.without_helpers(monkeypatch)
    return FaceRestoreHelper


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning", "ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("size", ["light", pytest.param("full", marks=pytest.mark.slow)])
def test_a_loop_over_a_face_helper_goes_on_with_a_wrapped_codeformer(size, request):
    pytest.importorskip("spandrel_extra_arches")
    tiny = TINY_HOSTS["codeformer-spandrel"]
    helper = request.getfixturevalue(f"{size}_helper")(1, face_size=tiny.side, device="cpu")
    net = tiny.build()
    bare = pasted(helper, net)
    assert not np.array_equal(bare, photo()[..., ::-1])

    net = iqp.wrap(net)

    assert np.array_equal(pasted(helper, net), bare)
    net.quality = 0.9
    assert np.array_equal(pasted(helper, net), bare), "nothing has been learned yet"
    opened(net)
    assert not np.array_equal(pasted(helper, net), bare)
    net.quality = None
    assert np.array_equal(pasted(helper, net), bare)
