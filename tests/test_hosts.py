"""What the host files say of each host: which it is, where its sites are, how it is called, how it is built.

The copies of CodeFormer that packages on PyPI hold are tested by `pytest -m slow tests/test_hosts.py`: each is unpacked
without its dependencies into a folder of its own, and run in a process of its own, since three of them claim the same
name. That needs a package index.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pickle
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stand_ins
import tiny_hosts
import torch
from tiny_hosts import TINY_HOSTS, assembled, tensors
from torch import Tensor, nn

import iqp_adapter as iqp
from iqp_adapter import adapters
from iqp_adapter.hosts.loading import build
from iqp_adapter.hosts.registry import hosts, recognise

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning", "ignore:.*torch.jit.*:DeprecationWarning")

TABLES = sorted((Path(__file__).parent / "data" / "hosts").glob("*.json"))
LAYOUT = {"LBC": "LBC", "BLC": "BLC", "BCHW": "BCHW", "BC": "BN"}
"""Axes, as a table writes them -> layout of a site."""


def tiny(name: str) -> nn.Module:
    tiny_hosts.make_importable()
    for package in TINY_HOSTS[name].needs:
        pytest.importorskip(package)
    return TINY_HOSTS[name].build()


@pytest.fixture(params=TINY_HOSTS, ids=str)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=TABLES, ids=lambda path: path.stem)
def table(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What is known of an official class at 512 px."""
    return json.loads(request.param.read_text(encoding="utf-8"))


@pytest.fixture
def stand_in(table: dict[str, Any]) -> nn.Module:
    """Of full depth, as the official class has it, and hardly any width."""
    return getattr(stand_ins, table["class"])(width=2).eval()


