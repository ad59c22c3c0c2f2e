"""Sites of models that nobody has described: told from what their modules do, on toys of every layout and real nets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import iqp_adapter as iqp
from benchmarks.wrap import auto_sites as benchmark
from benchmarks.wrap.architectures import ARCHITECTURES, Small
from iqp_adapter.core.sites import Site
from iqp_adapter.hosts.attached import Attached
from iqp_adapter.hosts.auto_sites import MOST, find_sites

WIDTH = 16


class Attention(nn.Module):
    """Tokens (B, L, C) look at each other; its inner layers see windows of four."""

    def __init__(self, window: int = 4) -> None:
        super().__init__()
        self.window, self.qkv, self.proj = window, nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x.unflatten(1, (-1, self.window)).flatten(0, 1)).chunk(3, -1)  # (B * W, 4, C)
        return self.proj((q @ k.mT).softmax(-1) @ v).reshape(x.shape)


class Block(nn.Module):
    """A residual block of tokens (B, L, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attn = nn.LayerNorm(WIDTH), Attention()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attn(self.norm(x))


class LastBlock(Block):
    """The same on maps whose channels are last (B, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1, 2)).reshape(x.shape)


class TupleBlock(Block):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), "extra"


class SequenceBlock(nn.Module):
    """A residual block of tokens whose sequence is first (L, B, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mha(x, x, x)[0]


class ChannelBlock(nn.Module):
    """A residual block of maps (B, C, H, W)."""

    def __init__(self, channels: int = WIDTH) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x).tanh()


class ChannelAttentionBlock(ChannelBlock):
    """The same with an attention to its channels."""

    def __init__(self, channels: int = WIDTH) -> None:
        super().__init__(channels)
        self.attn = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.attn(x.mean((2, 3), keepdim=True)).sigmoid()


class Net(nn.Module):
    """A restorer: a stem, blocks in their own layout, a head.

    Args:
        block: makes one.
        to, back: maps (B, C, H, W) to the blocks' layout, and back, given the map they were made of.
    """

    def __init__(
        self,
        block: Callable[[], nn.Module],
        count: int = 2,
        to: Callable[[Tensor], Tensor] = lambda x: x,
        back: Callable[[Tensor, Tensor], Tensor] = lambda x, like: x,
    ) -> None:
        super().__init__()
        self.to_layout, self.back = to, back
        self.stem, self.head = nn.Conv2d(3, WIDTH, 3, 1, 1), nn.Conv2d(WIDTH, 3, 3, 1, 1)
        self.blocks = nn.ModuleList(block() for _ in range(count))

    def forward(self, image: Tensor) -> Tensor:
        features = self.stem(image)
        x = self.to_layout(features)
        for block in self.blocks:
            x = block(x)[0] if isinstance(block, TupleBlock) else block(x)
        return self.head(self.back(x, features)) + image


TOKENS = {
    "to": lambda x: x.flatten(2).mT,  # (B, C, H, W) -> (B, L, C)
    "back": lambda x, like: x.mT.reshape(like.shape),
}
SEQUENCE = {
    "to": lambda x: x.flatten(2).permute(2, 0, 1),  # (B, C, H, W) -> (L, B, C)
    "back": lambda x, like: x.permute(1, 2, 0).reshape(like.shape),
}
LAST = {"to": lambda x: x.permute(0, 2, 3, 1), "back": lambda x, like: x.permute(0, 3, 1, 2)}

LAYOUTS: dict[str, tuple[Callable[[], nn.Module], Any, str]] = {
    "tokens": (Block, TOKENS, "BLC"),
    "tokens in a tuple": (TupleBlock, TOKENS, "BLC"),
    "sequence first": (SequenceBlock, SEQUENCE, "LBC"),
    "maps": (ChannelAttentionBlock, {}, "BCHW"),
    "maps, channels last": (LastBlock, LAST, "BHWC"),
}


class OneSize(nn.Module):
    """A net that takes pictures of one size only, as those with position embeddings do."""

    def __init__(self, net: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.net, self.shape = net, shape

    def forward(self, image: Tensor) -> Tensor:
        if tuple(image.shape[1:]) != self.shape:
            raise RuntimeError(f"made for {self.shape}")
        return self.net(image)


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def picture(height: int = 8, width: int = 8, count: int = 1) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def net(block: Callable[[], nn.Module], count: int = 2, **layout: Any) -> nn.Module:
    return seeded(lambda: Net(block, count, **layout))


def hooks(host: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in host.modules())


def assert_contract(host: nn.Module, *example: Tensor) -> list[Site]:
    """Wraps by itself, is the host until a gate opens, looks at the quality then, and is the host again."""
    host.eval()
    with torch.no_grad():
        bare = first(host(*example))
        model = iqp.wrap(host, sites="auto", example=example)
        places = list(model.sites.values())
        for block in model.adapters["default"].blocks.values():
            assert torch.equal(first(model(*example, quality=0.9)), bare)
            nn.init.ones_(block.gate)
            assert not torch.equal(first(model(*example, quality=0.9)), bare)
            nn.init.zeros_(block.gate)
        assert torch.equal(first(model.unwrap()(*example)), bare)
    assert hooks(host) == 0
    return places


def first(output: Any) -> Tensor:
    return output[0] if isinstance(output, (tuple, list)) else output


@pytest.mark.parametrize("name", LAYOUTS)
def test_blocks_with_an_attention_are_found_in_every_layout(name):
    block, layout, expected = LAYOUTS[name]
    host = net(block, **layout)
    assert assert_contract(host, picture()) == [Site(f"blocks.{i}", WIDTH, expected) for i in range(2)]


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_are_told_from_parameters_where_pictures_have_one_size(name):
    block, layout, expected = LAYOUTS[name]
    host = OneSize(net(block, **layout), (3, 8, 8))
    assert [(site.layout, site.dim) for site in assert_contract(host, picture())] == [(expected, WIDTH)] * 2


def test_width_tells_channels_from_rows_where_parameters_can_not():
    host = net(LastBlock, **LAST)
    assert {site.layout for site in find_sites(host, picture(height=WIDTH, width=WIDTH))} == {"BHWC"}


def test_sizes_that_parameters_have_more_often_are_channels():
    host = OneSize(net(LastBlock, **LAST), (3, 3 * WIDTH, 8))
    assert {(site.layout, site.dim) for site in find_sites(host, picture(height=3 * WIDTH))} == {("BHWC", WIDTH)}


def test_parameters_of_size_one_say_nothing():
    class Scaled(ChannelBlock):
        def __init__(self) -> None:
            super().__init__()
            self.scales = nn.ParameterList(torch.ones(1) for _ in range(5))

    assert len(find_sites(OneSize(net(Scaled), (3, 8, 8)), picture())) == 2


def test_what_puts_windows_on_the_axis_of_pictures_is_no_site():
    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.Sequential(Block(), Block())

        def forward(self, x: Tensor) -> Tensor:
            return self.blocks(x.unflatten(1, (-1, 16)).flatten(0, 1)).reshape(x.shape)  # (B, L, C) -> (B * W, 16, C)

    host = net(Windows, **TOKENS)
    assert [site.path for site in assert_contract(host, picture())] == ["blocks.0", "blocks.1"]


@pytest.mark.parametrize(("length", "one_size"), [(16, False), (16, True), (64, False)])
def test_windows_alone_are_no_sites_not_even_one_per_picture(length, one_size):
    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(Block(), Block())

        def forward(self, image: Tensor) -> Tensor:
            x = image.repeat(1, 6, 1, 1)[:, :WIDTH].flatten(2).mT  # (B, C, H, W) -> (B, L, C)
            return self.inner(x.unflatten(1, (-1, length)).flatten(0, 1)).mean()

    host = seeded(Windows)
    with pytest.raises(ValueError, match=r"found no sites in \w+: \d+ modules ran, 0 of them"):
        find_sites(OneSize(host, (3, 8, 8)) if one_size else host, picture())


def test_features_along_the_last_but_one_axis_are_no_tokens():
    class Series(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv1d(3, WIDTH, 1), nn.GELU(), nn.Conv1d(WIDTH, WIDTH, 1))

        def forward(self, image: Tensor) -> Tensor:
            return self.body(image.flatten(2)).sum(1)

    for host in (seeded(Series), OneSize(seeded(Series), (3, 8, 8))):
        with pytest.raises(ValueError, match="0 of them put out a row of features per picture"):
            find_sites(host, picture())


def test_repeated_blocks_are_found_without_an_attention():
    assert [site.path for site in assert_contract(net(ChannelBlock, 3), picture())] == [f"blocks.{i}" for i in range(3)]


def test_the_outermost_blocks_are_chosen():
    class Stage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(Block(), Block())

        def forward(self, x: Tensor) -> Tensor:
            return x + self.inner(x)

    host = net(Stage, 3, **TOKENS)
    assert [site.path for site in find_sites(host, picture())] == ["blocks.0", "blocks.1", "blocks.2"]


def test_of_many_blocks_some_are_chosen_evenly_with_the_last():
    paths = [site.path for site in find_sites(net(ChannelBlock, 16), picture())]
    assert paths == [f"blocks.{i}" for i in range(1, 16, 2)]
    assert len(paths) == MOST


class Stages(nn.Module):
    """Ten blocks as wide as the picture, and six at half its resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, WIDTH, 3, 1, 1), nn.Conv2d(WIDTH, 3, 3, 1, 1)
        self.wide = nn.Sequential(*(ChannelAttentionBlock() for _ in range(10)))
        self.deep = nn.Sequential(*(ChannelAttentionBlock() for _ in range(6)))
        self.down, self.up = nn.Conv2d(WIDTH, WIDTH, 2, 2), nn.ConvTranspose2d(WIDTH, WIDTH, 2, 2)

    def forward(self, image: Tensor) -> Tensor:
        x = self.wide(self.stem(image))
        return self.head(x + self.up(self.deep(self.down(x))))


def test_the_deepest_stage_comes_first():
    paths = [site.path for site in assert_contract(seeded(Stages), picture())]
    assert paths == ["wide.4", "wide.9", *(f"deep.{i}" for i in range(6))]


def test_blocks_with_an_attention_come_before_deeper_ones_without():
    class Mixed(Stages):
        def __init__(self) -> None:
            super().__init__()
            self.deep = nn.Sequential(*(ChannelBlock() for _ in range(6)))

    paths = [site.path for site in find_sites(seeded(Mixed), picture())]
    assert paths == [f"wide.{i}" for i in (0, 1, 2, 4, 5, 6, 7, 9)]


def test_blocks_that_change_the_shape_are_feature_maps():
    class Down(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(WIDTH, WIDTH, 2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).tanh()

    host = net(Down, back=lambda x, like: nn.functional.interpolate(x, scale_factor=4))
    assert [site.path for site in assert_contract(host, picture())] == ["blocks.1"]


class Plain(nn.Module):
    """No two of its blocks are alike; its layers are one at full and three at half resolution, one of them in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, WIDTH, 3, 1, 1), nn.Conv2d(WIDTH, WIDTH, 2, 2)
        self.relu, self.conv = nn.ReLU(inplace=True), nn.Conv2d(WIDTH, WIDTH, 3, 1, 1)
        self.head = nn.ConvTranspose2d(WIDTH, 3, 2, 2)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.conv(self.relu(self.down(self.stem(image)))))


