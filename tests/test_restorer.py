"""The contract of restorers: whatever is inside, photos, commands and benchmarks ask the same questions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stand_ins
import torch
from native_pieces import acting
from photo_standins import FACE, embed, photo
from PIL import Image
from tiny_hosts import TINY_HOSTS, TinyHost
from torch import Tensor, nn
from typer.testing import CliRunner

import iqp_adapter as iqp
from iqp_adapter import Restorer, ScoreScale
from iqp_adapter.bench.candidates import candidates
from iqp_adapter.cli import app
from iqp_adapter.core.metrics import canonical
from iqp_adapter.native import IQPFR, IQPFRConfig
from iqp_adapter.photo import restore_photo, restore_photos
from iqp_adapter.scoring.scorer import Scorer

SCALE = ScoreScale("iqp-lite", False, (0.0, 50.0, 100.0))
SMALL = IQPFRConfig(
    resolution=64, patch=4, widths=(16, 24, 32), encoder_blocks=1, decoder_blocks=1, common_codes=16, plus_codes=8,
    code_dim=8, dim=32, layers=2, heads=4, fused_levels=(0,), token_dim=16,
)  # fmt: skip


def native() -> IQPFR:
    return acting(SMALL, scale=SCALE)


HOSTS = {
    "code host": TinyHost("codeformer", partial(stand_ins.CodeFormer, 2, 2), 64),
    "image host": TinyHost("restoreformer", partial(stand_ins.RestoreFormer, 2), 64),
    "native host": TINY_HOSTS["native"],
}


def wrapped(host: str) -> iqp.WrappedHost:
    model = iqp.wrap(HOSTS[host].build(), scales=[SCALE])
    for block in model.adapters["default"].blocks.values():
        nn.init.ones_(block.gate)
    return model.eval()


MAKERS: dict[str, Callable[[], Any]] = {"native": native} | {name: partial(wrapped, name) for name in HOSTS}
NAMES = {"native": "IQPFR", "code host": "codeformer", "image host": "restoreformer", "native host": "iqpfr"}


@pytest.fixture(params=MAKERS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def restorer(kind: str) -> Restorer:
    return MAKERS[kind]()


def restored(restorer: Restorer, **options: Any) -> np.ndarray:
    return restore_photo(photo(), restorer, detector=FACE, force=True, **options)


def test_it_says_what_it_is(kind, restorer):
    assert restorer.name == NAMES[kind] and restorer.resolution == 64
    assert restorer.takes_quality and restorer.device.type == "cpu"
    assert restorer.decides_codes == (kind != "image host")
    assert restorer.takes_adapter == (kind != "native")
    assert restorer.score_scale == SCALE and restorer.conditioned_on == (canonical("iqp-lite"),)


def test_codes_are_optimised_in_photos_wherever_there_are_some(kind, restorer):
    if kind == "image host":
        with pytest.raises(
            ValueError, match="restoreformer decides no codes, so that none can be optimised; leave opt"
        ):
            restored(restorer, optimise=1)
        with pytest.raises(ValueError, match="restoreformer decides no codes"):
            restorer.optimise(torch.rand(1, 3, 64, 64), steps=1)
    else:
        assert not np.array_equal(restored(restorer, optimise=3), photo())


def test_the_fidelity_weight_is_taken_or_refused_before_any_work(kind, restorer):
    if kind == "image host":
        with pytest.raises(ValueError, match="fidelity is 0.5, but restoreformer has no fidelity; it takes nothing"):
            restored(restorer, fidelity=0.5)
    else:
        assert not np.array_equal(restored(restorer, fidelity=0.0), restored(restorer, fidelity=1.0))
    with pytest.raises(ValueError, match="strength"):
        restorer.check({"strength": 1.0})
    restorer.check({"strength": None})


def test_a_face_that_is_no_longer_like_itself_is_restored_less(restorer):
    options: dict[str, Any] = {"detector": FACE, "force": True, "embedder": embed, "colour": "model"}
    [result] = restore_photos([photo()], restorer, min_identity=1.0, **options)
    assert "restored at 0" in result.faces[0].note
    assert np.array_equal(result.pixels, restored(restorer, scale=0.0, colour="model"))


def test_the_score_scale_says_which_faces_are_good(restorer):
    options: dict[str, Any] = {"detector": FACE, "force": True, "scorers": [Scorer("iqp-lite", device="cpu")]}
    [changed] = restore_photos([photo()], restorer, skip_if=1.0, **options)
    [kept] = restore_photos([photo()], restorer, skip_if=0.0, **options)
    assert changed.changed and not kept.changed


def test_the_fingerprint_tells_weights_and_settings(kind, restorer):
    first = restorer.fingerprint()
    assert restorer.fingerprint() == MAKERS[kind]().fingerprint() == first
    weights = next(iter(restorer.parts(0.5)[0].parameters()))
    with torch.no_grad():
        weights.add_(0.25)
    second = restorer.fingerprint()
    assert second != first
    if kind == "native":
        restorer.fidelity = 0.25
        assert restorer.fingerprint() != second
    else:
        restorer.quality = 0.5
        assert restorer.fingerprint() != restorer.fingerprint(None) == second


def test_the_bare_host_has_a_fingerprint_of_its_own(kind, restorer):
    if kind == "native":
        pytest.skip("it has no host")
    bare, whole = restorer.fingerprint(None), restorer.fingerprint(0.5)
    with torch.no_grad():
        next(restorer.adapters.parameters()).add_(1.0)
    assert restorer.fingerprint(None) == bare and restorer.fingerprint(0.5) != whole


def test_the_command_restores_with_each(kind, restorer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("iqp_adapter.loader.load", lambda source, **options: restorer)
    Image.fromarray(photo()).save("astronaut.png")

    def ran(*options: str) -> Any:
        return CliRunner().invoke(app, ["restore", "astronaut.png", "--force", "--device", "cpu", *options])

    plain = ran("-o", "plain", "--quality", "0.3")
    assert plain.exit_code == 0 and "has no trained adapter" not in plain.output, plain.output
    asked = ran("-o", "asked", "--optimise", "1", "--fidelity", "0.5")
    assert asked.exit_code == (2 if kind == "image host" else 0), asked.output
    assert Path("asked/astronaut.png").exists() == (kind != "image host")


def test_the_benchmark_has_its_rows(kind, restorer, monkeypatch):
    monkeypatch.setattr("iqp_adapter.bench.candidates.load", lambda source, **options: restorer)
    if kind == "image host":
        with pytest.raises(ValueError, match="fidelity is 0.5, but restoreformer has no fidelity"):
            candidates(["some"], fidelity=0.5)
    else:
        candidates(["some"], fidelity=0.5)
    rows = candidates(["some"], adapters=["adapter"] if restorer.takes_adapter else [])
    bare = [] if kind == "native" else ["some"]
    adapted = "" if kind == "native" else " + adapter"
    assert [row.name for row in rows] == ["input", *bare, f"some{adapted}, best", f"some{adapted}, any"]
    assert [row.conditioned_on for row in rows[-2:]] == [(canonical("iqp-lite"),)] * 2
    assert len({row.key for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("lq", "message"),
    [
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "lq are torch.uint8 .*; divide 8-bit values by 255"),
        (torch.full((1, 3, 64, 64), 128.0), r"lq span \[128, 128\], expected \[0, 1\]; clamp or rescale them"),
        (torch.full((1, 3, 64, 64), float("nan")), r"lq span \[nan, nan\], expected \[0, 1\]"),
        (torch.zeros(0, 3, 64, 64), r"lq are empty, \(0, 3, 64, 64\); give one picture or more"),
        (torch.zeros(3, 64, 64), r"lq are torch.float32 \(3, 64, 64\), expected float \(B, 3, H, W\)"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(restorer, lq, message):
    with pytest.raises(ValueError, match=message):
        restorer.restore(lq)


class Mirror(Restorer):
    """A restorer of somebody's own, with nothing but what it must have."""

    resolution = 64

    def restore(self, lq: Tensor, quality: Any = None, scale: Any = None, fidelity: Any = None, **_: Any) -> Tensor:
        return lq.flip(-1)