class Calls:
    """What every module was called with and returned, the last time it was."""

    def __init__(self, host: nn.Module):
        self.arguments: dict[str, tuple[Any, ...]] = {}
        self.named: dict[str, dict[str, Any]] = {}
        self.outputs: dict[str, Any] = {}
        for path, module in host.named_modules():
            module.register_forward_hook(lambda _, *call, path=path: self.keep(path, *call), with_kwargs=True)

    def keep(self, path: str, arguments: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        self.arguments[path], self.named[path], self.outputs[path] = arguments, named, output


def assert_like(value: Any, form: Any, where: str, batch: int = 2) -> None:
    """Holds a value to its form in a table: axes as "B C=256 H=16 W=16", "*" for anything, null for None."""
    if form == "*":
        return
    if form is None:
        assert value is None, where
    elif isinstance(form, list):
        assert isinstance(value, tuple) and len(value) == len(form), where
        for index, (part, inner) in enumerate(zip(value, form, strict=True)):
            assert_like(part, inner, f"{where}[{index}]")
    elif isinstance(form, dict):
        assert isinstance(value, dict) and value.keys() == form.keys(), where
        for key, inner in form.items():
            assert_like(value[key], inner, f"{where}[{key}]")
    else:
        axes = [axis.partition("=")[::2] for axis in form.split()]
        assert isinstance(value, Tensor) and value.ndim == len(axes), where
        for size, (letter, number) in zip(value.shape, axes, strict=True):
            wanted = {"B": batch, "BL": batch * int(number or 1)}.get(letter, int(number or 1))
            free = letter in "CN" and number != "3"
            assert free or size == wanted, f"{where} is {tuple(value.shape)}, {form}"


def test_stand_ins_are_what_the_tables_say(table, stand_in):
    calls = Calls(stand_in)
    with torch.no_grad():
        output = stand_in(torch.rand(2, 3, 512, 512), **table["call"])
    assert_like(output, table["returns"], "returns")
    for path, form in table["outputs"].items():
        assert path in calls.outputs, f"{path} did not run"
        assert_like(calls.outputs[path], form, path)
    for path, form in table["inputs"].items():
        assert_like(calls.arguments[path][0], form, f"input of {path}")
    for path, keywords in table["keywords"].items():
        assert set(keywords) == calls.named[path].keys(), path
    for path, count in table["positional"].items():
        assert len(calls.arguments[path]) == count, path
    for path, form in table["parameters"].items():
        assert_like(stand_in.get_parameter(path), form, path)
    for path in table["silent"]:
        assert stand_in.get_submodule(path) is not None and path not in calls.outputs, f"{path} ran"


def test_stand_ins_have_the_arguments_of_the_tables(table, stand_in):
    arguments = [
        argument.replace(annotation=argument.empty)
        for argument in inspect.signature(stand_in.forward).parameters.values()
    ]
    assert str(inspect.Signature(arguments)) == table["signature"]


def test_sites_and_codes_are_where_the_tables_say(table, stand_in):
    spec = recognise(stand_in)
    assert spec.name == table["host"]
    assert all(stand_in.get_submodule(path) is not None for path in table["modules"])
    assert spec.resolution(stand_in) == 512
    places = [*spec.sites(stand_in), *(spec.code_sites(stand_in) if spec.code_sites else [])]
    if spec.codes:
        codes = spec.codes(stand_in)
        places += [codes.logits, codes.entry]
        assert layout(table["outputs"][codes.features]) == "BCHW"
        assert any(codes.codebook(stand_in) is stand_in.get_parameter(path) for path in table["parameters"])
    for site in places:
        form = table["outputs" if site.on == "output" else "inputs"][site.path]
        assert layout(form) == site.layout, site
    with torch.no_grad(), iqp.wrap(stand_in).conditioned(quality=0.9):
        stand_in(torch.rand(1, 3, 512, 512), **table["call"])


def layout(form: str) -> str:
    return LAYOUT["".join(axis[0] for axis in form.split())]


def test_code_only_gives_the_logits_and_features_of_the_official_codeformer():
    host = tiny("codeformer-official")
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        logits, features = host(x, code_only=True)
        assert all(map(torch.equal, (logits, features), host(x)[1:]))


STEERED = ("codeformer-spandrel", "codeformer-official", "vqfr", "daefr", "iqpir", "native")
"""Small hosts with sites before their codes, and others behind them."""


def test_hosts_with_two_kinds_of_sites_are_steered_here():
    assert {TINY_HOSTS[name].kind for name in STEERED} == {spec.name for spec in hosts().values() if spec.code_sites}


@pytest.mark.parametrize("name", STEERED)
@pytest.mark.parametrize("sites", [None, "codes"])
@torch.no_grad()
def test_an_adapter_acts_behind_the_codes_unless_it_is_to_steer_them(name, sites):
    model, side = learned(iqp.wrap(tiny(name), sites=sites)), TINY_HOSTS[name].side
    lq = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    logits, pictures = {}, {}
    for quality in (None, 0.9):
        with model.conditioned(quality):
            logits[quality] = torch.cat([each.flatten() for each in model.decision(lq).logits])
        pictures[quality] = model.restore(lq, quality=quality)
    assert torch.equal(logits[None], logits[0.9]) == (sites is None)
    assert not torch.equal(pictures[None], pictures[0.9]) or sites == "codes"  # other logits may choose equal codes


@torch.no_grad()
def test_codes_alone_are_asked_for_with_an_adapter_behind_them():
    host, x = tiny("codeformer-official"), torch.rand(1, 3, 32, 32)
    bare = host(x, code_only=True)
    model = learned(iqp.wrap(host))
    assert all(map(torch.equal, tensors(model(x, code_only=True, quality=0.9)), tensors(bare)))


def test_words_for_sites_are_known_ones():
    with pytest.raises(ValueError, match="this gpen decides no codes that an adapter could steer; leave sites out"):
        iqp.wrap(tiny("gpen"), sites="codes")
    with pytest.raises(ValueError, match=r"sites is 'code'; give a list of sites, 'auto' or 'codes'"):
        iqp.wrap(tiny("gpen"), kind="gpen", sites="code")


def learned(model: iqp.WrappedHost) -> iqp.WrappedHost:
    """As if its adapter had learned."""
    for block in model.adapters["default"].blocks.values():
        nn.init.constant_(block.gate, 5.0)
    return model


def kinds(state: dict[str, Tensor]) -> list[str]:
    return [spec.name for spec in hosts().values() if spec.recognises(spec.plain(state))]


def test_every_host_is_recognised_as_its_kind_and_no_other(name):
    host = tiny(name)
    assert [kind for kind, spec in hosts().items() if spec.recognises(list(host.state_dict()))] == [
        TINY_HOSTS[name].kind
    ]
    assert recognise(host).name == TINY_HOSTS[name].kind
    assert kinds(host.state_dict()) == [TINY_HOSTS[name].kind]


def test_restoreformer_is_recognised_in_files_of_its_repository():
    own = tiny("restoreformer++").state_dict()
    state = {f"vqvae.{key}": value for key, value in own.items()} | {"vqvae.quantize.utility_counter": torch.zeros(8)}
    assert kinds(state) == ["restoreformer"]
    assert hosts()["restoreformer"].plain(state).keys() == own.keys()


def test_an_unknown_host_is_told_the_nearest_kind():
    parts = {"feat_emb": nn.Linear(2, 2), "idx_pred_layer": nn.Sequential(nn.ReLU(), nn.Linear(2, 2))}
    parts["quantize"] = nn.ModuleDict({"embedding": nn.Embedding(2, 2)})
    with pytest.raises(ValueError, match=r"ModuleDict is no known host; the nearest is codeformer \(75% of its keys\)"):
        iqp.wrap(nn.ModuleDict(parts))


HOST_FILE = """
'''A host for tests.'''
from iqp_adapter import HostSpec
from iqp_adapter import Site

def sites(host):
    return [Site("0", host[0].out_features, "BN")]

def restore(host, lq):
    return lq

def resolution(host):
    return None

HOST = HostSpec(
    name="{name}", source="here", licence="MIT", has=("{has}",), sites=sites, restore=restore, resolution=resolution
)
"""


@pytest.fixture
def more_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files are host files for one test."""
    monkeypatch.setattr(adapters, "__path__", [*adapters.__path__, str(tmp_path / "adapters")])
    (tmp_path / "adapters").mkdir()
    before = set(sys.modules)
    hosts.cache_clear()
    yield tmp_path
    hosts.cache_clear()
    for module in set(sys.modules) - before:
        if "my_host" in module:
            del sys.modules[module]


def own_host() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).eval()


def test_a_file_in_adapters_adds_a_host(more_hosts):
    (more_hosts / "adapters" / "my_host.py").write_text(HOST_FILE.format(name="my_host", has="1.bias"))
    model = iqp.wrap(own_host())
    assert model.spec.name == "my_host" and list(model.sites) == ["0"]
    assert model(torch.rand(2, 4), quality=0.5).shape == (2, 4)


def test_an_entry_point_of_another_package_adds_a_host(more_hosts, monkeypatch):
    (more_hosts / "my_host_package.py").write_text(HOST_FILE.format(name="theirs", has="1.bias"))
    package = more_hosts / "my_host_package-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: my-host-package\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[iqp_adapter.hosts]\ntheirs = my_host_package:HOST\n")
    monkeypatch.setattr(sys, "path", [str(more_hosts), *sys.path])
    hosts.cache_clear()
    assert recognise(own_host()).name == "theirs"


def test_two_kinds_that_fit_are_an_error(more_hosts):
    (more_hosts / "adapters" / "my_host.py").write_text(HOST_FILE.format(name="my_host", has="feat_emb.weight"))
    host = tiny("codeformer-official")
    with pytest.raises(ValueError, match=r"CodeFormer looks like codeformer and my_host; say which by wrap\(host, k"):
        iqp.wrap(host)
    assert iqp.wrap(host, kind="codeformer").spec.name == "codeformer"


def test_restored_pictures_keep_shape_and_range(name):
    model = iqp.wrap(tiny(name))
    lq = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    restored = model.restore(lq)
    assert restored.shape == lq.shape and 0 <= restored.min() < restored.max() <= 1


PICTURE = {
    "codeformer-spandrel": lambda host, x: host(x, weight=0.3)[0],
    "codeformer-official": lambda host, x: host(x, w=0.3, adain=True)[0],
    "vqfr": lambda host, x: host(x, fidelity_ratio=0.3)["main_dec"],
}


@pytest.mark.parametrize("name", PICTURE)
def test_fidelity_is_the_hosts_own_weight(name):
    host = tiny(name)
    x = torch.rand(2, 3, TINY_HOSTS[name].side, TINY_HOSTS[name].side)
    with torch.no_grad():
        expected = PICTURE[name](host, 2 * x - 1) / 2 + 0.5
        assert torch.equal(hosts()[TINY_HOSTS[name].kind].restore(host, x, fidelity=0.3), expected)


@pytest.mark.parametrize("name", PICTURE)
def test_a_compiled_host_is_restored_with(name):
    host = tiny(name)
    lq = torch.rand(1, 3, TINY_HOSTS[name].side, TINY_HOSTS[name].side)
    bare = iqp.wrap(host)
    expected = bare.restore(lq, fidelity=0.3)
    assert not torch.equal(bare.restore(lq, fidelity=0.9), expected)
    compiled = torch.compile(bare.unwrap(), backend="eager")
    assert torch.equal(iqp.wrap(compiled).restore(lq, fidelity=0.3), expected)


class AlwaysAdapted(stand_ins.CodeFormer):
    """Called as spandrel's class, which always adjusts colours."""

    def forward(self, x: Tensor, weight: float = 0.5, **others: Any) -> tuple[Tensor, ...]:
        return super().forward(x, w=weight, adain=True)[:2]


@pytest.mark.parametrize("make", [stand_ins.CodeFormer, AlwaysAdapted])
@pytest.mark.parametrize(("codes", "call"), [(512, {"w": 1, "adain": False}), (16, {"w": 0, "adain": True})])
def test_weights_of_other_tasks_are_called_as_their_scripts_do(make, codes, call):
    """Inpainting has 512 codes, colorization more; neither fuses features at 256 px."""
    torch.manual_seed(0)
    host, lq = make(3, 1, codes=codes).eval(), torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        expected, by_hand = (
            stand_ins.CodeFormer.forward(host, 2 * lq - 1, **(call | changed))[0] / 2 + 0.5
            for changed in ({}, {"w": 0.3})
        )
        model = iqp.wrap(host)
        torch.testing.assert_close(hosts()["codeformer"].restore(host, lq), expected)
        torch.testing.assert_close(model.restore(lq, quality=0.9), expected.clamp(0, 1))
        torch.testing.assert_close(hosts()["codeformer"].restore(host, lq, fidelity=0.3), by_hand)
    assert not host.generator.blocks[0]._forward_pre_hooks
    if make is AlwaysAdapted:
        assert (model.codes.adain is None) is (codes == 512)


@pytest.mark.parametrize("pair", [True, False])
def test_gpen_returns_a_picture_or_a_pair(pair, monkeypatch):
    host = tiny("gpen")
    lq = torch.rand(2, 3, 16, 16)
    expected = iqp.wrap(host).unwrap()(2 * lq - 1)[0] / 2 + 0.5
    if not pair:
        forward = host.forward
        monkeypatch.setattr(host, "forward", lambda x: forward(x)[0])
    with torch.no_grad():
        assert torch.equal(hosts()["gpen"].restore(host, lq), expected)


def test_swallowed_arguments_are_taken_and_change_nothing(name):
    host, arguments = tiny(name), TINY_HOSTS[name].arguments
    spec = hosts()[TINY_HOSTS[name].kind]
    x = torch.rand(1, 3, TINY_HOSTS[name].side, TINY_HOSTS[name].side)
    with torch.no_grad():
        bare = tensors(host(x, **arguments))
        for swallowed in spec.swallowed(host) if spec.swallowed else ():
            assert all(map(torch.equal, tensors(host(x, **arguments, **{swallowed: 0.123})), bare)), swallowed


def test_what_a_host_refuses_is_not_called_swallowed():
    for name in ("codeformer-official", "restoreformer-official"):
        host = tiny(name)
        assert not hosts()[TINY_HOSTS[name].kind].swallowed(host)
        with pytest.raises(TypeError):
            host(torch.rand(1, 3, 32, 32), weight=0.5)


def test_a_native_model_with_a_dial_of_its_own_is_refused():
    with pytest.raises(ValueError, match="this IQPFR has a dial of its own; .* condition=False"):
        iqp.wrap(iqp.IQPFR.from_pretrained("tiny"))


def test_specs_can_be_pickled():
    for spec in hosts().values():
        assert pickle.loads(pickle.dumps(spec)) == spec


def test_published_files_have_names_of_their_own():
    files = [(name, file) for spec in hosts().values() for name, file in spec.weights.items()]
    names = [name for name, _ in files]
    assert len(names) == len(set(names))
    assert {
        "codeformer",
        "gfpgan",
        "gfpgan-1.3",
        "restoreformer",
        "restoreformer++",
        "vqfr",
        "daefr",
        "swinir-face",
    } <= set(names)
    for name, file in files:
        assert file.url.startswith("https://") and file.licence, name
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256), name


