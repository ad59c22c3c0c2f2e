"""The rest of the photo, enlarged by a model: without seams, at any size, and under the faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from photo_standins import FACE, Negative, photo
from PIL import Image
from typer.testing import CliRunner

from iqp_adapter.cli import app
from iqp_adapter.photo import Background, background, restore_files, restore_photos
from iqp_adapter.photo.background import OVERLAP, TILE, spans

spandrel = pytest.importorskip("spandrel")


def saved(model: torch.nn.Module, path: Path) -> Path:
    torch.save({"params_ema": model.state_dict()}, path)
    return path


@pytest.fixture
def compact(tmp_path: Path) -> Path:
    """An upscaler by 2 with random weights, each of whose pixels sees 10 pixels around it."""
    from spandrel.architectures.Compact import Compact

    torch.manual_seed(0)
    return saved(Compact(num_feat=8, num_conv=8, upscale=2), tmp_path / "compact.pth")


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """An upscaler by 4, as Real-ESRGAN, with random weights, each of whose pixels sees 60 pixels around it."""
    from spandrel.architectures.ESRGAN import ESRGAN

    torch.manual_seed(0)
    return saved(ESRGAN(num_filters=8, num_blocks=3, scale=4), tmp_path / "deep.pth")


def whole(model: Background, pixels: np.ndarray, factor: int, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    with monkeypatch.context() as patched:
        patched.setattr(background, "TILE", 4096)
        return model(pixels, factor)


def test_tiles_of_a_model_that_sees_little_give_the_whole_to_the_pixel(compact, monkeypatch):
    model, pixels = Background(compact), photo()[:400, :330]
    tiled = model(pixels.astype(np.float32) / 255, 2)
    assert np.abs(tiled - whole(model, pixels.astype(np.float32) / 255, 2, monkeypatch)).max() < 1e-5


def test_tiles_of_a_model_that_sees_far_leave_no_seam(deep, monkeypatch):
    model, pixels = Background(deep), photo()[:280, :300].astype(np.float32) / 255
    true = whole(model, pixels, 4, monkeypatch)

    def seam() -> float:
        off = model(pixels, 4) - true
        return max(np.abs(np.diff(off, axis=axis)).max() for axis in (0, 1)) / true.std()

    assert seam() < 0.002
    monkeypatch.setattr(background, "OVERLAP", 2)
    assert seam() > 0.02


def test_spans_cover_all_pixels_evenly():
    for length in (1, TILE, TILE + 1, 2 * TILE - OVERLAP, 1000):
        total = np.zeros(2 * length)
        for span in spans(length, 2):
            total[2 * span.start : 2 * span.stop] += span.weights
        assert np.allclose(total, 1)
        assert len(spans(length, 2)) == max(1, -(-(length - OVERLAP) // (TILE - OVERLAP)))


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_photos_of_all_types_get_the_size_that_is_asked_for(compact, factor, kind):
    pixels = (photo()[:60, :70] / 255 * (1 if kind is np.float32 else np.iinfo(kind).max)).astype(kind)
    found = Background(compact)(pixels, factor)
    assert found.shape == (60 * factor, 70 * factor, 3) and found.dtype == kind


def test_faces_are_pasted_onto_what_the_model_made(compact):
    model = Background(compact)
    [done] = restore_photos([photo()], Negative(), detector=FACE, background=model, upscale=2)
    rest = model(photo(), 2)
    assert (done.pixels[700:] == rest[700:]).all()
    assert np.abs(done.pixels[200:260, 400:500].astype(int) - rest[200:260, 400:500]).mean() > 40


def test_without_a_face_and_at_the_same_size_the_rest_is_still_restored(compact):
    from photo_runs import NOBODY

    [done] = restore_photos([photo()], Negative(), detector=NOBODY, background=Background(compact))
    assert done.changed and (done.pixels == Background(compact)(photo(), 1)).all()


def test_another_model_makes_other_results(compact, deep, tmp_path):
    Image.fromarray(photo()[:200, :200]).save(tmp_path / "a.png")

    def run(model: Path) -> str:
        options = {"detector": FACE, "background": Background(model)}
        [report] = restore_files([tmp_path / "a.png"], tmp_path / "out", Negative(), **options)
        return report.status

    assert [run(compact), run(compact), run(deep)] == ["restored", "complete", "restored"]


def test_what_is_no_upscaler_is_said(tmp_path):
    saved(torch.nn.Linear(2, 2), tmp_path / "no.pth")
    with pytest.raises(ValueError, match="no.pth is no model that spandrel knows"):
        Background(tmp_path / "no.pth")
    with pytest.raises(FileNotFoundError, match="no weight file"):
        Background(tmp_path / "missing.pth")


@pytest.mark.slow
def test_the_command_takes_a_model_for_the_rest(compact, tmp_path):
    Image.fromarray(photo()).save(tmp_path / "a.png")
    words = ["restore", str(tmp_path / "a.png"), "-o", str(tmp_path / "out.png"), "--device", "cpu"]
    done = CliRunner().invoke(app, [*words, "--background", str(compact), "--upscale", "2", "--engine", "torch"])
    assert done.exit_code == 0, done.output
    assert Image.open(tmp_path / "out.png").size == (1024, 1024)
