"""The ablations of the native model: what differs between variants and what does not, and their comparison."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.ablations import compare_variants, train_variant, variants
from benchmarks.ablations.variants import BOOKS, UNCONDITIONED, Variant, config_of
from benchmarks.common import records
from benchmarks.common.filtering import better_half
from benchmarks.native import enhancement
from iqp_adapter.native import Tokenizer, preset
from iqp_adapter.native.tokenizer import NULL
from iqp_adapter.training.sample_scales import SampleScales
from iqp_adapter.training.stages import Batch

TINY = {"widths": (16, 32), "dim": 32, "heads": 4, "layers": 1, "code_dim": 8, "token_dim": 16}


@pytest.fixture
def album(tmp_path):
    """Crops of scikit-image's astronaut, named as pictures of three people."""
    from skimage.data import astronaut

    (tmp_path / "faces").mkdir()
    for place, name in enumerate(("ann_1", "ann_2", "bob_1", "eve_1")):
        crop = astronaut()[10 * place : 10 * place + 200, 100:300]
        Image.fromarray(crop).resize((160, 160)).save(tmp_path / "faces" / f"{name}.png")
    return tmp_path / "faces"


@pytest.fixture
def quick(monkeypatch):
    """Every variant with a tiny network and few steps."""
    monkeypatch.setattr(variants, "SIZE", variants.SIZE | TINY)
    monkeypatch.setattr(variants, "CODEBOOKS", replace(variants.CODEBOOKS, steps=2, batch=2, warmup=1))
    monkeypatch.setattr(variants, "PREDICTION", replace(variants.PREDICTION, steps=2, batch=2, warmup=1))


def size_of(variant):
    config = config_of(variant, 0)
    return preset(config.preset, **config.changes)


def test_all_books_have_as_many_entries_and_cost_the_same():
    sizes = [size_of(variant) for variant in BOOKS]
    assert {size.common_codes + size.plus_codes for size in sizes} == {768}
    networks = [Tokenizer(size) for size in sizes]
    assert len({sum(p.numel() for p in network.parameters()) for network in networks}) == 1
    assert len({network.books.common.entries.numel() + network.books.plus.entries.numel() for network in networks}) == 1


@pytest.mark.parametrize(
    ("variant", "rich"),
    [(Variant.DUAL, [False, True]), (Variant.SINGLE, [False, False]), (Variant.UNRESERVED, [True, True])],
)
def test_who_sees_the_second_codebook(variant, rich):
    network = Tokenizer(size_of(variant))
    quantised = network.quantise(torch.rand(2, 3, 128, 128), torch.tensor([0.0, 1.0]))
    assert quantised.rich.tolist() == rich
    assert (quantised.codes[1] != NULL).all(1).tolist() == rich


def test_variants_differ_in_what_they_say_and_in_nothing_else():
    dual = config_of(Variant.DUAL, 0)
    for variant in UNCONDITIONED:
        assert replace(config_of(variant, 0), changes=dual.changes) == dual
        assert config_of(variant, 0).changes == dual.changes | {"condition": False}


def test_the_better_half_are_the_pictures_of_the_higher_quality():
    quality = torch.tensor([0.1, 0.9, 0.5, 0.7])
    pictures = quality[:, None, None, None].expand(4, 3, 8, 8)
    scale = SampleScales((), torch.tensor([0, 1, 0, 2]))
    full = torch.tensor([True, False, True, True])
    kept = better_half(Batch(pictures, 1 - pictures, quality, [10, 11, 12, 13], scale, full))
    assert kept.quality.tolist() == pytest.approx([0.9, 0.7])
    assert kept.keys == [11, 13] and kept.scale.sets.tolist() == [1, 2]
    assert kept.full.tolist() == [False, True]
    assert torch.equal(kept.hq[:, 0, 0, 0], kept.quality)
    assert torch.equal(kept.lq, 1 - kept.hq)


@pytest.mark.slow
def test_every_variant_trains_and_is_compared(quick, album, tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    for variant in Variant:
        train_variant.main(run, album, variant)
    first = [
        (run / f"{v}-0" / "stage1" / "model" / "model.safetensors").read_bytes() for v in (Variant.DUAL, *UNCONDITIONED)
    ]
    assert len(set(first)) == 1  # one set of codebooks
    compare_variants.main(run, album, seeds=1, out=out)
    result = json.loads((out / "ablations.json").read_text())
    rivals = {"input", "single, best", "unreserved, best", "dual, any", "unconditioned", "filtered"}
    assert set(result["methods"]) == rivals | {"dual, best"}
    assert all(any(rival in claim["claim"] for claim in result["claims"]) for rival in rivals)
    assert set(result["codebooks"]) == {f"codes of {variant}" for variant in BOOKS}
    records.main(run, tmp_path / "kept")
    kept = {path.relative_to(tmp_path / "kept") for path in (tmp_path / "kept").rglob("log.jsonl")}
    assert kept == {path.relative_to(run) for path in run.rglob("log.jsonl")} and len(kept) == 8
    assert not list((tmp_path / "kept").rglob("*.safetensors"))
    assert all(np.isfinite(cell["mean"]) for row in result["methods"].values() for cell in row.values())


@pytest.mark.slow
def test_a_report_of_any_judges(quick, album, tmp_path, root):
    train_variant.main(tmp_path / "run", album, Variant.DUAL)
    config, model = root / "examples" / "native_colour.yaml", str(tmp_path / "run" / "dual-0" / "stage2" / "model")
    enhancement.main("colours", config, model, album, ["psnr"], seeds=1, out=tmp_path / "out")
    result = json.loads((tmp_path / "out" / "colours.json").read_text())
    assert set(result["methods"]) == {"input", "original", "best", "any"}
    assert set(result["dial"]) == {"iqp-colour", "psnr"}