def test_names_and_attention_tell_a_restoreformer_from_other_autoencoders():
    state = dict.fromkeys(tiny("restoreformer-official").state_dict(), torch.zeros(1))
    other = {key: value for key, value in state.items() if "norm2" not in key}
    assert kinds(state) == ["restoreformer"] and kinds(other) == []


GFPGAN_128 = tiny_hosts.GFPGAN | {"out_size": 128, "channel_multiplier": 2, "num_mlp": 3}


def gfpgan_128() -> nn.Module:
    tiny_hosts.make_importable()
    gfpgan = pytest.importorskip("gfpgan.archs.gfpganv1_clean_arch")
    return gfpgan.GFPGANv1Clean(**GFPGAN_128).eval()


@pytest.mark.parametrize("make", ["restoreformer-gfpgan", "restoreformer-spandrel", "gfpgan-clean", gfpgan_128])
def test_a_state_builds_the_host_it_came_from(make):
    host = make() if callable(make) else tiny(make)
    spec, state = recognise(host), host.state_dict()
    built = build(spec, {spec.prefix + key: value for key, value in state.items()}, "a file").eval()
    assert_same(built, state)
    x = torch.rand(1, 3, spec.resolution(host), spec.resolution(host))
    with torch.no_grad():
        assert torch.equal(spec.restore(built, x), spec.restore(host, x))


