"""IQPIR: the keys and answers of the authors' classes, and what a person does with a file of theirs."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_hosts import iqpir, shake
from torch import Tensor, nn
from typer.testing import CliRunner

import iqp_adapter as iqp
from iqp_adapter.cli import app
from iqp_adapter.native import IQPIR, IQPIRConfig
from iqp_adapter.native.iqpir import IQPIRTokenizer
from iqp_adapter.native.iqpir.fidelity import is_trained

SIZES: dict[str, dict[str, Any]] = {
    "nearest": {"books": 1, "score": "none", "rows": ()},
    "nearest_add": {"books": 1},
    "nearest_adain": {"books": 1, "score": "adain"},
    "dual": {"score": "none", "rows": ()},
    "dual_add": {},
    "dual_add_bins": {"rows": (20, 20, 20, 20)},
}
"""Of each case of the golden file."""

CALLS = {"a": (0.9, 0.0, True), "b": (0.35, 0.0, False), "c": (0.9, 0.7, True)}
"""Score, fidelity, and whether colours are adjusted."""

KEYS = {
    "codeformer nearest, no score (original)": SIZES["nearest"],
    "codeformer nearest, score add (num_class 10)": SIZES["nearest_add"],
    "codeformer nearest, score adain (num_class 10)": SIZES["nearest_adain"],
    "codeformer dual_codebook, no score": SIZES["dual"],
    "codeformer dual_codebook, score add (num_class 10)": SIZES["dual_add"],
    "codeformer dual_codebook, score adain (num_class 10)": {"score": "adain"},
    "codeformer dual_codebook, score add, bins_list [20,20,20,20] (commit 4076250)": SIZES["dual_add_bins"],
    "codeformer dual_codebook, score add, connect 32/64/128 (inpainting)": {"fused": (32, 64, 128)},
}


def weights_of(shapes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights behind the golden file, each made from its key."""
    return {key: weight_of(key, tuple(value.shape)) for key, value in shapes.items()}


def weight_of(key: str, shape: tuple[int, ...]) -> Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if key.endswith(("norm1.weight", "norm2.weight", "norm.weight")) or (len(shape) == 1 and key.endswith(".weight")):
        return 1 + 0.1 * drawn
    if key.endswith(".bias"):
        return 0.02 * drawn
    if "embedding.weight" in key or "score_embed" in key:
        return 0.5 * drawn
    return 0.1 * drawn if key == "position_emb" else drawn / max(1, int(np.prod(shape[1:]))) ** 0.5


def picture() -> Tensor:
    """The input of the golden file."""
    return torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(7)) * 2 - 1


