"""Every host is left as it was found, in whatever form it comes, whether wrapping works or fails."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stand_ins
import torch
from torch import Tensor, nn

import iqp_adapter as iqp
from iqp_adapter import Site
from iqp_adapter.core.adapter import Adapter
from iqp_adapter.hosts.hooks import is_wrapped
from iqp_adapter.store import checkpoint

SITES = [Site("body.0", 8, "BCHW"), Site("body.3", 8, "BCHW")]


class Net(nn.Module):
    """Statistics and dropout between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 1)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Dropout(0.5), nn.Conv2d(8, 8, 1))
        self.tail = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.body(self.head(x)))


class Counting(Net):
    """Counts its calls in its state."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


class Windows(Net):
    """Takes sides that are a multiple of 8."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.unflatten(-1, (-1, 8)).flatten(-2).unflatten(-2, (-1, 8)).flatten(-3, -2))


class Fixed(Net):
    """Takes 16 px alone."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(3, 16, 16))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + self.position)


class Twice(Windows):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(super().forward(x), scale_factor=2)


def seeded(make: Callable[[], nn.Module]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def state_of(host: nn.Module) -> Any:
    """All that wrapping could change."""
    return {
        "modes": [module.training for module in host.modules()],
        "learning": [parameter.requires_grad for parameter in host.parameters()],
        "values": [value.clone() for value in host.state_dict().values()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in host.modules()],
    }


def equal(one: Any, other: Any) -> bool:
    values = all(map(torch.equal, one.pop("values"), other.pop("values")))
    return values and one == other


def pictures(*size: int) -> Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(0))


def opened(model: iqp.WrappedHost) -> iqp.WrappedHost:
    for adapter in model.adapters.values():
        for block in adapter.blocks.values():
            nn.init.ones_(block.gate)
    return model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    opened(iqp.wrap(seeded(Net), sites=SITES)).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def elsewhere(folder: Path) -> Path:
    """The adapter, saved for a site that the host has not."""
    config, state = checkpoint.load(folder)
    config["adapter"]["sites"][1]["path"] = "body.9"
    moved = {key.replace("body-3", "body-9"): value for key, value in state.items()}
    checkpoint.save(folder, moved, config)
    return folder


FAILURES: dict[str, tuple[dict[str, Any], str]] = {
    "no such site": ({"sites": [SITES[0], Site("body.9", 8, "BCHW")]}, "Net has no submodule 'body.9'"),
    "no site": ({"sites": []}, "no sites, so nothing would be conditioned"),
    "no such block": ({"sites": SITES, "block": "magic"}, "unknown block 'magic'"),
    "no such size": ({"sites": SITES, "rows": 3}, "block 'attention' has no rows"),
    "a wrong example": ({"sites": "auto", "example": torch.rand(1, 4, 8, 8)}, "Net does not run on"),
    "no example": ({"sites": "auto"}, "sites='auto' watches the host run"),
    "no such kind": ({"kind": "gfpgn"}, "unknown host 'gfpgn'"),
    "not known": ({}, "Net is no known host"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_wrap_that_fails_leaves_nothing(name):
    host, (arguments, message) = seeded(Net), FAILURES[name]
    host.head.requires_grad_(False)
    host.body[1].eval()
    before = state_of(host)
    with pytest.raises(ValueError, match=message):
        iqp.wrap(host, **arguments)
    assert equal(state_of(host), before)
    assert iqp.wrap(host, sites=SITES).unwrap() is host


def test_an_adapter_that_fails_leaves_nothing(saved):
    host = seeded(Net)
    before = state_of(host)
    with pytest.raises(ValueError, match="Net has no submodule 'body.9'"):
        iqp.wrap(host, sites=SITES, adapter=elsewhere(saved))
    assert not is_wrapped(host) and equal(state_of(host), before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, torch.OutOfMemoryError])
def test_whatever_goes_wrong_in_between_leaves_nothing(error, monkeypatch):
    host = seeded(Net)
    before = state_of(host)

    def fail(*arguments: Any) -> Any:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Adapter, "to", fail)
        with pytest.raises(error):
            iqp.wrap(host, sites=SITES)
    assert equal(state_of(host), before)
    assert iqp.wrap(host, sites=SITES).unwrap() is host


def test_a_second_adapter_that_fails_leaves_the_first(saved):
    model = opened(iqp.wrap(seeded(Net), sites=SITES).eval())
    x = pictures(1, 3, 8, 8)
    with torch.no_grad():
        before = model(x, quality=0.9)
    wrong: list[tuple[str, Any, float, str]] = [
        ("other", Adapter([SITES[0], Site("body.9", 8, "BCHW")]), 1.0, "Net has no submodule 'body.9'"),
        ("other", elsewhere(saved), 1.0, "Net has no submodule 'body.9'"),
        ("default", Adapter(SITES), 1.0, "there is an adapter 'default' already"),
        ("a.b", Adapter(SITES), 1.0, "an adapter cannot be called 'a.b'"),
        ("keys", Adapter(SITES), 1.0, "an adapter cannot be called 'keys'"),
        ("other", Adapter(SITES), float("nan"), "the weight of adapter 'other' is nan; use a finite number"),
        ("other", Adapter(SITES), True, "the weight of adapter 'other' is True; use a finite number"),
    ]
    for name, source, weight, message in wrong:
        with pytest.raises(ValueError, match=message):
            model.add_adapter(name, source, weight)
        assert list(model.adapters) == list(model.adapter_weights) == ["default"]
    with torch.no_grad():
        assert torch.equal(model(x, quality=0.9), before)
    model.adapter_weights["default"] = float("inf")
    with pytest.raises(ValueError, match="the weight of adapter 'default' is inf"):
        model(x, quality=0.9)
    assert not model.unwrap().body[0]._forward_hooks


def test_a_dry_run_gives_back_what_the_host_keeps():
    host = seeded(Counting)
    before = state_of(host)
    model = iqp.wrap(host, sites="auto", example=pictures(1, 3, 16, 16))
    assert equal(state_of(model.unwrap()), before)


def test_the_mode_of_the_host_is_its_owners(caplog):
    host = seeded(Net).eval()
    model = iqp.wrap(host, sites=SITES).train()
    assert model.training and model.adapters["default"].training
    assert not any(module.training for module in host.modules())
    host.train()
    assert not any(module.training for module in model.eval().host.modules()), "as of an unwrapped one"
    assert not any(module.training for module in model.train().host.modules())
    assert all(module.training for module in model.unwrap().modules())
    assert not caplog.records


def test_a_host_that_changes_by_itself_is_told_of_once(caplog):
    model = opened(iqp.wrap(seeded(Net), sites=SITES))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            model(pictures(2, 3, 8, 8), quality=0.9)
    [record] = caplog.records
    assert "this Net is in training mode, in which 2 of its modules (body.1, ...) answer at random" in record.message


def test_training_an_adapter_changes_no_number_of_its_host(tmp_path):
    host = seeded(Net)
    model = iqp.wrap(host, sites=SITES).eval().train()
    before = {key: value.clone() for key, value in host.state_dict().items()}
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(3):
        model(pictures(2, 3, 8, 8), quality=0.9).sum().backward()
        adam.step()
    assert all(torch.equal(host.state_dict()[key], value) for key, value in before.items())


class TestForms:
    @pytest.mark.parametrize(
        ("make", "path"),
        [
            (nn.DataParallel, "module"),
            (lambda host: nn.Sequential(nn.Identity(), host), "1"),
            (lambda host: holding(vqvae=host, loss=nn.Linear(2, 2)), "vqvae"),
            (lambda host: holding(net=host), "net"),
            (lambda host: holding(base_model=holding(model=host)), "base_model.model"),
            (lambda host: holding(module=holding(_orig_mod=host)), "module"),
        ],
    )
    def test_a_module_that_holds_a_host_says_where(self, make, path):
        form = make(seeded(lambda: stand_ins.RestoreFormer(1)))
        with pytest.raises(ValueError, match=rf"its \.{path} is a restoreformer; wrap that: wrap\(model\.{path}\)"):
            iqp.wrap(form)
        assert iqp.wrap(form.get_submodule(path)).name == "restoreformer"

    def test_a_process_group_says_where(self, tmp_path):
        torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
        try:
            form = nn.parallel.DistributedDataParallel(seeded(lambda: stand_ins.RestoreFormer(1)))
            with pytest.raises(ValueError, match=r"its \.module is a restoreformer"):
                iqp.wrap(form)
        finally:
            torch.distributed.destroy_process_group()

    def test_what_is_wrapped_already_is_said(self):
        model = iqp.wrap(seeded(lambda: stand_ins.RestoreFormer(1)))
        with pytest.raises(ValueError, match="this WrappedHost is wrapped already"):
            iqp.wrap(model)
        with pytest.raises(ValueError, match=r"the \.module of this DataParallel is wrapped already"):
            iqp.wrap(nn.DataParallel(model))
        with pytest.raises(ValueError, match="this DataParallel is wrapped already"):
            iqp.wrap(nn.DataParallel(model.host))
        with pytest.raises(ValueError, match="this RestoreFormer is wrapped already"):
            iqp.wrap(torch.compile(model.host, backend="eager"))
        again = iqp.wrap(torch.compile(model.unwrap(), backend="eager"))
        with pytest.raises(ValueError, match="is wrapped already"):
            iqp.wrap(again)

    def test_torchscript_is_refused(self):
        traced = torch.jit.trace(seeded(Net).eval(), pictures(1, 3, 8, 8), check_trace=False)
        with pytest.raises(ValueError, match="this Net is compiled by TorchScript, which runs no hooks; wrap"):
            iqp.wrap(traced, sites=SITES)

    @pytest.mark.parametrize("put_in", ["lora", "parametrisation", "compiled part"])
    def test_a_host_is_known_with_layers_of_others_in_it(self, put_in):
        host = seeded(lambda: stand_ins.RestoreFormer(1))
        if put_in == "lora":
            host.quant_conv, host.post_quant_conv = Lora(host.quant_conv), Lora(host.post_quant_conv)
            host.encoder.mid.attn_1.q = Lora(host.encoder.mid.attn_1.q)
        elif put_in == "parametrisation":
            nn.utils.parametrizations.weight_norm(host.quant_conv)
        else:
            host.quant_conv = torch.compile(host.quant_conv, backend="eager")
        model = opened(iqp.wrap(host.eval()))
        assert model.name == "restoreformer"
        lq = pictures(1, 3, 32, 32)
        assert not torch.equal(model.restore(lq, quality=0.9), model.restore(lq, quality=0.1))

    def test_peft_itself(self):
        peft = pytest.importorskip("peft")
        form = peft.get_peft_model(
            seeded(lambda: stand_ins.RestoreFormer(1)), peft.LoraConfig(target_modules=["quant_conv", "q", "v"])
        )
        with pytest.raises(ValueError, match=r"its \.base_model\.model is a restoreformer"):
            iqp.wrap(form)
        assert iqp.wrap(form.base_model.model).name == "restoreformer"

    def test_what_accelerate_prepares_is_wrapped_before_and_after(self):
        accelerate = pytest.importorskip("accelerate")
        accelerate.state.AcceleratorState._reset_state(True)
        accelerator = accelerate.Accelerator(cpu=True, mixed_precision="bf16")
        model = opened(iqp.wrap(accelerator.prepare(seeded(Net).eval()), sites=SITES))
        x = pictures(1, 3, 8, 8)
        with torch.no_grad():
            assert not torch.equal(model(x, quality=0.9), model(x))
            prepared = accelerator.prepare(opened(iqp.wrap(seeded(Net).eval(), sites=SITES)))
            assert not torch.equal(prepared(x, quality=0.9), prepared(x))
        accelerate.state.AcceleratorState._reset_state(True)


class Lora(nn.Module):
    """As peft puts it around a layer."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.base_layer = layer
        self.lora_A = nn.ModuleDict({"default": nn.Conv2d(layer.in_channels, 2, 1, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Conv2d(2, layer.out_channels, 1, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x))


def holding(**parts: nn.Module) -> nn.Module:
    return stand_ins.namespace(**parts)


class TestUnknown:
    @pytest.mark.parametrize(
        ("kind", "resolution", "multiple"), [(Net, None, 1), (Windows, None, 8), (Twice, None, 8), (Fixed, 16, 1)]
    )
    def test_pictures_of_any_size_are_restored(self, kind, resolution, multiple, tmp_path):
        host = seeded(kind).eval()
        model = opened(iqp.wrap(host, sites=SITES, example=pictures(1, 3, 16, 16)).eval())
        assert model.resolution == resolution and model.spec.multiple == multiple
        large, small = pictures(2, 3, 21, 34), pictures(1, 3, 3, 5)
        for lq in (large, small, pictures(1, 3, 16, 16)):
            restored = model.restore(lq, quality=0.9)
            assert restored.shape == lq.shape and restored.isfinite().all()
        model.save_pretrained(tmp_path / "adapter")
        before = model.restore(large, quality=0.9)
        loaded = iqp.wrap(model.unwrap(), adapter=tmp_path / "adapter")
        assert loaded.quality == "best" and loaded.name == kind.__name__
        assert loaded.resolution == resolution and loaded.spec.multiple == multiple
        assert list(loaded.sites) == list(model.sites)
        assert torch.equal(loaded.restore(large, quality=0.9), before)
        assert not torch.equal(loaded.restore(large, quality=0.1), before)

    @torch.no_grad()
    def test_what_is_mirrored_is_cut_back_to_the_pixel(self):
        host = seeded(Windows).eval()
        model = iqp.wrap(host, sites=SITES, example=pictures(1, 3, 16, 16)).eval()
        lq = pictures(1, 3, 20, 12)
        wanted = Net.forward(host, lq).clamp(0, 1)
        torch.testing.assert_close(model.restore(lq), wanted)

    def test_an_adapter_of_another_model_is_refused(self, saved):
        with pytest.raises(ValueError, match="was trained for Net .*, the host is Windows"):
            iqp.wrap(seeded(Windows), adapter=saved)
        with pytest.raises(ValueError, match="was trained for other weights of Net"):
            iqp.wrap(Net(), adapter=saved)
        assert iqp.wrap(Net(), adapter=saved, allow_other_weights=True).quality == "best"
        with pytest.raises(ValueError, match=r"was trained for Net .*, the host is restoreformer|is RestoreFormer"):
            iqp.wrap(stand_ins.RestoreFormer(1), adapter=saved)

    def test_it_is_copied_and_pickled(self):
        model = opened(iqp.wrap(seeded(Windows).eval(), sites=SITES, example=pictures(1, 3, 16, 16)).eval())
        lq = pictures(1, 3, 20, 12)
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(twin.restore(lq, quality=0.9), model.restore(lq, quality=0.9))


NAN = float("nan")
OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"quality": NAN}, r"quality is nan; use a number in \[0, 1\], 'best' or 'any'"),
    ({"quality": True}, r"quality is True; use a number in \[0, 1\]"),
    ({"quality": {}}, r"quality is a dict; use a number in \[0, 1\]"),
    ({"quality": 1e38}, r"quality must lie in \[0, 1\]"),
    ({"quality": torch.tensor([True])}, "quality is tensor.*; use a number"),
    ({"quality": torch.full((3,), 0.5)}, "quality"),
    ({"scale": NAN}, "scale is nan; use a finite number"),
    ({"scale": float("inf")}, "scale is inf; use a finite number"),
    ({"scale": "strong"}, "scale is 'strong'; use a finite number"),
    ({"scale": True}, "scale is True; use a finite number"),
    ({"scale": torch.ones(1, 2)}, r"scale is a .*"),
    ({"fidelity": 9}, r"fidelity is 9; use a number in \[0, 1\]"),
    ({"fidelity": NAN}, r"fidelity is nan; use a number in \[0, 1\]"),
    ({"fidelity": 1e38}, r"fidelity is 1e\+38; use a number in \[0, 1\]"),
    ({"fidelity": -1}, r"fidelity is -1; use a number in \[0, 1\]"),
    ({"fidelity": "high"}, r"fidelity is 'high'; use a number in \[0, 1\]"),
    ({"fidelity": torch.tensor([NAN])}, r"fidelity is \[nan\]; use for each a number in \[0, 1\]"),
]