def test_a_restorer_of_ones_own_needs_two_members():
    mirror = Mirror()
    assert not np.array_equal(restored(mirror), photo())
    assert mirror.name == "Mirror" and mirror.score_scale is None and not mirror.decides_codes
    assert mirror.fingerprint() == Mirror().fingerprint()
    with pytest.raises(ValueError, match="Mirror decides no codes"):
        mirror.optimise(torch.rand(1, 3, 64, 64))


def test_what_is_no_restorer_is_said_in_one_line():
    with pytest.raises(TypeError, match="a Linear is no Restorer; iqp_adapter.load makes one of a name, a file or a m"):
        restored(nn.Linear(1, 1))


class TestLoad:
    def test_the_model_that_ships(self):
        model = iqp.load("tiny")
        assert isinstance(model, IQPFR) and not model.training

    def test_a_folder_of_a_native_model(self, tmp_path):
        native().save_pretrained(tmp_path / "small")
        assert isinstance(iqp.load(tmp_path / "small"), IQPFR)
        assert isinstance(iqp.load(str(tmp_path / "small"), device="cpu"), IQPFR)

    def test_a_module_a_descriptor_and_a_file_are_wrapped(self, tmp_path):
        host = TINY_HOSTS["restoreformer-official"].build()
        model = iqp.load(host.train())
        assert model.host is host and not host.training
        assert iqp.load(model) is model
        assert iqp.load(iqp.wrap(TINY_HOSTS["gpen"].build())).name == "gpen"

        class Descriptor:
            model, architecture = TINY_HOSTS["codeformer-official"].build(), "CodeFormer"

        assert iqp.load(Descriptor()).name == "codeformer"

    def test_an_adapter_goes_onto_a_host_and_onto_a_native_model_without_condition(self, tmp_path):
        for name in ("image host", "native host"):
            wrapped(name).save_pretrained(tmp_path / name)
            model = iqp.load(HOSTS[name].build(), adapter=tmp_path / name)
            assert model.quality == "best" and model.takes_quality
        bare = iqp.load(HOSTS["native host"].build())
        assert isinstance(bare, IQPFR) and not bare.takes_quality and bare.takes_adapter
        adapter = tmp_path / "native host"
        again = iqp.load(iqp.load(bare, adapter=adapter), adapter=adapter)
        assert again.host is bare

    def test_a_native_model_with_a_condition_takes_no_adapter(self, tmp_path):
        wrapped("native host").save_pretrained(tmp_path / "adapter")
        with pytest.raises(ValueError, match="adapter was trained for a iqpfr of other sizes"):
            iqp.load(native(), adapter=tmp_path / "adapter")
        with pytest.raises(ValueError, match="this IQPFR has a dial of its own; pass it quality="):
            iqp.load(native(), block="score_map")

    @pytest.mark.parametrize(
        ("source", "error", "message"),
        [
            (3, TypeError, "cannot wrap a int; give a module"),
            ("codeformr", ValueError, "neither a file here nor a published name; did you mean 'codeformer'"),
            (Path("none.pth"), FileNotFoundError, "no weight file none.pth"),
        ],
    )
    def test_what_cannot_be_loaded_is_said_in_one_line(self, source, error, message):
        with pytest.raises(error, match=message):
            iqp.load(source)
