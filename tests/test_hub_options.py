"""How something of the Hub is asked for: the same keyword arguments at every door, and no others."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import CLOSED, Hub, run, serving
from native_pieces import SMALL, acting
from tiny_hosts import iqpir
from torch import Tensor, nn

import iqp_adapter as iqp
from iqp_adapter.core.adapter import KINDS
from iqp_adapter.hosts import loading, registry
from iqp_adapter.hosts.wrap import WrapOptions
from iqp_adapter.native import from_pretrained
from iqp_adapter.store import fetch as fetching
from iqp_adapter.store import hub
from iqp_adapter.store.fetch import WeightFile, fetch
from iqp_adapter.store.hub import HubOptions

OPTIONS = ["revision", "token", "cache_dir", "local_files_only", "force_download"]

DOORS = """
import json, sys
import iqp_adapter as iqp
from iqp_adapter.native import from_pretrained
from iqp_adapter.store.fetch import WeightFile, fetch

def host():
    return iqp.load("host.pth")

def added(**options):
    model = iqp.wrap(host(), adapter="adapter")
    model.add_adapter("second", "me/adapter", **options)

def mirrored(**options):
    options.pop("revision", None)
    return fetch(WeightFile("http://127.0.0.1:9/host.pth", "MIT", mirror="me/weights/host.pth"), **options)

doors = {
    "IQPFR": lambda **options: iqp.IQPFR.from_pretrained("me/native", **options),
    "IQPIR": lambda **options: iqp.IQPIR.from_pretrained("me/iqpir", **options),
    "native": lambda **options: from_pretrained("me/native", **options),
    "load": lambda **options: iqp.load("me/native", **options),
    "load a file": lambda **options: iqp.load("me/weights/host.pth", **options),
    "load an adapter": lambda **options: iqp.load(host(), adapter="me/adapter", **options),
    "wrap a file": lambda **options: iqp.wrap("me/weights/host.pth", **options),
    "wrap with an adapter": lambda **options: iqp.wrap("me/weights/host.pth", adapter="me/adapter", **options),
    "WrappedHost": lambda **options: iqp.WrappedHost.from_pretrained("me/adapter", host(), **options),
    "add_adapter": added,
    "fetch": mirrored,
}
options = json.loads(sys.argv[1])
for name, door in doors.items():
    try:
        door(**options)
        print(name, "came")
    except (OSError, ValueError) as error:
        print(f"{name} {type(error).__name__}: {error}")
"""

COUNT = 11


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of two models and of an adapter for one of them, whose weights are also in a file."""
    place = tmp_path_factory.mktemp("saved")
    host = iqpir().eval()
    acting(SMALL).save_pretrained(place / "native", licence="CC BY 4.0")
    host.save_pretrained(place / "iqpir")
    torch.save(host.state_dict(), place / "host.pth")
    learned(host).save_pretrained(place / "adapter", licence="mit")
    return place


def learned(host: nn.Module) -> iqp.WrappedHost:
    model = iqp.wrap(host, scales=[iqp.ScoreScale("niqe", True, (9.0, 5.0, 3.0))])
    for block in model.adapters["default"].blocks.values():
        block.gate.data.fill_(1.0)
    return model


@pytest.fixture
def server(saved: Path) -> Iterator[Hub]:
    with serving() as hub:
        for name in ("native", "iqpir", "adapter"):
            hub.repositories[f"me/{name}"] = {file.name: file.read_bytes() for file in (saved / name).iterdir()}
            hub.branches.add(f"me/{name}@next")
        hub.repositories["me/weights"] = {"host.pth": (saved / "host.pth").read_bytes()}
        hub.branches.add("me/weights@next")
        yield hub


def through_every_door(server: Hub, place: Path, **options: Any) -> list[str]:
    """What each door says; the server keeps what it was asked by all of them."""
    server.asked.clear()
    server.tokens.clear()
    done = run(DOORS, server.url, place / "home", json.dumps(options))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == COUNT
    return lines


