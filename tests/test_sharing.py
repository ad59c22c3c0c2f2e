"""One wrapped host for many callers: threads and tasks get what they ask for, and nothing outlives a call."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stand_ins
import torch
from torch import Tensor, nn

import iqp_adapter as iqp
from iqp_adapter import Site
from iqp_adapter.hosts.hooks import is_wrapped

SITES = [Site("layers.0", 8, "BLC"), Site("layers.1", 8, "BLC")]


class Toy(nn.Module):
    """Two layers of tokens; between them it does what the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.between: Callable[[], Any] | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.layers[0](x).tanh()
        if self.between is not None:
            self.between()
        return x + self.layers[1](x).tanh()


@pytest.fixture
def model() -> iqp.WrappedHost:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wrapped = iqp.wrap(Toy().eval(), sites=SITES).eval()
    for block in wrapped.adapters["default"].blocks.values():
        nn.init.ones_(block.gate)
    return wrapped


@pytest.fixture
def often() -> Iterator[None]:
    """Threads take turns every few microseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


X = torch.rand(1, 5, 8, generator=torch.Generator().manual_seed(0))
QUALITIES = [None, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, "best", "any"]


def in_another_thread(function: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(timeout=60)


@torch.no_grad()
def test_every_thread_gets_the_quality_that_it_asks_for(model, often):
    wanted = {quality: model(X, quality=quality) for quality in QUALITIES}

    def asked(index: int) -> bool:
        quality = QUALITIES[index % len(QUALITIES)]
        with torch.no_grad():
            return torch.equal(model(X, quality=quality), wanted[quality])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(asked, range(720)))
    assert torch.equal(model.host(X), wanted[None]) and torch.equal(model(X), wanted[None])


@torch.no_grad()
def test_a_call_of_the_host_by_another_thread_is_bare(model):
    bare, conditioned = model(X), model(X, quality=0.9)
    seen: list[Tensor] = []

    def meanwhile() -> None:
        model.host.between = None
        seen.append(in_another_thread(torch.no_grad()(lambda: model.host(X))))

    model.host.between = meanwhile
    assert torch.equal(model(X, quality=0.9), conditioned)
    with model.conditioned(0.9):
        seen.append(in_another_thread(torch.no_grad()(lambda: model.host(X))))
        assert torch.equal(model.host(X), conditioned)
        assert torch.equal(model(X, quality=None), bare) and torch.equal(model(X), conditioned)
    assert len(seen) == 2 and all(torch.equal(x, bare) for x in seen)


@torch.no_grad()
def test_a_call_within_a_call_of_the_same_thread_has_its_own_quality(model):
    low, high = model(X, quality=0.1), model(X, quality=0.9)
    seen: list[Tensor] = []

    def within() -> None:
        model.host.between = None
        seen.append(model(X, quality=0.1))

    model.host.between = within
    assert torch.equal(model(X, quality=0.9), high) and torch.equal(seen[0], low)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, GeneratorExit])
@torch.no_grad()
def test_whatever_the_host_raises_the_call_is_over(model, error):
    bare = model(X)

    def fail() -> None:
        model.host.between = None
        raise error

    model.host.between = fail
    with pytest.raises(error):
        model(X, quality=0.9)
    assert torch.equal(model.host(X), bare) and torch.equal(model(X), bare)
    assert torch.equal(in_another_thread(torch.no_grad()(lambda: model(X))), bare), "nobody holds the turn"


def conditions(model: iqp.WrappedHost, quality: float) -> Iterator[None]:
    with model.conditioned(quality):
        yield


@torch.no_grad()
def test_contexts_that_are_left_in_another_order_leave_nothing(model):
    bare, low = model(X), model(X, quality=0.1)
    first, second = conditions(model, 0.1), conditions(model, 0.9)
    next(first), next(second)
    first.close()
    second.close()
    assert torch.equal(model.host(X), bare)
    first, second = conditions(model, 0.1), conditions(model, 0.9)
    next(first), next(second)
    second.close()
    assert torch.equal(model.host(X), low)
    first.close()
    assert torch.equal(model.host(X), bare)


@torch.no_grad()
def test_a_context_that_another_thread_ends_is_over(model):
    bare = model(X)
    opened = conditions(model, 0.9)
    next(opened)
    in_another_thread(opened.close)
    assert torch.equal(model.host(X), bare)
    forgotten = conditions(model, 0.9)
    next(forgotten)
    del forgotten
    gc.collect()
    assert torch.equal(model.host(X), bare)


@torch.no_grad()
def test_tasks_of_one_thread_do_not_see_each_other(model):
    wanted = {quality: model(X, quality=quality) for quality in (0.1, 0.5, 0.9)}

    async def task(quality: float) -> bool:
        with model.conditioned(quality):
            for _ in range(3):
                await asyncio.sleep(0)
                if not torch.equal(model.host(X), wanted[quality]):
                    return False
        return True

    async def tasks() -> list[bool]:
        return await asyncio.gather(*map(task, wanted))

    assert all(asyncio.run(tasks()))
    assert torch.equal(model.host(X), model(X, quality=None))


def test_training_in_one_thread_and_restoring_in_another(model, often):
    with torch.no_grad():
        wanted = model(X, quality=0.3)
    done = threading.Event()

    def restoring() -> bool:
        with torch.no_grad():
            while not done.is_set():
                if not torch.allclose(model(X, quality=0.3), wanted, atol=1e-6):
                    return False
        return True

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(restoring)
        for _ in range(100):
            model(X, quality=0.9).sum().backward()
        done.set()
        assert other.result(timeout=60)
    assert all(parameter.grad is None for parameter in model.host.parameters())
    assert model.adapters["default"].blocks["layers-0"].gate.grad != 0


def test_a_bare_call_within_a_learning_one_does_not_let_the_host_learn(model):
    for parameter in model.host.parameters():
        assert not parameter.requires_grad
    with model.conditioned(0.9):
        with torch.no_grad(), model.conditioned(None):
            model.host(X)
        model.host(X).sum().backward()
    assert all(parameter.grad is None for parameter in model.host.parameters())


@torch.no_grad()
def test_what_is_kept_of_a_quality_is_never_that_of_another(model):
    wanted = {quality: model(X, quality=quality) for quality in (0.1, 0.9)}
    compute, slow = model.dial._conditions, threading.Event()

    def held(quality: Any) -> Any:
        slow.wait(10)
        return compute(quality)

    model.quality, model.dial._conditions = 0.1, held
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(torch.no_grad()(lambda: model(X)))
        while not late.running():
            pass
        model.quality = 0.9
        slow.set()
        late.result(timeout=60)
    assert torch.equal(model(X), wanted[0.9])


@torch.no_grad()
def test_a_copy_that_is_made_in_a_call_is_in_none(model):
    bare, conditioned = model(X), model(X, quality=0.9)
    with model.conditioned(0.9):
        twins = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
        for twin in twins:
            assert torch.equal(twin.host(X), bare)
            assert torch.equal(twin(X, quality=0.9), conditioned)


@torch.no_grad()
def test_compiled_it_is_shared_as_well(model, often):
    wanted = {quality: model(X, quality=quality) for quality in QUALITIES}
    compiled = torch.compile(model, backend="eager")
    for quality in QUALITIES:
        compiled(X, quality=quality)

    def asked(index: int) -> bool:
        quality = QUALITIES[index % len(QUALITIES)]
        with torch.no_grad():
            return torch.equal(compiled(X, quality=quality), wanted[quality])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(asked, range(40)))


def test_codes_are_read_in_one_thread_while_another_restores(often):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = iqp.wrap(stand_ins.CodeFormer(1, 1).eval()).eval()
    lq = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        bare = model.host(lq)[0]
        wanted = model.codes_in(lq).logits()

    def bare_calls() -> bool:
        with torch.no_grad():
            return all(torch.equal(model.host(lq)[0], bare) for _ in range(20))

    def codes() -> bool:
        with torch.no_grad():
            return all(torch.equal(model.codes_in(lq).logits(), wanted) for _ in range(20))

    with ThreadPoolExecutor(2) as pool:
        assert all([one.result(timeout=60) for one in (pool.submit(bare_calls), pool.submit(codes))])


@torch.no_grad()
def test_copies_of_data_parallel_say_that_they_are_none(model):
    layer = model.host.layers[0]
    replica = layer._replicate_for_data_parallel()
    replica.weight, replica.bias = layer.weight.data, layer.bias.data
    with pytest.raises(RuntimeError, match="does not run under DataParallel.*use DistributedDataParallel"):
        replica(X)
    assert is_wrapped(model.host)
