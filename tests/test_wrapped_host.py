"""The wrapped host beyond what every host is held to: dials, several adapters, kept keys, compiling, processes."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import iqp_adapter as iqp
from iqp_adapter import Site
from iqp_adapter.core.adapter import Adapter
from iqp_adapter.core.attention import GatedCrossAttention


class Toy(nn.Module):
    """Two layers of tokens and a way of calling that leaves the second one out."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

    def forward(self, x: Tensor, short: bool = False, vain: Any = None) -> tuple[Tensor, str]:
        for layer in self.layers[:1] if short else self.layers:
            x = x + layer(x).tanh()
        return x, "extra"


SITES = [Site("layers.0", 8, "BLC"), Site("layers.1", 8, "BLC")]


@pytest.fixture
def model() -> iqp.WrappedHost:
    return opened(iqp.wrap(toy(), sites=SITES).eval())


def toy() -> Toy:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Toy().eval()


def opened(model: iqp.WrappedHost) -> iqp.WrappedHost:
    for adapter in model.adapters.values():
        for block in adapter.blocks.values():
            nn.init.ones_(block.gate)
    return model


def pictures(count: int = 2) -> Tensor:
    return torch.rand(count, 5, 8, generator=torch.Generator().manual_seed(0))


def count_keys_values(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    compute = GatedCrossAttention.condition

    def counted(self: GatedCrossAttention, tokens: Tensor) -> Any:
        calls.append(len(tokens))
        return compute(self, tokens)

    monkeypatch.setattr(GatedCrossAttention, "condition", counted)
    return calls


def test_wrapping_draws_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    first, second = iqp.wrap(toy(), sites=SITES), iqp.wrap(toy(), sites=SITES)
    torch.rand(0)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


@torch.no_grad()
def test_the_scale_of_each_site(model):
    x = pictures()
    whole = model(x, quality=0.9)[0]
    first = model(x, quality=0.9, scale={"layers.1": 0})[0]
    second = model(x, quality=0.9, scale={"layers.0": 0})[0]
    assert len({x.sum().item() for x in (whole, first, second, model(x)[0])}) == 4
    assert torch.equal(model(x, quality=0.9, scale={"layers": 0})[0], model(x)[0])
    assert torch.equal(model(x, quality=0.9, scale={"layers": 0, "layers.1": 1})[0], second)
    assert torch.equal(model(x, quality=0.9, scale={})[0], whole)
    with pytest.raises(ValueError, match=r"scale names 'layer', which is no site; the sites are layers.0, layers.1"):
        model(x, quality=0.9, scale={"layer": 0})


@torch.no_grad()
def test_the_scale_of_each_picture(model):
    x = pictures()
    mixed = model(x, quality=0.9, scale=torch.tensor([0.0, 1.0]))[0]
    torch.testing.assert_close(mixed[0], model(x)[0][0])
    torch.testing.assert_close(mixed[1], model(x, quality=0.9)[0][1])


@torch.no_grad()
def test_several_adapters_add_up(model, tmp_path):
    x = pictures()
    alone = model(x, quality=0.9)[0]
    model.save_pretrained(tmp_path / "one")
    model.add_adapter("again", tmp_path / "one", weight=0.0)
    assert torch.equal(model(x, quality=0.9)[0], alone)
    model.adapter_weights["again"] = 1.0
    torch.testing.assert_close(model(x, quality=0.9)[0], model(x, quality=0.9, scale=2.0)[0] * 0 + twice(model, x))
    model.adapter_weights["default"] = 0.0
    torch.testing.assert_close(model(x, quality=0.9)[0], alone)
    with pytest.raises(ValueError, match="there is an adapter 'again' already"):
        model.add_adapter("again", tmp_path / "one")
    model.remove_adapter("default")
    assert list(model.adapters) == ["again"] and torch.equal(model(x, quality=0.9)[0], alone)
    with pytest.raises(ValueError, match=r"cannot remove 'again' of again; for the bare host use unwrap\(\)"):
        model.remove_adapter("again")


def twice(model: iqp.WrappedHost, x: Tensor) -> Tensor:
    """What two equal adapters make is what one makes at twice the strength."""
    model.adapter_weights["again"] = 0.0
    strong = model(x, quality=0.9, scale=2.0)[0]
    model.adapter_weights["again"] = 1.0
    return strong


@torch.no_grad()
def test_an_adapter_of_other_sites_brings_its_hooks_and_takes_them_away(model):
    bare = model(pictures())[0]
    model.adapter_weights["default"] = 0.0
    other = Adapter([Site("layers.1", 8, "BLC", on="input")])
    nn.init.ones_(other.blocks["layers-1@input"].gate)
    model.add_adapter("other", other)
    assert not torch.equal(model(pictures(), quality=0.9)[0], bare)
    model.remove_adapter("other")
    assert not model.host.layers[1]._forward_pre_hooks and model.host.layers[1]._forward_hooks


@torch.no_grad()
def test_the_input_and_the_output_of_one_module_are_two_sites():
    both = [Site("layers.1", 8, "BLC"), Site("layers.1", 8, "BLC", on="input")]
    model = opened(iqp.wrap(toy(), sites=both).eval())
    assert list(model.sites) == list(model.adapters["default"].blocks) == ["layers-1", "layers-1@input"]
    x = pictures()
    whole = model(x, quality=0.9)[0]
    for block in model.adapters["default"].blocks.values():
        nn.init.zeros_(block.gate)
        assert not torch.equal(model(x, quality=0.9)[0], whole), "each of the two does something"
        nn.init.ones_(block.gate)


def test_keys_and_values_of_a_quality_that_was_set_are_computed_once(model, monkeypatch):
    calls, x = count_keys_values(monkeypatch), pictures()
    model.quality = 0.9
    with torch.inference_mode():
        model(x)
    with torch.no_grad():
        kept = model(x)[0]
        assert len(calls) == len(SITES)
        assert torch.equal(kept, model(x, quality=0.9)[0])
    assert model(x)[0].requires_grad, "with gradients they are computed anew"


@pytest.mark.parametrize("change", ["quality", "train", "load", "dtype", "step"])
def test_kept_keys_and_values_are_dropped_when_something_changes(model, monkeypatch, change):
    x = pictures()
    model.quality = 0.9
    with torch.no_grad():
        before = model(x)[0]
    calls = count_keys_values(monkeypatch)
    if change == "quality":
        model.quality = 0.2
    elif change == "train":
        model.train().eval()
    elif change == "load":
        model.load_state_dict({key: value * 1.5 for key, value in model.state_dict().items()})
    elif change == "dtype":
        model.double()
        x = x.double()
    else:
        with torch.no_grad():
            model.adapters["default"].embedding.base.add_(1.0)
    with torch.no_grad():
        after = model(x)[0]
    assert len(calls) == len(SITES)
    assert torch.equal(after, before) == (change == "train")


def test_a_site_that_does_not_run_is_an_error(model):
    with pytest.raises(RuntimeError, match=r"1 of 2 sites \(layers.1, ...\) did not run in this call of Toy"):
        model(pictures(), quality=0.9, short=True)
    host = model.unwrap()
    some = iqp.wrap(host, sites=[SITES[0], Site("layers.1", 8, "BLC", optional=True)])
    some(pictures(), quality=0.9, short=True)


@pytest.mark.parametrize(
    ("quality", "said"),
    [
        (1.2, r"quality must lie in \[0, 1\]"),
        ("better", "quality is 'better'; use a number"),
        ("match", "compares a face with the photo around it"),
        (torch.tensor([0.1, 0.2, 0.3]), "quality or scale has 3 rows, the batch has 2 pictures"),
        (torch.rand(2, 3), r"quality has shape \(2, 3\), expected \(2, 1\)"),
    ],
)
def test_a_wrong_quality_is_one_line_and_leaves_the_host_bare(model, quality, said):
    bare = model(pictures())[0]
    with pytest.raises(ValueError, match=said):
        model(pictures(), quality=quality)
    assert torch.equal(model(pictures())[0], bare)


def test_a_wrong_default_is_refused_when_it_is_set(model):
    with pytest.raises(ValueError, match=r"quality must lie in \[0, 1\]"):
        model.quality = 3
    assert model.quality is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"sites": [Site("layer.7", 8, "BLC")]}, "Toy has no submodule 'layer.7'"),
        ({"sites": []}, "no sites, so nothing would be conditioned"),
        ({"kind": "gfpgn"}, "unknown host 'gfpgn'; available: .*codeformer"),
        ({}, "Toy is no known host; the nearest is "),
    ],
)
def test_what_can_not_be_wrapped_is_said_in_one_line(arguments, said):
    with pytest.raises(ValueError, match=said):
        iqp.wrap(toy(), **arguments)