def test_every_door_takes_every_option(server, saved, tmp_path):
    for name in ("host.pth", "adapter"):
        (tmp_path / name).symlink_to(saved / name)
    nothing = through_every_door(server, tmp_path, local_files_only=True)
    assert not server.asked, "local_files_only asks nobody"
    home = tmp_path / "home" / "hub"
    assert all(
        re.search(rf" OSError: .*the cache {home} has no copy; leave out local_files_only", it) for it in nothing
    )

    mine = {"cache_dir": str(tmp_path / "mine"), "revision": "next"}
    came = through_every_door(server, tmp_path, **mine, token="hf_mine")
    assert all(line.endswith(" came") for line in came), came
    assert server.tokens == {"hf_mine"}
    paths = {path for _, path, _ in server.asked}
    assert {f"/me/{name}/resolve/next/model.safetensors" for name in ("native", "iqpir", "adapter")} <= paths
    assert "/me/weights/resolve/next/host.pth" in paths, "of a host alone, the revision is the host's"
    assert "/me/weights/resolve/main/host.pth" in paths, "beside an adapter of the Hub, it is the adapter's"
    assert not list(home.glob("models--*")) and len(list((tmp_path / "mine").glob("models--*"))) == 4

    again = through_every_door(server, tmp_path, **mine, local_files_only=True)
    assert again == came and not server.asked

    for blob in (tmp_path / "mine").glob("models--*/blobs/*"):
        blob.write_bytes(b"damaged")
    healed = through_every_door(server, tmp_path, **mine, force_download=True)
    assert healed == came
    gets = [path for method, path, _ in server.asked if method == "GET"]
    assert len(gets) >= COUNT, "each door fetched it again"


CALLS: dict[str, tuple[Callable[..., Any], str, str]] = {
    "IQPFR": (iqp.IQPFR.from_pretrained, "revison", "revision"),
    "IQPIR": (iqp.IQPIR.from_pretrained, "tokn", "token"),
    "native": (from_pretrained, "torch_dtype", "dtype"),
    "load": (iqp.load, "presicion", "precision"),
    "load, of wrap": (iqp.load, "exampel", "example"),
    "wrap": (iqp.wrap, "typo_dim", "token_dim"),
    "wrap, of the Hub": (iqp.wrap, "local_file_only", "local_files_only"),
    "WrappedHost": (iqp.WrappedHost.from_pretrained, "hots", "host"),
    "add_adapter": (iqp.WrappedHost.add_adapter, "wieght", "weight"),
    "save an adapter": (iqp.WrappedHost.save_pretrained, "dtpye", "dtype"),
    "push an adapter": (iqp.WrappedHost.push_to_hub, "commit_mesage", "commit_message"),
    "save a model": (iqp.IQPFR.save_pretrained, "license", "licence"),
    "push a model": (iqp.IQPIR.push_to_hub, "is_private", "private"),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_unknown_argument_is_named_with_the_nearest_known_one(name):
    function, wrong, right = CALLS[name]
    with pytest.raises(TypeError) as caught:
        function(object(), **{wrong: "x"})
    said = str(caught.value)
    assert re.fullmatch(rf"unknown argument {wrong}; {function.__qualname__} knows .*; nearest: {right}", said)
    assert "self" not in said.split() and right in inspect.signature(function).parameters


def test_an_adapter_on_the_hub_does_not_hide_a_wrong_argument():
    with pytest.raises(TypeError, match="^unknown argument typo; wrap knows host, adapter, "):
        iqp.wrap(iqpir(), adapter="me/adapter", revision="v2", typo=3)


def test_help_shows_every_option_where_it_can_be_given():
    for function in (iqp.IQPFR.from_pretrained, from_pretrained, iqp.load, iqp.wrap, iqp.WrappedHost.from_pretrained):
        shown = inspect.signature(function).parameters
        assert [name for name in shown if name in OPTIONS] == OPTIONS and {"device", "dtype"} <= shown.keys()
        assert "revision: str | None = ..." in str(inspect.signature(function))


def test_the_options_of_wrap_are_those_of_the_hub_and_the_sizes_of_every_kind_of_block():
    assert list(HubOptions.__annotations__) == OPTIONS
    sizes = {name for kind in KINDS.values() for name in kind.sizes}
    assert set(WrapOptions.__annotations__) == sizes | set(OPTIONS)


def test_what_a_trained_adapter_has_itself_cannot_be_asked_for(saved):
    with pytest.raises(ValueError, match=r"adapter is trained and has its own block, rows; leave that out, or train a"):
        iqp.wrap(iqpir(), adapter=saved / "adapter", block="score_map", rows=4)


@pytest.mark.parametrize(
    "door",
    [
        lambda place, **options: iqp.IQPFR.from_pretrained("tiny", **options),
        lambda place, **options: iqp.IQPFR.from_pretrained(place / "native", **options),
        lambda place, **options: iqp.load(acting(SMALL), **options),
        lambda place, **options: iqp.load(place / "host.pth", **options),
        lambda place, **options: iqp.wrap(iqpir(), **options),
        lambda place, **options: iqp.wrap(place / "host.pth", adapter=place / "adapter", **options),
        lambda place, **options: fetch(WeightFile("http://127.0.0.1:9/net.pth", "MIT"), **options),
    ],
)
def test_a_revision_of_what_is_not_on_the_hub_is_refused(saved, door):
    with pytest.raises(ValueError, match=r"^revision is 'v2', but .* is not on the Hub and has none; leave it out$"):
        door(saved, revision="v2")


def test_options_that_contradict_each_other_are_refused_before_anything_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "_bring", lambda *_, **__: pytest.fail("asked"))
    both = {"local_files_only": True, "force_download": True, "cache_dir": tmp_path}
    for call in (lambda: iqp.load("me/native", **both), lambda: fetch(WeightFile(f"{CLOSED}/x.pth", "MIT"), **both)):
        with pytest.raises(
            ValueError, match="^force_download asks a server, and local_files_only asks none; leave out"
        ):
            call()