def paths_of(build: Callable[[], nn.Module]) -> list[str]:
    return [site.path for site in assert_contract(seeded(build), picture())]


def test_what_is_activated_in_place_is_no_site():
    assert paths_of(Plain) == ["relu", "conv"]


def test_functions_that_work_in_place_are_noticed_too():
    class Functional(Plain):
        def forward(self, image: Tensor) -> Tensor:
            return self.head(self.conv(torch.relu_(self.down(self.stem(image)))))

    assert paths_of(Functional) == ["conv"]


def test_what_is_overwritten_within_its_parent_and_after_it_is_no_site():
    class Nested(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.Sequential(self.down)

    assert paths_of(Nested) == ["relu", "conv"]


def test_what_is_overwritten_when_all_has_run_is_no_site():
    class Late(Plain):
        def forward(self, image: Tensor) -> Tensor:
            return torch.relu_(self.conv(self.down(self.stem(image)).tanh()))

    assert paths_of(Late) == ["down"]


def test_what_is_added_to_in_place_after_others_have_run_is_a_site():
    class Residual(Plain):
        def forward(self, image: Tensor) -> Tensor:
            x = self.down(self.stem(image))
            x += self.conv(x)
            return self.head(x)

    assert paths_of(Residual) == ["down", "conv"]


def test_blocks_are_preferred_to_layers():
    class Bodied(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(self.down, self.relu, self.conv)

        def forward(self, image: Tensor) -> Tensor:
            return self.head(self.body(self.stem(image)))

    host = seeded(Bodied)
    del host.down, host.relu, host.conv
    assert [site.path for site in assert_contract(host, picture())] == ["body"]


def test_one_row_of_features_per_picture_is_no_map():
    class Squeezed(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Conv2d(WIDTH, WIDTH, 1)

        def forward(self, image: Tensor) -> Tensor:
            x = self.conv(self.relu(self.down(self.stem(image))))
            return self.head(x * self.gate(x.mean((2, 3), keepdim=True)))

    assert paths_of(Squeezed) == ["relu", "conv"]


def test_modules_that_change_nothing_are_dropped():
    class Idle(Net):
        def forward(self, image: Tensor) -> Tensor:
            self.blocks[1](self.stem(image))
            return self.head(self.blocks[0](self.stem(image)))

    assert [site.path for site in assert_contract(seeded(lambda: Idle(ChannelBlock)), picture())] == ["blocks.0"]


class Touchy(ChannelBlock):
    """Remembers its own output, so that adding zeros to it can be seen."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = super().forward(x)
        return self.last


def test_modules_that_no_hook_may_touch_are_dropped():
    class Suspicious(Net):
        def forward(self, image: Tensor) -> Tensor:
            x = self.blocks[0](self.stem(image))
            return self.head(x if x is self.blocks[0].last else x + 1) + self.head(self.blocks[1](x))

    assert [site.path for site in find_sites(seeded(lambda: Suspicious(Touchy)), picture())] == ["blocks.1"]


def test_modules_that_no_hooks_may_touch_together_are_chosen_one_by_one():
    class Counting(Net):
        """Adds what is there once too often when more than one output is not the block's own."""

        def forward(self, image: Tensor) -> Tensor:
            x, foreign = self.stem(image), 0
            for block in self.blocks:
                x = block(x)
                foreign += x is not block.last
            return self.head(x * (2 if foreign > 1 else 1))

    assert [site.path for site in find_sites(seeded(lambda: Counting(Touchy)), picture())] == ["blocks.0"]


def test_modules_that_compute_otherwise_under_a_hook_are_no_sites():
    class Shy(ChannelBlock):
        """Has a fast path without hooks, as `nn.TransformerEncoderLayer` has."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (1.001 if self._forward_hooks else 1)

    assert [site.path for site in assert_contract(net(Shy), picture())] == ["stem", "blocks.0.conv", "blocks.1.conv"]


def test_modules_that_run_at_several_sizes_are_no_sites():
    class Twice(Net):
        def forward(self, image: Tensor) -> Tensor:
            x = self.stem(image)
            half = nn.functional.interpolate(self.blocks[0](nn.functional.avg_pool2d(x, 2)), scale_factor=2)
            return self.head(self.blocks[1](self.blocks[0](x) + half))

    assert [site.path for site in assert_contract(seeded(lambda: Twice(ChannelBlock)), picture())] == ["blocks.1"]


def test_hosts_that_overwrite_their_input_or_draw_numbers_are_understood():
    class Rough(Net):
        def forward(self, image: Tensor) -> Tensor:
            image *= 255
            return super().forward(image + torch.randn_like(image))

    example = picture()
    sites = find_sites(seeded(lambda: Rough(ChannelBlock)), example)
    assert [site.path for site in sites] == ["blocks.0", "blocks.1"]
    assert torch.equal(example, picture())


def test_several_arguments_are_given_as_a_tuple():
    class Masked(Net):
        def forward(self, image: Tensor, mask: Tensor) -> Tensor:
            return super().forward(image * mask)

    assert len(assert_contract(seeded(lambda: Masked(ChannelBlock)), picture(), picture()[:, :1])) == 2


def test_the_host_is_left_as_it_was_found():
    host = net(ChannelBlock)
    host.train()
    host.blocks[1].eval()
    before = [module.training for module in host.modules()]
    handle = host.head.register_forward_hook(lambda *_: None)
    state = torch.get_rng_state()
    find_sites(host, picture())
    assert [module.training for module in host.modules()] == before
    assert torch.equal(torch.get_rng_state(), state)
    handle.remove()
    assert hooks(host) == 0


def test_a_host_that_fails_is_left_as_it_was_found():
    class Failing(Net):
        def forward(self, image: Tensor) -> Tensor:
            super().forward(image * torch.rand(()))
            raise RuntimeError("no luck today\nfor many reasons")

    host = seeded(lambda: Failing(ChannelBlock)).train()
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"^Failing does not run on \(1, 3, 8, 8\): no luck today; give another"):
        find_sites(host, picture())
    assert hooks(host) == 0
    assert all(module.training for module in host.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_running_statistics_stay():
    host = seeded(lambda: Net(lambda: nn.Sequential(nn.BatchNorm2d(WIDTH), ChannelBlock()))).train()
    before = {name: value.clone() for name, value in host.state_dict().items()}
    find_sites(host, picture())
    assert all(torch.equal(value, before[name]) for name, value in host.state_dict().items())


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
def test_nothing_is_recorded_whatever_mode_it_is_called_in(mode):
    class Asked(Net):
        def forward(self, image: Tensor) -> Tensor:
            assert not torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()
            return super().forward(image)

    host = seeded(lambda: Asked(ChannelBlock))
    with mode():
        assert len(find_sites(host, picture())) == 2


def test_an_example_is_needed():
    with pytest.raises(ValueError, match=r"needs an input of it; give example=\.\.\.$"):
        iqp.wrap(net(ChannelBlock), sites="auto")


def test_a_host_without_features_is_told_what_was_seen():
    class Filter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blur = nn.Conv2d(3, 3, 3, 1, 1)

        def forward(self, image: Tensor) -> Tensor:
            return self.blur(image)

    with pytest.raises(ValueError, match=r"Filter: 1 modules ran, 0 .*last: blur \(1, 3, 8, 8\).*sites=\[Site"):
        find_sites(seeded(Filter), picture())


def test_the_choice_is_logged(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "iqp_adapter"):
        find_sites(net(ChannelAttentionBlock), picture())
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "Net: chose 2 sites among its repeated attention blocks"
    assert lines[1:] == [f"site blocks.{i}: BCHW, {WIDTH} channels" for i in range(2)]


REAL: dict[str, tuple[str, dict[str, Any], list[Site]]] = {
    "SwinIR": (
        "spandrel.architectures",
        {"img_size": 16, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 2), "window_size": 4, "upscale": 1},
        [Site(f"layers.{i}", 16, "BLC") for i in range(2)],
    ),
    "ESRGAN": (
        "spandrel.architectures",
        {"num_filters": 8, "num_blocks": 2, "scale": 1},
        [Site(f"model.1.sub.{i}", 8, "BCHW") for i in range(2)],
    ),
    "Restormer": (
        "spandrel_extra_arches.architectures",
        {"dim": 8, "num_blocks": [1, 1, 1, 2], "num_refinement_blocks": 1, "heads": [1, 1, 2, 2]},
        [
            Site("encoder_level1.0", 8, "BCHW"),
            Site("encoder_level2.0", 16, "BCHW"),
            Site("encoder_level3.0", 32, "BCHW"),
            Site("latent.0", 64, "BCHW"),
            Site("latent.1", 64, "BCHW"),
            Site("decoder_level3.0", 32, "BCHW"),
            Site("decoder_level2.0", 16, "BCHW"),
            Site("refinement.0", 16, "BCHW"),
        ],
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_real_architectures(name):
    package, arguments, expected = REAL[name]
    pytest.importorskip(package.partition(".")[0])
    host = seeded(lambda: getattr(import_module(f"{package}.{name}"), name)(**arguments))
    assert assert_contract(host, picture(16, 16)) == expected


def test_the_benchmark_lists_every_architecture():
    for package, listed in ARCHITECTURES.items():
        folder = pytest.importorskip(f"{package}.architectures").__path__
        assert set(listed) == {found.name for found in iter_modules(folder) if not found.name.startswith("_")}


@pytest.fixture
def threads() -> Iterator[None]:
    """The benchmark runs on one thread; other tests get theirs back."""
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


@pytest.mark.usefixtures("threads")
def test_the_benchmark_tells_what_works_from_what_does_not(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("spandrel")
    works, fails = benchmark.judge("spandrel", "DnCNN"), benchmark.judge("spandrel", "SeemoRe")
    assert works["works"]
    assert all(works["claims"].values())
    assert not fails["works"]
    assert fails["reason"].startswith("SeemoRe does not run on (2, 3, 32, 32)")
    monkeypatch.setattr(benchmark, "ARCHITECTURES", {"spandrel": {name: Small({}, note="n") for name in ("A", "B")}})
    text = benchmark.table({"spandrel": {"A": works, "B": fails}})
    assert "1 of 2 architectures" in text
    assert "| A | yes | `model.1`" in text
    assert "| B | **no** |  | n; SeemoRe does not run" in text


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("broken", ["bit_exact_at_init", "every_site_is_heard", "keys_stay", "unwrap_bit_exact"])
def test_the_benchmark_sees_a_claim_that_does_not_hold(broken, monkeypatch: pytest.MonkeyPatch):
    class Broken(iqp.WrappedHost):
        def __init__(self, host: nn.Module, *others: Any) -> None:
            super().__init__(host, *others)
            if broken == "keys_stay":
                nn.init.zeros_(host.head.bias)

        def unwrap(self) -> nn.Module:
            host = super().unwrap()
            if broken == "unwrap_bit_exact":
                host.head.register_forward_hook(lambda *_: None)
            return host

    def broken_inject(self: Attached, site: Site, x: Tensor) -> Tensor:
        changed = inject(self, site, x)
        return {"bit_exact_at_init": changed + 1, "every_site_is_heard": x}.get(broken, changed)

    inject = Attached.inject
    monkeypatch.setattr(Attached, "inject", broken_inject)
    monkeypatch.setattr("iqp_adapter.hosts.wrap.WrappedHost", Broken)
    monkeypatch.setattr(benchmark, "build", lambda package, name: net(ChannelBlock).eval())
    monkeypatch.setattr(benchmark, "example", lambda package, name: (picture(),))
    found = benchmark.judge("spandrel", "any")
    assert not found["works"]
    assert not found["claims"][broken]
    assert benchmark.CLAIMS[broken] in found["reason"]