def some(values: Tensor, count: int) -> np.ndarray:
    flat = values.detach().flatten()
    return flat[:: len(flat) // count][:count].numpy()


def golden_model(case: str) -> IQPIR:
    with torch.device("meta"):
        model = IQPIR(IQPIRConfig(**SIZES[case]))
    model.load_state_dict(weights_of(model.state_dict()), assign=True)
    return model.eval()


class Encoded(nn.Module):
    """Answers as an encoder that has run, since every case has the same one and the same picture."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.found: dict[int, Tensor] = {}
        with torch.no_grad():
            keep = {place: lambda x, place=place: self.found.setdefault(place, x) for place in (5, 8, 11, 14)}
            self.output = encoder(picture(), keep)

    def forward(self, x: Tensor, after: Mapping[int, Callable[[Tensor], Tensor]] | None = None) -> Tensor:
        for place, kept in (after or {}).items():
            kept(self.found[place])
        return self.output.expand(len(x), -1, -1, -1)


@pytest.fixture(scope="module")
def golden(paper) -> Mapping[str, np.ndarray]:
    return np.load(paper / "golden.npz")


@pytest.fixture(scope="module")
def encoded() -> Encoded:
    return Encoded(golden_model("nearest").encoder)


def score_of(case: str, score: float) -> Tensor:
    return torch.tensor([[score, 0.91, 0.5, 0.91]]) if case == "dual_add_bins" else torch.tensor([score])


@pytest.mark.parametrize("case", SIZES)
@torch.no_grad()
def test_codes_are_those_of_the_authors_class(golden, encoded, case):
    model = golden_model(case)
    model.encoder = encoded
    for call, (score, _, _) in CALLS.items():
        logits, features = model(picture(), score_of(case, score), code_only=True)
        np.testing.assert_allclose(some(features, 64), golden[f"{case}/{call}/feat"], atol=1e-4)
        np.testing.assert_allclose(some(logits, 256), golden[f"{case}/{call}/logits"], atol=1e-4)
        assert np.array_equal(logits.argmax(2).flatten().numpy(), golden[f"{case}/{call}/codes"].flatten())


def check_pictures(golden: Mapping[str, np.ndarray], encoded: Encoded, case: str, calls: str) -> None:
    model = golden_model(case)
    model.encoder = encoded
    for call in calls:
        score, w, adain = CALLS[call]
        image = model(picture(), score_of(case, score), w=w, adain=adain)[0]
        np.testing.assert_allclose(some(image, 64), golden[f"{case}/{call}/image"], atol=1e-4)


@torch.no_grad()
def test_a_picture_is_that_of_the_authors_class(golden, encoded):
    check_pictures(golden, encoded, "dual_add", "c")


@pytest.mark.slow
@pytest.mark.parametrize("case", SIZES)
@torch.no_grad()
def test_every_picture_is_that_of_the_authors_class(golden, encoded, case):
    check_pictures(golden, encoded, case, "abc")


@torch.no_grad()
def test_the_tokenizer_is_that_of_the_authors(golden, encoded):
    with torch.device("meta"):
        tokenizer = IQPIRTokenizer(IQPIRConfig())
    tokenizer.load_state_dict(weights_of(tokenizer.state_dict()), assign=True)
    tokenizer.encoder = encoded
    found = tokenizer.quantise(picture().expand(2, -1, -1, -1), torch.tensor([True, False]))
    for place, name in enumerate(("rich", "poor")):
        costs = [float(cost[place]) for cost in found.costs]
        np.testing.assert_allclose(costs, golden[f"tokenizer/{name}/losses"], atol=1e-4)
    image = tokenizer.generator(found.grid[1:])
    np.testing.assert_allclose(some(image, 64), golden["tokenizer/poor/image"], atol=1e-4)


@pytest.mark.parametrize("variant", KEYS)
def test_keys_and_shapes_are_those_of_the_authors_class(paper, variant):
    known = json.loads((paper / "state_dict_keys.json").read_text())
    expected = known["base"] | known["variants"][variant]["added_or_changed_vs_base"]
    for key in known["variants"][variant]["missing_vs_base"]:
        del expected[key]
    with torch.device("meta"):
        state = IQPIR(IQPIRConfig(**KEYS[variant])).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == expected
    assert IQPIRConfig.of_state(state) == IQPIRConfig(**KEYS[variant])


# -- a small instance and its file

SCORED = {"score": "map", "rows": (10,), "books": 2}


def model_of(**sizes: Any) -> IQPIR:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = iqpir(**SCORED | sizes)
        shake(model)
        nn.init.normal_(model.idx_pred_layer[1].weight)
        for book, _ in model.books:
            nn.init.normal_(book.embedding.weight)
    return model.eval()


@pytest.fixture
def model() -> IQPIR:
    return model_of()


@pytest.fixture
def file(model, tmp_path) -> Path:
    """As the authors' training leaves it."""
    own = {key: value + 1 for key, value in model.state_dict().items()}
    torch.save({"params": own, "params_ema": model.state_dict()}, tmp_path / "iqpir.pth")
    return tmp_path / "iqpir.pth"


def lq(count: int = 2, side: int = 32) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


class Official(nn.Module):
    """Stands for an instance of the authors' class: its parts by name, a call that insists on a score, and no more."""

    def __init__(self, model: IQPIR):
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)
        self.position_emb = model.position_emb
        self.__dict__["inner"] = model

    def forward(
        self, x: Tensor, score: Tensor | None = None, w: float = 0, detach_16: bool = True, code_only: bool = False,
        adain: bool = False,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        assert score is not None
        return self.inner(x, score, w, detach_16, code_only, adain)


DOORS: dict[str, Callable[[Path, IQPIR], Any]] = {
    "load(file)": lambda file, model: iqp.load(file),
    "wrap(file)": lambda file, model: iqp.wrap(file),
    "load(official)": lambda file, model: iqp.load(Official(model)),
    "wrap(ours)": lambda file, model: iqp.wrap(model),
}


@pytest.fixture(params=DOORS)
def door(request, file, model) -> Any:
    return DOORS[request.param](file, model)


def authors(model: IQPIR, score: float | Tensor, pictures: Tensor, w: float = 0) -> Tensor:
    """What the authors' commands make of pictures in [0, 1]."""
    return (model(2 * pictures - 1, score, w=w, adain=True)[0] / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def test_a_file_of_theirs_restores_as_they_do(door, model):
    assert door.takes_quality and door.decides_codes and door.resolution == 32
    assert door.licence == "S-Lab License 1.0 (non-commercial)" or door is model
    for quality, row in {"best": 9, 0.95: 9, 0.5: 8, "any": 8, 0.0: 0}.items():
        expected = authors(model, row / 10 + 0.05, lq())
        torch.testing.assert_close(door.restore(lq(), quality=quality), expected)
    scores = torch.tensor([0.95, 0.55])
    torch.testing.assert_close(door.restore(lq(), score=scores), authors(model, scores, lq()))
    each = torch.tensor([0.95, float("nan")])
    torch.testing.assert_close(door.restore(lq(), quality=each), authors(model, torch.tensor([0.95, 0.85]), lq()))


@torch.no_grad()
def test_nothing_asked_for_is_the_commonest_row(door, model):
    torch.testing.assert_close(door.restore(lq(), quality=None), authors(model, 0.85, lq()))


@torch.no_grad()
def test_pictures_of_other_sizes_are_brought_to_its_own(door):
    assert door.restore(lq(1, side=48)).shape == (1, 3, 48, 48)


def test_fidelity_is_refused_until_it_was_trained(door, model):
    assert not is_trained(model.fuse_convs_dict)
    with pytest.raises(ValueError, match=r"fidelity is 0\.5, but the fidelity path of this IQPIR was never trained"):
        door.restore(lq(), fidelity=0.5)
    door.restore(lq(), fidelity=0.0)
    network = door.bare if isinstance(door, iqp.WrappedHost) else door
    with torch.no_grad():
        network.fuse_convs_dict["16"].encode_enc.norm1.bias[0] += 1e-6
        plain, fused = door.restore(lq()), door.restore(lq(), fidelity=0.5)
    assert not torch.equal(plain, fused)


class Brightness(iqp.Scorer):
    """Rises with the red of a picture, which no code of the model rules out."""

    def __init__(self) -> None:
        super().__init__("piqe")
        self.metric, self.differentiable, self.lower_better = "redness", True, False

    def __call__(self, images: Tensor) -> Tensor:
        return 100 * images[:, 0].mean((1, 2))


@pytest.mark.parametrize("way", ["optimise", "best_of"])
@pytest.mark.parametrize("fidelity", [None, 0.5])
def test_codes_of_both_books_are_decided_anew(door, way, fidelity):
    network = door.bare if isinstance(door, iqp.WrappedHost) else door
    with torch.no_grad():
        network.fuse_convs_dict["16"].encode_enc.norm1.bias += 0.1
    options = {"steps": 4, "kl_weight": 0.0} if way == "optimise" else {"samples": 4}
    asked = {} if fidelity is None else {"fidelity": fidelity}
    before = door.restore(lq(), quality="best", **asked)
    after = getattr(door, way)(lq(), metric=Brightness(), quality="best", **asked, **options)
    assert (after[:, 0].mean((1, 2)) >= before[:, 0].mean((1, 2)) - 1e-6).all()
    assert not torch.allclose(after, before)


def test_decided_codes_decode_to_the_restored_picture(door):
    for quality in ("best", 0.2):
        with door.deciding(lq(), quality, None, {}) as decision:
            assert [logits.shape for logits in decision.logits] == [(2, 64, 16)] * 2
            own = tuple(nn.functional.one_hot(x.argmax(-1), 16).float() for x in decision.logits)
            torch.testing.assert_close(decision.decode(own), door.restore(lq(), quality=quality))


@torch.no_grad()
def test_the_weight_of_the_second_book_can_be_changed(file, model):
    ours = iqp.load(file)
    ours.alpha = model.alpha = 0.3
    torch.testing.assert_close(ours.restore(lq(), score=0.95), authors(model, 0.95, lq()))
    assert ours.fingerprint() != iqp.load(file).fingerprint()


def test_a_model_without_a_score_has_no_dial(tmp_path):
    model = model_of(score="none", rows=())
    torch.save(model.state_dict(), tmp_path / "net.pth")
    plain = iqp.load(tmp_path / "net.pth")
    assert isinstance(plain, IQPIR) and not plain.takes_quality and plain.conditioned_on == ()
    with pytest.raises(ValueError, match="takes no score"):
        plain.restore(lq(), score=0.9)
    torch.testing.assert_close(iqp.wrap(Official(model)).restore(lq()), plain.restore(lq()))


@pytest.mark.parametrize("sizes", [{"books": 1}, {"score": "adain"}, {"rows": (20, 20)}, {"fused": ()}], ids=str)
def test_every_variant_is_recognised_and_built(tmp_path, sizes):
    model = model_of(**sizes)
    torch.save({"params_ema": model.state_dict()}, tmp_path / "net.pth")
    loaded = iqp.load(tmp_path / "net.pth")
    assert loaded.config == model.config
    expected, wrapped = loaded.restore(lq(), quality="best"), iqp.wrap(loaded)
    torch.testing.assert_close(wrapped.restore(lq(), quality="best"), expected)
    assert not torch.equal(wrapped.restore(lq(), quality=0.0), expected)
    with wrapped.deciding(lq(), "best", None, {}) as decision:
        assert len(decision.logits) == model.config.books


def test_inpainting_is_called_as_its_authors_do(tmp_path):
    model = model_of(fused=(8,), widths=(32, 32, 32, 32))
    assert model.paints_holes
    with torch.no_grad():
        for norm in [part for part in model.fuse_convs_dict.modules() if isinstance(part, nn.GroupNorm)]:
            norm.bias += 0.5
        expected = (model(2 * lq() - 1, 0.95, w=1)[0] / 2 + 0.5).clamp(0, 1)
    for restorer in (model, iqp.wrap(model)):
        torch.testing.assert_close(restorer.restore(lq(), quality="best"), expected)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"scale": 2.0}, "no guidance"),
        ({"score": 1.5}, "score"),
        ({"quality": 3}, "quality must lie in"),
        ({"strength": 1}, "has no strength; it takes fidelity and score"),
    ],
)
def test_what_it_does_not_take_is_refused_in_one_line(model, asked, message):
    with pytest.raises(ValueError, match=message) as error:
        model.restore(lq(), **asked)
    assert "\n" not in str(error.value)