def test_what_its_authors_published_goes_into_the_cache_that_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv(fetching.FOLDER, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        server.files["/release/net.pth"] = b"weights"
        file = WeightFile(f"{server.url}/release/net.pth", "MIT")
        with pytest.raises(OSError, match="net.pth was not asked, since local_files_only is set; unset it; try again"):
            fetch(file, cache_dir=tmp_path, local_files_only=True)
        assert not server.asked
        path = fetch(file, cache_dir=tmp_path)
        assert path == tmp_path / "iqp_adapter" / "net.pth" == fetch(file, cache_dir=tmp_path, local_files_only=True)
        assert len(server.asked) == 1


# -- where it runs, and in which numbers


def dtypes(model: nn.Module) -> set[torch.dtype]:
    return {value.dtype for value in model.state_dict().values() if value.is_floating_point()}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", ["native", "iqpir"])
@torch.no_grad()
def test_a_model_computes_in_the_numbers_that_are_asked_for(saved, kind, dtype):
    model, exact = from_pretrained(saved / kind, dtype=dtype, device="cpu"), from_pretrained(saved / kind)
    assert dtypes(model) == {dtype} and dtypes(exact) == {torch.float32}
    lq = torch.rand(2, 3, model.resolution, model.resolution)
    asked = {"quality": torch.tensor([0.3, 0.8])} | ({"fidelity": torch.tensor([0.2, 0.9])} if kind == "native" else {})
    restored, wanted = (each.restore(lq, **asked) for each in (model, exact))
    assert restored.dtype == torch.float32
    codes = [each.restore_with_codes(lq)[1] for each in (model, exact)]
    alike = min(float((a == b).float().mean()) for a, b in zip(*codes, strict=True))
    assert alike > (0.9 if dtype == torch.float16 else 0.5) if dtype != torch.float64 else alike == 1
    if dtype == torch.float64:
        torch.testing.assert_close(restored, wanted, rtol=1e-3, atol=1e-4)


def test_other_codes_are_decided_in_those_numbers_too(saved):
    model = iqp.IQPFR.from_pretrained(saved / "native", dtype=torch.bfloat16)
    lq = torch.rand(1, 3, 32, 32)
    before = model.restore(lq)
    scorer = Redness()
    assert model.optimise(lq, scorer, steps=2, kl_weight=0.0).dtype == before.dtype
    assert model.best_of(lq, scorer, samples=2)[:, 0].mean() >= before[:, 0].mean()


class Redness(iqp.Scorer):
    def __init__(self) -> None:
        super().__init__("piqe")
        self.metric, self.differentiable, self.lower_better = "redness", True, False

    def __call__(self, images: Tensor) -> Tensor:
        return 100 * images[:, 0].mean((1, 2))


@torch.no_grad()
def test_host_and_adapter_are_of_the_numbers_that_are_asked_for(saved):
    host = iqp.load(saved / "host.pth")
    lq = torch.rand(1, 3, 32, 32)
    for model in (
        iqp.wrap(host, adapter=saved / "adapter", dtype=torch.float64),
        iqp.WrappedHost.from_pretrained(saved / "adapter", saved / "host.pth", dtype=torch.float64),
        iqp.load(saved / "host.pth", adapter=saved / "adapter", dtype=torch.float64),
        iqp.wrap(saved / "host.pth", dtype=torch.float64, device="cpu"),
    ):
        assert dtypes(model.bare) == dtypes(model) == {torch.float64}
        assert model.restore(lq).dtype == torch.float32
        model.unwrap()
    assert dtypes(host) == {torch.float64}, "a module that is given is moved itself"


def test_numbers_and_devices_that_cannot_be_are_refused_in_one_line(saved):
    for dtype in (torch.int8, "float16"):
        with pytest.raises(
            TypeError, match=rf"^dtype is {dtype!r}; give torch.float32, torch.float16 or torch.bfloat16$"
        ):
            iqp.IQPFR.from_pretrained(saved / "native", dtype=dtype)
    with pytest.raises(ValueError, match="^this machine has no device 'abacus'; it has cpu"):
        iqp.wrap(iqpir(), device="abacus")
    with pytest.raises(ValueError, match="^dtype is torch.float16, but an engine computes at a precision; give one of"):
        iqp.load(saved / "native", dtype=torch.float16, precision="bf16")


# -- a wrapped host by the name of its adapter


def test_a_wrapped_host_comes_by_the_name_of_its_adapter(saved):
    lq = torch.rand(1, 3, 32, 32)
    named = iqp.WrappedHost.from_pretrained(saved / "adapter", saved / "host.pth")
    wrapped = iqp.wrap(saved / "host.pth", adapter=saved / "adapter")
    assert (named.quality, named.training) == ("best", False)
    assert torch.equal(named.restore(lq), wrapped.restore(lq))
    assert not torch.equal(named.restore(lq), named.restore(lq, quality=None))


def test_without_a_host_it_is_the_published_one_of_its_kind(saved, monkeypatch):
    asked: list[Any] = []

    def published(file: WeightFile, **options: Any) -> Path:
        asked.append((file.filename, options))
        return saved / "host.pth"

    known, spec = registry.hosts(), registry.hosts()["iqpir"]
    monkeypatch.setattr(loading, "fetch", published)
    for names in (["other", "iqpir"], ["iqpir-512"]):
        files = {name: WeightFile(f"https://there/{name}.pth", "MIT") for name in names}
        monkeypatch.setitem(known, "iqpir", replace(spec, weights=files))
        model = iqp.WrappedHost.from_pretrained(saved / "adapter", token="hf_mine")
        assert model.name == "iqpir" and asked.pop() == (f"{names[-1]}.pth", {"token": "hf_mine"})
    for names, said in ([], "no weights of which are published"), (["a", "b"], "published are a, b"):
        monkeypatch.setitem(known, "iqpir", replace(spec, weights=dict.fromkeys(names)))
        with pytest.raises(ValueError, match=rf"adapter was trained for iqpir, {said}; give host=, as wrap takes it"):
            iqp.WrappedHost.from_pretrained(saved / "adapter")