def test_a_wrong_site_says_what_it_gave(model):
    host = model.unwrap()
    wrong = iqp.wrap(host, sites=[Site("layers.0", 4, "BLC")])
    with pytest.raises(ValueError, match=r"site layers.0 gave a tensor \(2, 5, 8\), expected layout BLC with 4"):
        wrong(pictures(), quality=0.5)


def test_an_argument_that_restore_does_not_take_is_said_in_one_line(model):
    with pytest.raises(ValueError, match="fidelity is 0.5, but Toy has no fidelity; it takes nothing"):
        model.restore(torch.rand(1, 3, 8, 8), fidelity=0.5)


def test_a_host_is_wrapped_once(model):
    with pytest.raises(ValueError, match="this Toy is wrapped already"):
        iqp.wrap(model.host, sites=SITES)


def test_arguments_that_a_host_swallows_are_warned_of_once(caplog):
    spec = iqp.HostSpec(
        name="toy", source="", licence="", has=(), sites=lambda host: SITES, restore=lambda host, lq: lq,
        resolution=lambda host: None, swallowed=lambda host: {"vain": "nothing reads it"},
    )  # fmt: skip
    model = iqp.WrappedHost(toy(), spec, Adapter(SITES))
    with caplog.at_level(logging.WARNING):
        model(pictures(), vain=1)
        model(pictures(), vain=1)
    assert [record.message for record in caplog.records] == [
        "toy takes 'vain' and does nothing with it: nothing reads it"
    ]