def test_their_call_needs_a_score(model):
    with pytest.raises(ValueError, match="needs a score from 0 to 1"):
        model(lq())
    with pytest.raises(ValueError, match=r"score has shape \(2, 1, 1\)"):
        model(lq(), torch.zeros(2, 1, 1))


def test_scores_of_one_take_the_last_row(model):
    rows = [model(lq(1), score)[2] for score in (0.95, 1.0)]
    assert torch.equal(*rows)


def test_gradients_pass_straight_through_where_they_are_asked_for(model):
    image, _, features = model(lq(1), 0.9, detach_16=False)
    [gradient] = torch.autograd.grad(image.sum(), features, retain_graph=True)
    assert gradient.abs().sum() > 0
    with pytest.raises(RuntimeError):
        torch.autograd.grad(model(lq(1), 0.9)[0].sum(), model.encoder.blocks[0].weight)


def test_it_is_saved_and_loaded(model, tmp_path):
    model.alpha = 0.5
    model.save_pretrained(tmp_path / "own", training={"steps": 1})
    again = iqp.load(tmp_path / "own")
    assert isinstance(again, IQPIR) and again.alpha == 0.5 and again.licence == ""
    assert torch.equal(again.restore(lq()), model.restore(lq()))
    with pytest.raises(ValueError, match="holds no IQPFR"):
        iqp.IQPFR.from_pretrained(tmp_path / "own")
    with pytest.raises(ValueError, match="holds no IQPIR"):
        IQPIR.from_pretrained(Path(iqp.__file__).parent / "weights" / "iqpfr-tiny")