def assert_same(host: nn.Module, state: dict[str, Tensor]) -> None:
    assert list(host.state_dict()) == list(state)
    assert all(map(torch.equal, host.state_dict().values(), state.values()))


def test_a_state_builds_codeformer():
    """Its encoder and generator have one size only: 75 million parameters, however small the Transformer is."""
    arch = pytest.importorskip("spandrel_extra_arches.architectures.CodeFormer")
    host = arch.CodeFormer(
        dim_embd=64, n_head=8, n_layers=2, codebook_size=32, connect_list=["32", "64", "128"], latent_size=256
    )
    state = host.state_dict()
    assert_same(build(hosts()["codeformer"], state, "a file"), state)


def test_the_original_gfpgan_is_built_where_its_operations_are(monkeypatch):
    host = tiny("gfpgan-original")
    fused_act = importlib.import_module("basicsr.ops.fused_act.fused_act")
    spec, state = hosts()["gfpgan"], host.state_dict()
    monkeypatch.delattr(fused_act, "fused_act_ext", raising=False)
    with pytest.raises(ValueError, match=r"this is the original GFPGAN, which needs .*take GFPGANv1.4.pth"):
        spec.build(state)
    monkeypatch.setattr(fused_act, "fused_act_ext", None, raising=False)
    built = build(spec, state, "a file")
    assert type(built) is type(host)
    assert_same(built, state)