def test_what_is_not_the_wrappers_is_looked_up_on_the_host(model):
    assert model.layers is model.host.layers
    with pytest.raises(AttributeError, match="'Toy' object has no attribute 'leyers'"):
        model.leyers  # noqa: B018 - looked up for its error
    model.half()
    assert model.host.layers[0].weight.dtype == next(model.parameters()).dtype == torch.float16
    model.host.train()
    assert not model.eval().host.training and not model.training


@torch.no_grad()
def test_half_precision_keeps_the_dial(model):
    x = pictures().half()
    model.half()
    assert model(x, quality=0.9)[0].dtype == torch.float16
    assert not torch.equal(model(x, quality=0.9)[0], model(x, quality=0.1)[0])
    assert torch.equal(model(x, quality=0.9, scale=0)[0], model(x)[0])


@torch.no_grad()
def test_a_half_precision_host_takes_an_adapter_in_full():
    host = toy().half()
    model = opened(iqp.wrap(host, sites=SITES))
    assert next(model.parameters()).dtype == torch.float32
    assert model(pictures().half(), quality=0.9)[0].dtype == torch.float16


@torch.no_grad()
def test_compiled_it_is_the_same_in_one_graph_for_every_quality(model):
    graphs: list[Any] = []
    compiled = torch.compile(model, backend=lambda graph, example: (graphs.append(graph), graph.forward)[1])
    x = pictures()
    for quality in (0.9, 0.1, "best", 0.33, 0.34, 0.35, 0.36):
        assert torch.equal(compiled(x, quality=quality)[0], model(x, quality=quality)[0])
    assert len(graphs) == 1
    model.quality = 0.6
    assert torch.equal(compiled(x, scale=0.5)[0], model(x, quality=0.6, scale=0.5)[0])
    assert len(graphs) == 1
    assert torch.equal(compiled(x, quality=None)[0], model(x, quality=None)[0])