@pytest.mark.parametrize("key", ["quantize.embedding.weight", "position_emb", "encoder.blocks.2.conv.weight"])
def test_a_file_that_is_not_whole_is_refused_in_one_line(model, tmp_path, key):
    state = model.state_dict()
    del state[key]
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises((ValueError, ImportError)) as error:
        iqp.wrap(tmp_path / "net.pth")
    assert "\n" not in str(error.value)


def test_an_adapter_goes_beside_its_dial(model, tmp_path):
    wrapped = iqp.wrap(model)
    best = wrapped.restore(lq(), quality="best")
    for block in wrapped.adapters["default"].blocks.values():
        nn.init.ones_(block.gate)
    wrapped.save_pretrained(tmp_path / "adapter")
    both = wrapped.restore(lq(), quality="best")
    assert not torch.equal(both, best)
    again = iqp.load(wrapped.unwrap(), adapter=tmp_path / "adapter")
    assert torch.equal(again.restore(lq(), quality="best"), both)


@pytest.fixture
def work(file, monkeypatch) -> Iterator[Path]:
    monkeypatch.chdir(file.parent)
    from skimage.data import astronaut

    for place, name in enumerate(("ann_1", "bob_1")):
        Image.fromarray(astronaut()[20 * place : 20 * place + 128, 150:278]).save(f"{name}.png")
    yield file.parent


