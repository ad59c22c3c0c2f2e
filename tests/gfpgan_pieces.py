"""gfpgan's own GFPGANer for tests, offline: files with numbers of our own, and a net of a sixteenth of the channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_hosts import shake

RELEASED: dict[str, Any] = {
    "out_size": 512,
    "num_style_feat": 512,
    "channel_multiplier": 2,
    "decoder_load_path": None,
    "fix_decoder": False,
    "num_mlp": 8,
    "input_is_latent": True,
    "different_w": True,
    "narrow": 1,
    "sft_half": True,
}
"""The arguments with which GFPGANer builds the net of the weights 1.2 to 1.4."""

NARROW = {"narrow": 1 / 16, "num_style_feat": 32}


def save_gfpgan(path: Path, **changes: Any) -> None:
    """A file in the layout of the released ones, with numbers of our own; its decoder's noise has strength."""
    from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = GFPGANv1Clean(**RELEASED | changes)
        shake(net)
    torch.save({"params_ema": net.state_dict()}, path)


def without_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither detector nor parser: an aligned face needs none, and to build them takes seconds."""
    from facexlib.utils import face_restoration_helper

    monkeypatch.setattr(face_restoration_helper, "init_detection_model", lambda *args, **options: None)
    monkeypatch.setattr(face_restoration_helper, "init_parsing_model", lambda *args, **options: None)


def narrow_gfpganer(folder: Path, monkeypatch: pytest.MonkeyPatch, upscale: float = 1) -> Any:
    """GFPGANer with a narrow net, whose file lies in the folder."""
    from gfpgan import utils

    without_helpers(monkeypatch)
    save_gfpgan(folder / "GFPGANv1.4.pth", **NARROW)
    wide = utils.GFPGANv1Clean
    monkeypatch.setattr(utils, "GFPGANv1Clean", lambda **arguments: wide(**arguments | NARROW))
    return utils.GFPGANer(str(folder / "GFPGANv1.4.pth"), upscale=upscale, device=torch.device("cpu"))
