"""Retrained hosts: what leads to the codes learns and stands in, and the host is handed back as it was given."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import stand_ins
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import iqp_adapter as iqp
from iqp_adapter import ScoreScale, Site
from iqp_adapter.bench.candidates import candidates
from iqp_adapter.hosts.card import model_card
from iqp_adapter.hosts.hooks import is_wrapped
from iqp_adapter.hosts.spec import fingerprint
from iqp_adapter.store import checkpoint

SCALE = ScoreScale("iqp-lite", False, (0.0, 50.0, 100.0))
LQ = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
FEATURES = {"codeformer": "encoder.blocks.12", "vqfr": "encoder.conv_out", "daefr": "cross_attention"}
MAKERS: dict[str, Callable[[], nn.Module]] = {
    "codeformer": lambda: stand_ins.CodeFormer(1, 2),
    "vqfr": lambda: stand_ins.VQFRv2(1),
    "daefr": lambda: stand_ins.DAEFR(1, 2),
}


def built(kind: str = "codeformer", seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MAKERS[kind]().eval()


def retrained(host: nn.Module, block: str = "score_map", **sizes: Any) -> iqp.WrappedHost:
    """As it is before a step of training."""
    kind = next(kind for kind in MAKERS if isinstance(host, type(built(kind))))
    site = Site(FEATURES[kind], 8, "BCHW")
    model = iqp.wrap(host, kind=kind, sites=[site], scales=[SCALE], block=block, **sizes)
    model.retrain()
    return model.eval()


def learned(host: nn.Module, block: str = "score_map") -> iqp.WrappedHost:
    """As if it had learned: every parameter is another one, in numbers that float16 has."""
    model, generator = retrained(host, block), torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
        parameter.data = parameter.data.half().float()
    return model


class Kept:
    """A host as it is now, to the bit and to the object."""

    def __init__(self, host: nn.Module):
        self.host = host
        self.parameters = dict(host.named_parameters())
        self.values = {key: value.clone() for key, value in host.state_dict().items()}
        self.flags = {name: parameter.requires_grad for name, parameter in self.parameters.items()}

    def check(self) -> None:
        now = dict(self.host.named_parameters())
        assert list(now) == list(self.parameters) and all(now[name] is each for name, each in self.parameters.items())
        assert all(torch.equal(value, self.values[key]) for key, value in self.host.state_dict().items())
        assert {name: each.requires_grad for name, each in now.items()} == self.flags
        assert not is_wrapped(self.host) and not self.host._forward_hooks


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    learned(built()).save_pretrained(tmp_path / "adapter", licence="mit")
    return tmp_path / "adapter"


LEADING = {
    "codeformer": {"encoder", "position_emb", "feat_emb", "ft_layers", "idx_pred_layer"},
    "vqfr": {"encoder", "feat2index"},
    "daefr": {"vqvae.encoder", "vqvae.quant_conv", "vqvae.HQ_encoder", "vqvae.HQ_quant_conv", "cross_attention"}
    | {"position_emb", "feat_emb", "ft_layers", "idx_pred_layer"},
}


@pytest.mark.parametrize("kind", MAKERS)
def test_what_leads_to_the_codes_learns_and_nothing_else(kind):
    host = built(kind)
    model = retrained(host)
    names = set(model.adapters["default"].retrained.named())
    dead = {name for name, _ in host.named_parameters() if ".attn" in name and ".norm2." in name}  # of daefr's encoders
    leading = {name for name, _ in host.named_parameters() if name.startswith(tuple(LEADING[kind]))}
    assert names == leading - dead
    assert {name for name, _ in host.named_parameters()} > names, "codebook and decoder are the host's"
    start = {name: each.clone() for name, each in host.named_parameters()}
    codes = model.train().codes
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    with model.conditioned(torch.tensor([0.3, float("nan")])):
        features, logits = model.codes_in(LQ).decided()
    entries = codes.codebook(model.bare)[torch.zeros(logits.shape[:2], dtype=torch.long)]
    (mse_loss(features, entries) + mse_loss(logits, torch.ones_like(logits))).backward()
    adam.step()
    moved = {name for name, each in host.named_parameters() if not torch.equal(each, start[name])}
    assert moved == names
    assert all(name in names or each.grad is None for name, each in host.named_parameters())


def test_the_codebook_does_not_learn_where_the_logits_depend_on_it():
    with torch.random.fork_rng():
        host = stand_ins.CodeFormer(1, 1, width=16)
    host.idx_pred_layer[1].weight = host.quantize.embedding.weight
    model = iqp.wrap(host, kind="codeformer", sites=[Site("encoder.blocks.12", 16, "BCHW")])
    model.retrain()
    assert host.idx_pred_layer[1].weight is host.quantize.embedding.weight
    assert all(each is not host.quantize.embedding.weight for each in model.parameters())
    assert "idx_pred_layer.0.weight" in model.adapters["default"].retrained.named()


def test_what_stands_in_learns_whatever_the_owner_of_the_host_has_frozen():
    host = built()
    host.requires_grad_(False)
    model = retrained(host).train()
    with model.conditioned(0.3):
        model.codes_in(LQ).logits()
    model(LQ)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not host.quantize.embedding.weight.requires_grad
    model.unwrap()
    assert not any(parameter.requires_grad for parameter in host.parameters())


@pytest.mark.parametrize("kind", MAKERS)
@torch.no_grad()
def test_before_a_step_it_answers_as_the_host_does(kind):
    host = built(kind)
    bare = iqp.wrap(host).restore(LQ)
    model = retrained(copy.deepcopy(built(kind)))
    for quality in (None, "any", 0.1, "best"):
        assert torch.equal(model.restore(LQ, quality=quality), bare)


@pytest.mark.parametrize("block", ["score_map", "attention"])
@torch.no_grad()
def test_without_a_preference_it_is_the_retrained_host_to_which_nothing_is_added(block):
    host = built()
    bare = iqp.wrap(host).restore(LQ)
    model = learned(built(), block)
    anything = model.restore(LQ, quality="any")
    assert not torch.equal(anything, bare)
    for same in ({"quality": None}, {}, {"quality": 0.9, "scale": 0}, {"quality": torch.full((2,), torch.nan)}):
        assert torch.equal(model.restore(LQ, **same), anything), same
    assert torch.equal(model.spec.restore(model.host, LQ).clamp(0, 1), anything), "as a call of the host itself"
    assert not torch.equal(model.restore(LQ, quality=0.9), anything)
    mixed = model.restore(LQ, quality=torch.tensor([0.9, torch.nan]))
    torch.testing.assert_close(mixed[1], anything[1])
    torch.testing.assert_close(mixed[0], model.restore(LQ, quality=0.9)[0])
    model.quality = "any"
    assert torch.equal(model.restore(LQ), anything)
    with model.as_given():
        assert torch.equal(model.restore(LQ, quality=None), bare)
        with model.as_given():
            pass
        assert torch.equal(model.restore(LQ, quality=None), bare)
    assert torch.equal(model.restore(LQ, quality=None), anything)


def test_a_wrong_number_of_qualities_or_scales_is_one_line():
    model = learned(built())
    for asked in ({"quality": torch.rand(3)}, {"quality": torch.rand(2), "scale": torch.rand(3)}):
        with pytest.raises(ValueError, match="quality or scale has 3 rows, the batch has 2 pictures"):
            model.restore(LQ, **asked)


def raising(model: iqp.WrappedHost) -> None:
    handle = model.host.generator.register_forward_pre_hook(lambda *_: None)
    hook = model.host.generator.blocks[0].register_forward_pre_hook(lambda *_: [][0])
    with pytest.raises(IndexError):
        model.restore(LQ, quality=0.9)
    with pytest.raises(IndexError), model.as_given():
        model.restore(LQ, quality=None)
    handle.remove(), hook.remove()


def moving(model: iqp.WrappedHost) -> None:
    model.double().float()
    assert {parameter.dtype for parameter in model.host.parameters()} == {torch.float32}


def training(model: iqp.WrappedHost) -> None:
    adam = torch.optim.Adam(model.train().parameters(), lr=1e-2)
    for _ in range(3):
        with model.conditioned(0.3):
            model.codes_in(LQ).logits().square().mean().backward()
        adam.step()


def refusing(model: iqp.WrappedHost) -> None:
    other = iqp.wrap(built())
    with pytest.raises(ValueError, match="the adapter of a retrained host works alone, and there would be 2; load it"):
        model.add_adapter("other", other.adapters["default"])
    with pytest.raises(ValueError, match="a host is retrained once, with a single adapter"):
        model.retrain()


def copying(model: iqp.WrappedHost) -> None:
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        before = Kept(model.host)
        assert torch.equal(twin.restore(LQ, quality=0.9), model.restore(LQ, quality=0.9))
        training(twin)
        assert all(map(torch.equal, model.host.state_dict().values(), before.values.values()))
        host = twin.unwrap()
        assert all(map(torch.equal, host.state_dict().values(), built().state_dict().values()))


@pytest.mark.parametrize(
    "events",
    [(), (training,), (raising,), (moving,), (refusing,), (copying,)],
    ids=lambda some: "".join(each.__name__ for each in some) or "nothing",
)
def test_the_host_is_handed_back_to_the_bit_and_to_the_object(events):
    host = built()
    for index, parameter in enumerate(host.parameters()):
        parameter.requires_grad_(index % 3 != 0)
    kept = Kept(host)
    model = learned(host)
    changed = [name for name, each in host.named_parameters() if each is not kept.parameters[name]]
    assert len(changed) > 20, "others stand in"
    for event in events:
        event(model)
    after = model.restore(LQ, quality=0.9)
    assert model.unwrap() is host
    kept.check()
    if not events:
        model = learned(host)
        assert torch.equal(model.restore(LQ, quality=0.9), after), "it can be wrapped again"
        model.unwrap()
        kept.check()


def test_a_host_that_its_owner_moved_gets_its_own_parameters_there():
    host = built()
    model = learned(host)
    host.double()
    model.unwrap()
    assert {parameter.dtype for parameter in host.parameters()} == {torch.float64}


class Tied(nn.Module):
    """One parameter under two names, the second of which leads to no codes."""

    def __init__(self) -> None:
        super().__init__()
        for name, part in stand_ins.CodeFormer(1, 1).named_children():
            setattr(self, name, part)
        self.position_emb = nn.Parameter(torch.randn(256, 16))
        self.connect_list, self.fuse_encoder_block, self.fuse_generator_block = ["32"], {"32": 2}, {"32": 11}
        self.generator.blocks[1][1].weight = self.encoder.blocks[1][1].weight

    forward, predict = stand_ins.CodeFormer.forward, stand_ins.CodeFormer.predict


def test_a_parameter_with_two_names_is_one_parameter(tmp_path):
    host = Tied().eval()
    known, own = fingerprint(host.state_dict()), host.encoder.blocks[1][1].weight
    model = iqp.wrap(host, kind="codeformer", sites=[Site("encoder.blocks.12", 8, "BCHW")], block="score_map")
    model.retrain()
    other = host.encoder.blocks[1][1].weight
    assert other is not own and host.generator.blocks[1][1].weight is other
    other.data += 1
    model.save_pretrained(tmp_path / "tied")
    config, _ = checkpoint.load(tmp_path / "tied")
    assert {key: config["host"][key] for key in known} == known
    model.unwrap()
    assert host.encoder.blocks[1][1].weight is own and host.generator.blocks[1][1].weight is own


@torch.no_grad()
def test_a_call_of_the_host_by_another_thread_is_the_retrained_host():
    model = learned(built())
    anything, wanted = model(LQ)[0], model(LQ, quality=0.9)[0]

    def asked(index: int) -> bool:
        with torch.no_grad():
            return (
                torch.equal(model.host(LQ)[0], anything)
                if index % 2
                else torch.equal(model(LQ, quality=0.9)[0], wanted)
            )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(asked, range(60)))


@torch.no_grad()
def test_compiled_it_is_as_it_was_and_so_is_the_host_after_it():
    host = built()
    bare = host(LQ)[0]
    model = learned(host)
    compiled = torch.compile(model, backend="eager")
    for quality in (0.9, "any", torch.tensor([0.2, torch.nan]), None):
        assert torch.equal(compiled(LQ, quality=quality)[0], model(LQ, quality=quality)[0])
    model.unwrap()
    assert torch.equal(torch.compile(host, backend="eager")(LQ)[0], bare)


# -- on disk


@torch.no_grad()
def test_what_is_loaded_is_what_was_saved(saved):
    model, loaded = learned(built()), iqp.wrap(built(), adapter=saved)
    assert list(loaded.state_dict()) == list(model.state_dict())
    assert all(map(torch.equal, loaded.state_dict().values(), model.state_dict().values()))
    assert loaded.quality == "best" and not loaded.training
    for quality in (None, "any", 0.2, "best"):
        assert torch.equal(loaded.restore(LQ, quality=quality), model.restore(LQ, quality=quality))
    host = loaded.unwrap()
    assert all(map(torch.equal, host.state_dict().values(), built().state_dict().values()))


def test_the_file_has_a_kind_of_its_own_half_digits_and_the_fingerprint_of_the_host_as_given(saved, tmp_path):
    config, state = checkpoint.load(saved)
    assert config["kind"] == "retrained" and config["retrained"] == sorted(LEADING["codeformer"])
    known = fingerprint(built().state_dict())
    assert {key: config["host"][key] for key in known} == known
    ours = {key for key in state if not key.startswith("retrained.")}
    assert ours == {"blocks.encoder-blocks-12.table", "blocks.encoder-blocks-12.no_preference"}
    assert {state[key].dtype for key in ours} == {torch.float32}
    assert {value.dtype for key, value in state.items() if key not in ours} == {torch.float16}
    names = retrained(built()).adapters["default"].retrained.named()
    assert state.keys() - ours == {f"retrained.{name}" for name in names}
    iqp.wrap(built(), adapter=saved).save_pretrained(tmp_path / "again")
    again, same = checkpoint.load(tmp_path / "again")
    assert again == config and all(torch.equal(value, same[key]) for key, value in state.items())


def test_numbers_beyond_float16_are_refused_and_nothing_is_written(tmp_path):
    model = retrained(built())
    model.host.feat_emb.weight.data[0, 0] = 7e4
    said = "retrained.feat_emb.weight reaches 7e.04, which torch.float16 does not have; pass dtype=torch.float32"
    with pytest.raises(ValueError, match=said):
        model.save_pretrained(tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
    model.save_pretrained(tmp_path / "adapter", dtype=torch.float32)
    assert iqp.wrap(built(), adapter=tmp_path / "adapter").host.feat_emb.weight[0, 0] == 7e4


def changed(folder: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], Any]) -> Path:
    """The checkpoint saved again, with another config or state."""
    config, state = checkpoint.load(folder)
    change(config, state)
    checkpoint.save(folder, state, config)
    return folder


def drop_all(config: dict[str, Any], state: dict[str, Tensor]) -> None:
    for key in [key for key in state if key.startswith("retrained.")]:
        del state[key]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda config, state: state.update({"retrained.no.where": torch.ones(2)}),
            "no module has the sizes of .*where",
        ),
        (
            lambda config, state: state.update({"retrained.feat_emb.bias": torch.ones(2)}),
            r"does not fit Adapter: .* \(retrained.feat_emb.bias \(2,\) for \(16,\)\) of another shape",
        ),
        (
            lambda config, state: state.update({"retrained.feat_emb.bias": torch.full((16,), torch.nan)}),
            "holds NaN or infinity in 1 .retrained.feat_emb.bias",
        ),
        (drop_all, "is of kind 'retrained' and holds 0 tensors of its host; save it again"),
        (
            lambda config, state: config.update(kind="adapter"),
            r"is of kind 'adapter' and holds \d+ tensors of its host",
        ),
        (lambda config, state: config["host"].update(values="0"), "was trained for other weights of codeformer; load"),
        (lambda config, state: config["host"].update(name="daefr"), "was trained for daefr"),
    ],
)
def test_what_does_not_fit_is_one_line_and_the_host_is_as_it_was(change, said, saved):
    host = built()
    kept = Kept(host)
    with pytest.raises(ValueError, match=said) as caught:
        iqp.wrap(host, adapter=changed(saved, change))
    assert "\n" not in str(caught.value)
    kept.check()


def test_it_is_loaded_onto_other_weights_where_that_is_allowed(saved):
    host = built(seed=3)
    kept = Kept(host)
    with pytest.raises(ValueError, match="was trained for other weights of codeformer"):
        iqp.wrap(host, adapter=saved)
    kept.check()
    model = iqp.wrap(host, adapter=saved, allow_other_weights=True)
    assert torch.equal(model.host.feat_emb.weight, learned(built()).host.feat_emb.weight)
    assert torch.equal(model.host.quantize.embedding.weight, kept.values["quantize.embedding.weight"])
    model.unwrap()
    kept.check()


def test_it_works_alone(saved, tmp_path):
    host = built()
    model = iqp.wrap(host)
    model.save_pretrained(tmp_path / "plain")
    kept = Kept(host)
    with pytest.raises(ValueError, match="the adapter of a retrained host works alone, and there would be 2"):
        model.add_adapter("theirs", saved)
    assert all(now is before for now, before in zip(host.parameters(), kept.parameters.values(), strict=True))
    assert list(model.adapters) == list(model.adapter_weights) == ["default"]
    model.unwrap()
    with pytest.raises(ValueError, match="the adapter of a retrained host works alone"):
        iqp.wrap(host, adapter=saved).add_adapter("plain", tmp_path / "plain")


def test_an_adapter_of_another_host_is_refused_before_anything_stands_in():
    theirs = learned(built("daefr")).adapters["default"]
    model = iqp.wrap(built())
    model.dial.adapters.clear(), model.dial.weights.clear()
    with pytest.raises(ValueError, match="CodeFormer has no vqvae.*, which was retrained; load it onto the host that"):
        model._attached.stand_ins.check(theirs.retrained.named())


@pytest.mark.parametrize("kind", ["gpen", "vqfr_v1"])
def test_a_host_without_a_single_codebook_is_refused(kind):
    host = {"gpen": lambda: stand_ins.GPEN(2), "vqfr_v1": lambda: stand_ins.VQFRv1(1)}[kind]()
    kept = Kept(host)
    model = iqp.wrap(host)
    with pytest.raises(ValueError, match=f"{kind} has no single codebook to decide from, so that nothing leads to"):
        model.retrain()
    model.unwrap()
    kept.check()


def test_it_runs_in_half_precision_where_the_host_does(saved):
    host = built().bfloat16()
    model = iqp.wrap(host, adapter=saved, allow_other_weights=True)
    assert {parameter.dtype for parameter in host.parameters()} == {torch.bfloat16}
    model.unwrap()
    assert {parameter.dtype for parameter in host.parameters()} == {torch.bfloat16}


# -- what is told of it


def test_a_description_and_a_card_tell_what_was_retrained(saved):
    model = iqp.wrap(built(), adapter=saved)
    size = sum(parameter.numel() for parameter in built().parameters())
    count = sum(parameter.numel() for parameter in model.adapters["default"].retrained.parameters())
    lines = model.describe().splitlines()
    assert lines[0].startswith(f"codeformer: {size:,} parameters, {count:,} of them retrained, the others frozen; http")
    model.quality = None
    assert model.describe().endswith("default quality: none, which is the retrained host")
    config, _ = checkpoint.load(saved)
    card = model_card(config, "me/thing")
    assert "which were trained further" in card and "`ft_layers`, `idx_pred_layer`, `position_emb`" in card
    assert "S-Lab License 1.0 (non-commercial)) is theirs too" in card and "holds no weight" not in card
    assert "## Further facts" not in card


@torch.no_grad()
def test_pictures_of_other_retrained_weights_are_stale(saved, tmp_path):
    model = iqp.wrap(built(), adapter=saved)
    bare = iqp.wrap(built())
    known = {quality: model.fingerprint(quality) for quality in (None, "best")}
    assert known[None] != bare.fingerprint(None)
    assert iqp.wrap(built(), adapter=saved).fingerprint("best") == known["best"]
    model.host.feat_emb.weight[0, 0] += 1
    assert all(model.fingerprint(quality) != before for quality, before in known.items())


def test_a_benchmark_compares_with_the_host_as_it_was_given(saved, monkeypatch, tmp_path):
    made: list[nn.Module] = []

    def load_host(source: Any, kind: Any = None, into: Any = None, **options: Any) -> nn.Module:
        if isinstance(source, nn.Module):
            return source
        made.append(built())
        return made[-1]

    for module in ("loader", "hosts.wrapped"):
        monkeypatch.setattr(f"iqp_adapter.{module}.load_host", load_host)
    learned(built()).save_pretrained(tmp_path / "adapter")
    _, bare, best = candidates(["codeformer.pth"], [str(tmp_path / "adapter")], ["best"])
    assert (bare.facts["weights"], bare.quality) == (iqp.wrap(built()).fingerprint(None), None)
    assert best.facts["weights"] == iqp.wrap(built(), adapter=tmp_path / "adapter").fingerprint("best")
    assert len(made) == 2