def test_a_person_needs_one_command(work):
    for quality in ("best", "0.1"):
        options = ["--model", "iqpir.pth", "--quality", quality, "-o", f"out-{quality}", "--aligned", "--force"]
        ran = CliRunner().invoke(app, ["restore", "ann_1.png", "bob_1.png", *options, "--report", f"{quality}.json"])
        assert ran.exit_code == 0, ran.output
        assert "licence of IQPIR: S-Lab License 1.0 (non-commercial)" in ran.output
    best, poor = (np.asarray(Image.open(f"out-{quality}/ann_1.png")) for quality in ("best", "0.1"))
    assert best.shape == (128, 128, 3) and not np.array_equal(best, poor)


def test_it_is_compared_like_any_model(work):
    (work / "lq").mkdir()
    for name in ("ann_1", "bob_1"):
        (work / f"{name}.png").rename(work / "lq" / f"{name}.png")
    ran = CliRunner().invoke(app, ["bench", "--lq", "lq", "--model", "iqpir.pth", "-m", "piqe", "-o", "bench"])
    assert ran.exit_code == 0, ran.output
    report = json.loads((work / "bench" / "report.json").read_text())
    assert [method["name"] for method in report["methods"]] == ["input", "iqpir, best", "iqpir, any"]
    assert report["methods"][1]["facts"]["licence"] == "S-Lab License 1.0 (non-commercial)"