def a_native_model() -> Any:
    from iqp_adapter.native import IQPFR, preset

    sizes = {"resolution": 64, "patch": 4, "widths": (16, 24, 32), "common_codes": 16, "plus_codes": 8, "code_dim": 8}
    return IQPFR(preset("tiny-256", **sizes, dim=32, layers=2, heads=4, token_dim=16)).eval()


@pytest.fixture(scope="module", params=["native", "wrapped"])
def restorer(request: pytest.FixtureRequest) -> Any:
    return a_native_model() if request.param == "native" else iqp.wrap(stand_ins.CodeFormer(2, 1).eval()).eval()


@pytest.mark.parametrize(("options", "message"), OPTIONS, ids=str)
def test_options_that_mean_nothing_are_refused_in_one_line(restorer, options, message):
    lq = pictures(1, 3, 64, 64)
    asked = {"quality": 0.9} | options
    doors = [lambda: restorer.restore(lq, **asked), lambda: restorer.best_of(lq, samples=1, **asked)]
    doors += [lambda: restorer.optimise(lq, steps=1, **asked)]
    if "shape" not in message and not isinstance(options.get("quality"), Tensor):
        doors.append(lambda: restorer.check(asked))
    for door in doors:
        with pytest.raises(ValueError, match=message) as raised:
            door()
        assert "\n" not in str(raised.value)


