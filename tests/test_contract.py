"""What wrapping promises: each small instance of each kind of host, with each kind of block, is held to all of it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tiny_hosts import TINY_HOSTS, TinyHost, tensors
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import iqp_adapter as iqp
from iqp_adapter.compat import make_importable
from iqp_adapter.core.adapter import ATTENTION, KINDS
from iqp_adapter.core.attention import GatedCrossAttention
from iqp_adapter.core.both import Both
from iqp_adapter.hosts.hooks import is_wrapped

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning", "ignore:.*torch.jit.*:DeprecationWarning")

OTHERS = [kind for kind in KINDS if kind != ATTENTION]


class Case:
    """A tiny host, its input and its call, and the kind of block that it is wrapped with."""

    def __init__(self, name: str, tiny: TinyHost, block: str):
        self.name, self.tiny, self.block = name, tiny, block
        self.host = tiny.build()
        generator = torch.Generator().manual_seed(0)
        self.x = tiny.low + (1 - tiny.low) * torch.rand(2, 3, tiny.side, tiny.side, generator=generator)

    def wrap(self) -> iqp.WrappedHost:
        return iqp.wrap(self.host, block=self.block)

    def call(self, model: nn.Module, x: Tensor | None = None, **named: Any) -> list[Tensor]:
        return tensors(model(self.x if x is None else x, **self.tiny.arguments, **named))


@pytest.fixture(params=KINDS)
def block(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=TINY_HOSTS, ids=str)
def host(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def case(host: str, block: str) -> Iterator[Case]:
    """Every host with every kind of block."""
    with torch.no_grad():
        yield made(host, block)


@pytest.fixture
def default_case(host: str) -> Iterator[Case]:
    """Every host with the block by default."""
    with torch.no_grad():
        yield made(host, ATTENTION)


def made(host: str, block: str) -> Case:
    make_importable()
    for package in TINY_HOSTS[host].needs:
        pytest.importorskip(package)
    return Case(host, TINY_HOSTS[host], block)


def opened(model: iqp.WrappedHost, value: float = 1.0) -> iqp.WrappedHost:
    """As if every block had learned, in this strength; 0 closes them again."""
    generator = torch.Generator().manual_seed(0)
    blocks = [block for adapter in model.adapters.values() for block in adapter.blocks.values()]
    for block in blocks:
        for part in (block.attention, block.score_map) if isinstance(block, Both) else (block,):
            open_part(part, value, generator)
    return model


def open_part(part: torch.nn.Module, value: float, generator: torch.Generator) -> None:
    if isinstance(part, GatedCrossAttention):
        part.gate.data.fill_(value)
        return
    for parameter in part.parameters():
        parameter.data = value * torch.randn(parameter.shape, generator=generator).to(parameter)


def equal(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    return len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


def test_an_untrained_adapter_is_the_bare_host(case, caplog):
    bare = case.call(case.host)
    model = case.wrap()
    assert model.spec.name == case.tiny.kind
    assert equal(case.call(model), bare)
    assert not caplog.records
    assert equal(case.call(model, quality=0.9), bare)
    assert equal(case.call(model, quality=0.1), bare)
    assert [record.message.count("has learned nothing yet") for record in caplog.records] == [1]


def test_an_open_gate_changes_the_host_and_scale_zero_does_not(case):
    bare = case.call(case.host)
    model = opened(case.wrap())
    assert not equal(case.call(model, quality=0.9), bare)
    assert not equal(case.call(model, quality=0.9), case.call(model, quality=0.1))
    assert not equal(case.call(model, quality="any"), bare)
    for same in ({"quality": 0.9, "scale": 0}, {"quality": 0.9, "scale": torch.zeros(2)}, {"quality": None}, {}):
        assert equal(case.call(model, **same), bare), same
    assert equal(case.call(case.host), bare), "outside of a call the host is bare"


def test_the_host_keeps_its_keys_and_values_and_is_given_back(case):
    for index, parameter in enumerate(case.host.parameters()):
        parameter.requires_grad_(index % 2 == 0)
    case.host.train()
    flags = [parameter.requires_grad for parameter in case.host.parameters()]
    bare, state = case.call(case.host), {key: value.clone() for key, value in case.host.state_dict().items()}
    model = opened(case.wrap())
    assert not any(parameter.requires_grad for parameter in case.host.parameters())
    case.call(model.eval(), quality=0.9)
    assert list(case.host.state_dict()) == list(state)
    assert all(key.startswith("adapters.default.") for key in model.state_dict())
    assert {id(x) for x in model.parameters()}.isdisjoint(id(x) for x in case.host.parameters())
    assert model.unwrap() is case.host
    assert not is_wrapped(case.host) and not case.host._forward_hooks
    assert all(map(torch.equal, case.host.state_dict().values(), state.values()))
    assert [parameter.requires_grad for parameter in case.host.parameters()] == flags
    assert all(module.training for module in case.host.modules())
    assert equal(case.call(case.host), bare)
    with pytest.raises(RuntimeError, match="handed its host back by unwrap"):
        model(case.x)


def test_every_site_fires_and_every_adapter_parameter_learns(case):
    model = case.wrap().train()
    frozen = {key: value.clone() for key, value in case.host.state_dict().items()}
    start = {name: parameter.clone() for name, parameter in model.named_parameters()}
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    quality = torch.tensor([0.9, float("nan")])
    with torch.enable_grad():
        for _ in range(2):
            adam.zero_grad()
            outputs = [x for x in case.call(model, quality=quality) if x.requires_grad]
            sum(mse_loss(x, torch.ones_like(x)) for x in outputs).backward()
            adam.step()
    assert not any(parameter.requires_grad for parameter in case.host.parameters())
    still = [name for name, parameter in model.named_parameters() if torch.equal(parameter, start[name])]
    assert not still
    assert all(parameter.grad is None for parameter in case.host.parameters())
    assert all(torch.equal(value, frozen[key]) for key, value in case.host.state_dict().items())


def test_saved_and_loaded_it_is_the_same(case, tmp_path, root):
    model = opened(case.wrap(), 0.5)
    before = case.call(model, quality=0.7)
    model.save_pretrained(tmp_path / "adapter")
    keys = sorted(model.adapters["default"].state_dict())
    host = model.unwrap()
    loaded = iqp.wrap(host, adapter=tmp_path / "adapter")
    assert not loaded.training and loaded.quality == "best"
    assert equal(case.call(loaded, quality=0.7), before)
    golden = root / "tests" / "golden" / case.block / f"{case.name}.txt"
    assert golden.exists() and keys == golden.read_text().split(), f"{golden} should hold\n" + "\n".join(keys)


def test_a_batch_of_two_qualities_is_two_calls(case):
    model = opened(case.wrap(), 0.1)
    mixed = case.call(model, quality=torch.tensor([0.9, 0.2]))
    first, second = case.call(model, quality=0.9), case.call(model, quality=0.2)
    for both, ours, theirs in zip(mixed, first, second, strict=True):
        axis = batch_axis(both)
        if axis is not None:
            torch.testing.assert_close(both.select(axis, 0), ours.select(axis, 0), rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(both.select(axis, 1), theirs.select(axis, 1), rtol=1e-3, atol=1e-3)


def batch_axis(x: Tensor) -> int | None:
    return next((axis for axis, size in enumerate(x.shape) if size == 2), None)


def test_copies_are_independent(case):
    model = opened(case.wrap())
    before = case.call(model, quality=0.9)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert equal(case.call(twin, quality=0.9), before)
        assert twin.host is not case.host
        opened(twin, 0.0)
        assert not equal(case.call(twin, quality=0.9), before)
        assert equal(case.call(model, quality=0.9), before)


def test_restored_pictures_are_as_given(case):
    model = opened(case.wrap())
    lq = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(1))
    restored = model.restore(lq, quality=0.9)
    assert restored.shape == lq.shape and restored.dtype == lq.dtype
    assert restored.min() >= 0 and restored.max() <= 1
    assert not torch.equal(restored, model.restore(lq, quality=None))


def test_the_condition_of_a_context_reaches_the_host_itself(case):
    model = opened(case.wrap())
    with model.conditioned(quality=0.9):
        assert equal(case.call(case.host), case.call(model, quality=0.9))


def test_a_quality_set_once_is_the_default(case):
    model = opened(case.wrap())
    model.quality = 0.9
    assert equal(case.call(model), case.call(model, quality=0.9))
    model.quality = "best"
    assert equal(case.call(model), case.call(model, quality=0.95))
    opened(model, 0.0)
    model.quality = "best"
    assert equal(case.call(model), case.call(case.host))


def test_bfloat16_autocast_runs_and_keeps_the_dial(case):
    model = opened(case.wrap())
    with torch.autocast("cpu", torch.bfloat16):
        assert not equal(case.call(model, quality=0.9), case.call(model, quality=0.1))


def test_float16_runs_where_the_host_does(default_case):
    check_float16(default_case)


@pytest.mark.slow
@pytest.mark.parametrize("block", OTHERS)
def test_float16_runs_with_other_kinds_of_block(case):
    check_float16(case)


def check_float16(case: Case) -> None:
    half = case.host.half()
    try:
        case.call(half, case.x.half())
    except RuntimeError as error:
        pytest.skip(f"this host itself does not run in float16 on a CPU: {error}")
    model = opened(iqp.wrap(half, block=case.block))
    outputs = case.call(model, case.x.half(), quality=0.9)
    assert {x.dtype for x in outputs} <= {torch.float16, torch.float32}
    assert not equal(outputs, case.call(model, case.x.half(), quality=0.1))
    assert equal(case.call(model, case.x.half(), quality=0.9, scale=0), case.call(half, case.x.half()))


FIRST = {tiny.kind: name for name, tiny in reversed(TINY_HOSTS.items()) if tiny.needs in ((), ("gfpgan",))}
"""Of each kind the first class that the tests' packages have."""


@pytest.mark.parametrize(
    "host", [name if name in FIRST.values() else pytest.param(name, marks=pytest.mark.slow) for name in TINY_HOSTS]
)
def test_compiled_it_is_as_it_was_and_keeps_the_dial(default_case):
    check_compiled(default_case)


@pytest.mark.slow
@pytest.mark.parametrize("block", OTHERS)
def test_compiled_it_is_as_it_was_with_other_kinds_of_block(case):
    check_compiled(case)


def check_compiled(case: Case) -> None:
    model = opened(case.wrap())
    compiled = torch.compile(model, backend="eager")
    for quality in (0.9, 0.1, torch.tensor([0.2, 0.8]), None):
        assert equal(case.call(compiled, quality=quality), case.call(model, quality=quality))
    host = model.unwrap()
    assert equal(case.call(torch.compile(host, backend="eager")), case.call(host)), "unwrapped, it is compiled anew"