MISSING = {
    "codeformer": ("spandrel_extra_arches.architectures.CodeFormer", r"pip install iqp_adapter\[spandrel\]"),
    "restoreformer": ("gfpgan.archs.restoreformer_arch", "pip install gfpgan"),
    "gfpgan": ("gfpgan.archs.gfpganv1_clean_arch", "pip install gfpgan"),
}


@pytest.mark.parametrize("kind", MISSING)
def test_a_missing_package_is_named_in_one_line(kind, monkeypatch):
    module, message = MISSING[kind]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=message) as error:
        hosts()[kind].build({})
    assert "\n" not in str(error.value)


COPIES = {
    "codeformer-pip==0.0.4": "codeformer.basicsr.archs.codeformer_arch",
    "codeformer-perceptor": "codeformer.codeformer_arch",
    "vscodeformer": "vscodeformer.codeformer_arch",
    "codeformer==0.0.11": "basicsr.archs.codeformer_arch",
}
"""Distribution on PyPI -> its module with CodeFormer's class."""


@pytest.mark.slow
@pytest.mark.parametrize("distribution", COPIES)
def test_copies_of_codeformer_on_pypi_are_wrapped(distribution, tmp_path, root):
    install = (sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", tmp_path, distribution)
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip cannot install {distribution}: {done.stderr.strip().splitlines()[-1]}")
    code = f"from test_hosts import check_copy; check_copy({COPIES[distribution]!r}, {str(tmp_path)!r})"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, root, root / "tests")))}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "wrapped"


def check_copy(module: str, folder: str) -> None:
    """Runs in a process of its own, in which the copy's package is its files, without what its `__init__` imports."""
    tiny_hosts.make_importable()
    sys.modules["lpips"] = types.ModuleType("lpips")
    package = types.ModuleType(module.split(".")[0])
    package.__path__ = [str(Path(folder) / package.__name__)]
    sys.modules[package.__name__] = package
    source = importlib.import_module(module)
    assert Path(source.__file__).is_relative_to(folder)
    torch.manual_seed(0)
    host = assembled(source).eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        bare_outputs = tensors(host(x, w=0.5, adain=True))
        model = iqp.wrap(host)
        assert model.spec.name == "codeformer" and len(model.sites) == 3
        assert all(map(torch.equal, tensors(model(x, w=0.5, adain=True, quality=0.9)), bare_outputs))
        for block in model.adapters["default"].blocks.values():
            block.gate.fill_(1)
        picture, logits, _ = model(x, w=0.5, adain=True, quality=0.9)
        assert not torch.equal(picture, bare_outputs[0]) and torch.equal(logits, bare_outputs[1])
        assert model.restore(torch.rand(1, 3, 40, 56), quality=0.9).shape == (1, 3, 40, 56)
        assert model.unwrap() is host
        assert all(map(torch.equal, tensors(host(x, w=0.5, adain=True)), bare_outputs))
    print("wrapped")