@torch.no_grad()
def test_a_host_that_was_compiled_before_is_wrapped_and_unwrapped():
    host, x = toy(), pictures()
    compiled = torch.compile(host, backend="eager")
    bare = compiled(x)[0]
    model = opened(iqp.wrap(compiled, sites=SITES))
    assert model.host is compiled
    assert not torch.equal(model(x, quality=0.9)[0], bare)
    assert torch.equal(model(x)[0], bare)
    with model.conditioned(0.9):
        assert not torch.equal(compiled(x)[0], bare)
    assert model.unwrap() is compiled
    assert torch.equal(compiled(x)[0], bare)


class Strided(nn.Module):
    """Its block gives a single picture with an odd stride on the batch axis, which a sum would make even."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Odd()

    def forward(self, x: Tensor) -> tuple[int, ...]:
        return self.block(x).stride()


class Odd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.as_strided(x.shape, (1, *x.stride()[1:]))


@torch.no_grad()
def test_a_site_keeps_the_strides_of_its_tensor():
    host, x = Strided(), pictures(1)
    bare = host(x)
    host.register_parameter("some", nn.Parameter(torch.zeros(1)))
    model = opened(iqp.wrap(host, sites=[Site("block", 8, "BLC")]))
    assert bare[0] == 1
    assert model(x, quality=0.9) == bare


def test_data_parallel_is_refused(model):
    with pytest.raises(RuntimeError, match="does not run under DataParallel.*use DistributedDataParallel"):
        model._replicate_for_data_parallel()  # which DataParallel calls on every module, where there are two GPUs


def test_averaged_parameters_leave_the_host_alone(model):
    average = torch.optim.swa_utils.AveragedModel(model.adapters["default"])
    average.update_parameters(model.adapters["default"])
    assert sum(x.numel() for x in average.parameters()) == sum(x.numel() for x in model.parameters())
    twin = copy.deepcopy(model)
    assert twin.host is not model.host and twin.quality == model.quality


def test_an_exception_in_the_host_leaves_it_bare(model):
    bare = model(pictures())[0]
    with pytest.raises(TypeError):
        model(pictures(), quality=0.9, unknown=1)
    assert torch.equal(model.host(pictures())[0], bare)


def of_rank(rank: int, port: int, results: Any) -> None:
    """One of two processes: two steps on its half of the batch."""
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    model = opened(iqp.wrap(toy(), sites=SITES).train())
    parallel = nn.parallel.DistributedDataParallel(model)
    train(parallel, pictures(4)[rank::2], torch.tensor([0.9, 0.1, 0.5, float("nan")])[rank::2])
    if rank == 0:
        results.put([x.detach().numpy() for x in model.parameters()])
    torch.distributed.destroy_process_group()


def train(model: nn.Module, x: Tensor, quality: Tensor) -> None:
    descent = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        descent.zero_grad()
        model(x, quality=quality)[0].square().mean().backward()
        descent.step()


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch():
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=of_rank, args=(rank, port, results)) for rank in range(2)]
    for worker in workers:
        worker.start()
    together = [torch.from_numpy(x) for x in results.get(timeout=120)]
    for worker in workers:
        worker.join()
    alone = opened(iqp.wrap(toy(), sites=SITES).train())
    train(alone, pictures(4), torch.tensor([0.9, 0.1, 0.5, float("nan")]))
    for ours, theirs in zip(together, alone.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=1e-6)