def test_any_restorer_refuses_them_by_its_contract():
    class Mirror(iqp.Restorer):
        resolution = 64

    for options, message in OPTIONS:
        if not any(isinstance(value, Tensor) for value in options.values()):
            with pytest.raises(ValueError, match=message):
                Mirror().check(options)
    Mirror().check({"quality": "best", "scale": {"a": 0.5}, "fidelity": None})


@pytest.mark.parametrize("wrong", [255.0, -1.0, NAN])
def test_no_entrance_takes_what_is_no_picture(restorer, wrong):
    lq = torch.full((1, 3, 64, 64), wrong)
    doors = [restorer.restore, restorer.optimise, restorer.best_of, restorer.decision]
    doors += [restorer] if isinstance(restorer, iqp.IQPFR) else [restorer.codes_in]
    for door in doors:
        for given in (lq, lq.nan_to_num().byte(), lq[:0], lq[0]):
            with pytest.raises(ValueError, match="lq (are|span)"):
                door(given)


def test_a_native_model_is_called_at_its_own_size():
    with pytest.raises(ValueError, match=r"lq are \(1, 3, 32, 32\), this IQPFR takes 64 px a side; use restore"):
        a_native_model()(pictures(1, 3, 32, 32))


@pytest.mark.parametrize("value", [NAN, float("inf"), float("-inf")])
def test_what_is_no_number_stays_none_and_the_others_are_restored(value):
    def broken(host: nn.Module, lq: Tensor) -> Tensor:
        restored = host(lq)
        restored[1] = value
        return restored

    model = iqp.wrap(seeded(Net).eval(), sites=SITES, restore=broken)
    restored = model.restore(pictures(3, 3, 8, 8))
    assert restored[1].isnan().all() and restored[[0, 2]].isfinite().all()
