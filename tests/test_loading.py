"""Hosts from what their owners have: files in the layouts of the official ones, names, the Hub, descriptors."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import stand_ins
import torch
from hub_server import CLOSED, run, serving
from safetensors.torch import save_file
from tiny_hosts import TINY_HOSTS
from torch import Tensor, nn

import iqp_adapter as iqp
import iqp_adapter.hosts.wrap  # noqa: F401 - before a test stands in for the registry that it imports from
from iqp_adapter import HostSpec
from iqp_adapter.compat import make_importable
from iqp_adapter.hosts import loading, registry
from iqp_adapter.hosts.loading import load_host
from iqp_adapter.store import files
from iqp_adapter.store.fetch import WeightFile

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning", "ignore:.*torch.jit.*:DeprecationWarning")

State = Mapping[str, Tensor]


def params_ema(state: State) -> dict[str, Any]:
    """As GFPGAN, CodeFormer, VQFR and gfpgan's RestoreFormer are published."""
    return {"params_ema": dict(state), "params": {key: value + 1 for key, value in state.items()}}


def lightning(state: State) -> dict[str, Any]:
    """As RestoreFormer.ckpt: the whole training module, with a counter that the class does not have."""
    own = {f"vqvae.{key}": value for key, value in state.items()}
    own["vqvae.quantize.utility_counter"] = torch.zeros(8)
    return {"epoch": 3, "global_step": 7, "state_dict": own, "pytorch-lightning_version": "1.0.8"}


class Callback:
    """Lightning writes its callbacks by their classes."""


def own_training(state: State) -> dict[str, Any]:
    """As training a RestoreFormer of one's own leaves it: with its losses and callbacks."""
    beside = {"loss.discriminator.main.0.weight": torch.ones(3), "loss.logvar": torch.ones(())}
    return lightning(state) | {
        "state_dict": lightning(state)["state_dict"] | beside,
        "callbacks": {Callback: {"best": 1}},
    }


def parallel(state: State) -> dict[str, Any]:
    """Flat, as saved under DataParallel."""
    return {f"module.{key}": value for key, value in state.items()}


def written(path: Path, content: Mapping[str, Any]) -> Path:
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in content.items()}, path)
    else:
        torch.save(dict(content), path)
    return path


def equal(ours: State, theirs: State) -> bool:
    return list(ours) == list(theirs) and all(map(torch.equal, ours.values(), theirs.values()))


def tiny(name: str) -> nn.Module:
    make_importable()
    for package in TINY_HOSTS[name].needs:
        pytest.importorskip(package)
    return TINY_HOSTS[name].build()


@pytest.mark.parametrize(
    ("host", "layout", "name"),
    [
        ("restoreformer-gfpgan", params_ema, "RestoreFormer.pth"),
        ("restoreformer-gfpgan", lightning, "RestoreFormer.ckpt"),
        ("restoreformer-gfpgan", own_training, "last.ckpt"),
        ("restoreformer-gfpgan", dict, "flat.safetensors"),
        ("gfpgan-clean", params_ema, "GFPGANv1.4.pth"),
        ("gfpgan-clean", parallel, "flat.pth"),
    ],
)
@torch.no_grad()
def test_a_file_in_the_layout_of_the_official_one_is_its_host(tmp_path, host, layout, name):
    theirs = tiny(host)
    path = written(tmp_path / name, layout(theirs.state_dict()))
    before = torch.get_rng_state()
    ours = load_host(str(path))
    assert torch.equal(torch.get_rng_state(), before)
    assert type(ours) is type(theirs) and equal(ours.state_dict(), theirs.state_dict())
    assert not any(module.training for module in ours.modules())
    x = torch.rand(1, 3, TINY_HOSTS[host].side, TINY_HOSTS[host].side)
    arguments = TINY_HOSTS[host].arguments
    assert torch.equal(ours(x, **arguments)[0], theirs(x, **arguments)[0])
    model = iqp.wrap(path)
    assert model.spec.name == TINY_HOSTS[host].kind and model.restore(x).shape == x.shape


def test_what_a_constructor_prints_is_logged(tmp_path, capsys, caplog):
    path = written(tmp_path / "RestoreFormer.pth", params_ema(tiny("restoreformer-gfpgan").state_dict()))
    assert capsys.readouterr().out  # by the class itself
    with caplog.at_level("DEBUG", logger=loading.logger.name):
        load_host(path)
    assert capsys.readouterr().out == "" and "Working with z" in caplog.text


def test_files_of_training_loops_answer_as_the_plain_one(cases, tmp_path):
    pytest.importorskip("gfpgan")
    runpy.run_path(str(cases / "recipes.py"))["checkpoints"](tmp_path)
    lq = torch.rand(1, 3, 64, 64)
    answers = {path.stem: iqp.wrap(path).restore(lq) for path in sorted(tmp_path.glob("*.pth"))}
    assert len(answers) == 7 and all(torch.equal(answer, answers["plain"]) for answer in answers.values())


@pytest.mark.slow
def test_the_file_of_codeformer_is_a_codeformer(tmp_path):
    theirs = pytest.importorskip("spandrel_extra_arches.architectures.CodeFormer").CodeFormer().eval()
    path = written(tmp_path / "codeformer.pth", {"params_ema": theirs.state_dict()})
    assert equal(load_host(path).state_dict(), theirs.state_dict())
    assert len(iqp.wrap(path).sites) == 9


OWN = [
    (partial(stand_ins.DAEFR, 1, 2), lambda state: {"state_dict": state | {"loss.d.weight": torch.ones(1)}}),
    (partial(stand_ins.GPEN, 2), lambda state: {"g_ema": state}),
]


@pytest.mark.parametrize(
    ("make", "layout", "said"),
    [
        (*OWN[0], "DAEFR's class cannot be imported .*put https://github.com/LIAGM/DAEFR on PYTHONPATH"),
        (
            *OWN[1],
            "GPEN's class cannot be imported .*put the folder face_model of https://github.com/yangxy/GPEN on PY",
        ),
    ],
)
def test_a_class_that_is_not_here_is_said_with_two_ways(tmp_path, make, layout, said):
    path = written(tmp_path / "net.pth", layout(make().state_dict()))
    with pytest.raises(ImportError, match=rf"{said}.*; or build an instance and give wrap\('{path}', into=instance\)"):
        load_host(path)


def test_a_kind_that_cannot_be_built_at_all_asks_for_an_instance(known, toy_file):
    known(spec(build=None))
    with pytest.raises(
        ValueError, match=r"has weights of toy, whose class no package has; build an instance of the of"
    ):
        load_host(toy_file)


@pytest.mark.parametrize("name", ["daefr", "gpen-512"])
def test_what_cannot_be_built_is_said_before_it_is_fetched(name, monkeypatch):
    monkeypatch.setattr(loading, "fetch", lambda file: pytest.fail("fetched"))
    with pytest.raises(
        ImportError, match=rf"the class of .* is in .* \(put .* on PYTHONPATH.*wrap\('{name}', into=ins"
    ):
        iqp.wrap(name)
    with pytest.raises(ImportError, match="the class of "):
        iqp.load(name)


@pytest.mark.parametrize(("make", "layout"), OWN)
@torch.no_grad()
def test_an_instance_takes_the_weights_of_a_file(tmp_path, make, layout):
    theirs, ours, other = make(), make(), make(width=4)
    path = written(tmp_path / "net.pth", layout(theirs.state_dict()))
    model = iqp.wrap(path, into=ours)
    assert model.unwrap() is ours and equal(ours.state_dict(), theirs.state_dict())
    assert iqp.load(str(path), into=ours).unwrap() is ours
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(ValueError, match=r"net.pth does not fit .*: 0 missing, 0 unexpected, \d+ \(.*of another shape"):
        iqp.wrap(path, into=other)
    assert equal(other.state_dict(), before)
    with pytest.raises(TypeError, match="into= takes the weights of a file, and this is a"):
        iqp.wrap(ours, into=ours)


def test_an_instance_of_no_known_kind_takes_weights_too(tmp_path):
    theirs, ours = compact(), compact()
    path = written(tmp_path / "net.pth", {"model": {f"net.{key}": value for key, value in theirs.state_dict().items()}})
    iqp.wrap(path, into=ours, sites=[iqp.Site("body.2", 8, "BCHW")])
    assert equal(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize(("make", "layout"), OWN)
def test_the_official_class_is_taken_where_it_can_be_imported(tmp_path, make, layout, monkeypatch):
    theirs, asked = make(), []

    def built(**sizes: Any) -> nn.Module:
        asked.append(sizes)
        return make()

    monkeypatch.setitem(sys.modules, "gpen_model", SimpleNamespace(FullGenerator=built))
    for name in ("DAEFR", "DAEFR.models"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "DAEFR.models.daefr", SimpleNamespace(DAEFRModel=built))
    # the stand-in's encoder has none of the parts that sizes are read off
    monkeypatch.setattr(sys.modules["iqp_adapter.adapters.daefr"], "sizes", lambda state: {"n_embed": 16})
    ours = load_host(written(tmp_path / "net.pth", layout(theirs.state_dict())))
    assert equal(ours.state_dict(), theirs.state_dict()) and len(asked) == 1


RELATIVES = {
    "QualiTeacher": ["quality_embed.weight", "quality_head.0.weight"],
    "KEEP": ["hq_encoder.blocks.0.weight", "kalman_filter.kalman_gain.weight", "cross_fuse.weight"],
}


@pytest.mark.parametrize("name", RELATIVES)
def test_a_relative_is_not_taken_for_the_host(tmp_path, name):
    more = {key: torch.ones(1) for key in RELATIVES[name]}
    path = written(tmp_path / "net.pth", {"params_ema": stand_ins.CodeFormer(1, 1).state_dict() | more})
    names = ", ".join(sorted({key.partition(".")[0] for key in RELATIVES[name]}))
    refused = (ValueError, ImportError)  # without spandrel, which might have known it
    with pytest.raises(refused, match=rf"nearest is codeformer \(100% of its keys\), which has no \d \({names}\)"):
        iqp.wrap(path)
    host = stand_ins.CodeFormer(1, 1)
    for key in RELATIVES[name]:
        host.add_module(key.partition(".")[0], nn.Linear(1, 1))
    with pytest.raises(ValueError, match=rf"which has no \d \({names}\); give kind= if it is to count as one"):
        iqp.wrap(host)
    assert iqp.wrap(host, kind="codeformer").spec.name == "codeformer"


@pytest.mark.parametrize("name", [name for name in TINY_HOSTS if name != "native"])
def test_no_host_is_recognised_with_parts_that_it_has_not(name):
    keys = list(tiny(name).state_dict())
    kind = registry.hosts()[TINY_HOSTS[name].kind]
    assert kind.recognises(keys) and not kind.recognises([*keys, "another.part.weight"])
    beside = ["loss.discriminator.weight", "net_d.weight", "discriminator.weight", "id_loss.weight"]
    assert kind.recognises([*keys, *beside])
    lora = [key.replace(".weight", ".base_layer.weight") for key in keys]
    assert kind.recognises([*lora, *(key.replace("base_layer", "lora_A.default") for key in lora)])


@pytest.mark.parametrize(
    "layout",
    [
        lambda own: {f"model.{key}": value for key, value in own.items()},
        lambda own: {f"net.module.{key}": value for key, value in own.items()},
        lambda own: {f"my.net.{key}": value for key, value in own.items()} | {"loss.w": torch.ones(1)},
        lambda own: {f"net_g.{key}": value for key, value in own.items()} | {"net_d.w": torch.ones(1)},
        lambda own: {
            **{f"online_model.{key}": value + 1 for key, value in own.items()},
            **{f"ema_model.{key}": value for key, value in own.items()},
            "step": torch.ones(()),
        },
        lambda own: {
            **{f"model.{key}": value for key, value in own.items()},
            **{f"model_ema.{key.replace('.', '')}": value + 1 for key, value in own.items()},
            "discriminator.w": torch.ones(1),
        },
    ],
)
def test_names_around_a_restorer_and_what_is_beside_it_are_left_out(known, tmp_path, layout, caplog):
    known(spec(has=("toy.weight", "toy.bias"), parts=("toy.",)))
    own = Toy(4).state_dict()
    path = written(tmp_path / "net.pth", {"state_dict": layout(own), "epoch": 1})
    with caplog.at_level("INFO", "iqp_adapter"):
        assert equal(load_host(path).state_dict(), own)
    beside = {key.partition(".")[0] for key in layout(own)} - {"model", "net", "my", "net_g", "ema_model"}
    assert all(name in caplog.text for name in beside)


def compact() -> nn.Module:
    """A small network that no host file describes and spandrel knows."""
    module = pytest.importorskip("spandrel.architectures.Compact")
    return module.Compact(num_feat=8, num_conv=2, upscale=2).eval()


@torch.no_grad()
def test_what_no_adapter_file_knows_spandrel_may(tmp_path):
    theirs = compact()
    path = written(tmp_path / "compact.pth", {"params": theirs.state_dict()})
    ours = load_host(path)
    assert type(ours) is type(theirs) and equal(ours.state_dict(), theirs.state_dict()) and not ours.training
    with pytest.raises(ValueError, match="SRVGGNetCompact is no known host; the nearest is .*; else give sites="):
        iqp.wrap(path)
    x = torch.rand(1, 3, 8, 8)
    model = iqp.wrap(path, sites=[iqp.Site("body.2", 8, "BCHW")])
    assert torch.equal(model(x), theirs(x))


def deep() -> nn.Module:
    """spandrel's RestoreFormer with the levels that its loader expects, and few channels."""
    module = pytest.importorskip("spandrel.architectures.RestoreFormer")
    narrow = {"ch": 32, "ch_mult": (1,) * 6, "z_channels": 16, "embed_dim": 16, "n_embed": 8, "num_res_blocks": 1}
    return module.RestoreFormer(**narrow, resolution=512, attn_resolutions=(16,), head_size=8)


def test_where_a_package_is_missing_spandrel_has_the_class_too(tmp_path, monkeypatch):
    theirs = deep()
    path = written(tmp_path / "RestoreFormer.pth", params_ema(theirs.state_dict()))
    for name in [name for name in sys.modules if name.partition(".")[0] == "gfpgan"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gfpgan", None)
    ours = load_host(path)
    assert type(ours) is type(theirs) and equal(ours.state_dict(), theirs.state_dict())
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ImportError, match="RestoreFormer's class is in the package gfpgan; pip install gfpgan"):
        load_host(path)


def test_without_spandrel_its_extra_is_named(tmp_path, monkeypatch):
    path = written(tmp_path / "net.pth", {"some.weight": torch.ones(3)})
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ImportError, match=r"the extra 'spandrel' knows more: pip install iqp_adapter\[spandrel\]"):
        load_host(path)


def test_a_file_of_no_kind_says_so(tmp_path):
    pytest.importorskip("spandrel")
    path = written(tmp_path / "net.pth", {"some.weight": torch.ones(3)})
    with pytest.raises(
        ValueError, match=rf"{path} is no kind of codeformer, .* \(the nearest is .*\), and spandrel cannot load it"
    ):
        load_host(path)


def test_of_a_descriptor_its_own_module_is_taken():
    spandrel = pytest.importorskip("spandrel")
    theirs = deep()
    descriptor = spandrel.ModelLoader().load_from_state_dict(theirs.state_dict())
    assert load_host(descriptor) is descriptor.model
    assert iqp.wrap(descriptor).host is descriptor.model
    alike = SimpleNamespace(model=nn.Linear(1, 1), architecture="Linear")
    assert load_host(alike) is alike.model


class Toy(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.toy = nn.Linear(width, width)
        self.start = torch.rand(())

    def forward(self, x: Tensor) -> Tensor:
        return self.toy(x)


def build_toy(state: State) -> nn.Module:
    return Toy(len(state["toy.bias"]))


def toy_sites(host: nn.Module) -> list[iqp.Site]:
    return [iqp.Site("toy", host.toy.out_features, "BLC")]


def spec(name: str = "toy", **changes: Any) -> HostSpec:
    facts: dict[str, Any] = {"has": ("toy.",), "sites": toy_sites, "restore": nn.Module.__call__, "build": build_toy}
    return HostSpec(name, f"https://{name}", "MIT", **(facts | {"resolution": lambda host: None} | changes))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes these kinds of hosts, and no others, the known ones."""

    def use(*specs: HostSpec) -> None:
        for module in (loading, registry):
            monkeypatch.setattr(module, "hosts", lambda: {spec.name: spec for spec in specs})
        weights = {name: file for spec in specs for name, file in spec.weights.items()}
        monkeypatch.setattr(loading, "published", lambda: weights)

    return use


@pytest.fixture
def toy_file(tmp_path: Path) -> Path:
    return written(tmp_path / "toy.pth", Toy(4).state_dict())


def test_a_published_name_is_its_file(known, toy_file, monkeypatch):
    file = WeightFile(f"{CLOSED}/{toy_file.name}", "MIT", files.sha256_of(toy_file))
    known(spec(weights={"toy-4": file, "toy-5": WeightFile(file.url, "MIT", "0" * 64)}))
    monkeypatch.setenv("IQP_WEIGHTS", str(toy_file.parent))
    assert iqp.wrap("toy-4").spec.name == "toy"
    with pytest.raises(ValueError, match=f"the sha256 of {toy_file} .* is {file.sha256}, expected {'0' * 64}"):
        iqp.wrap("toy-5")


def test_weights_that_do_not_fit_are_said_in_one_line(known, tmp_path):
    known(spec())
    path = written(tmp_path / "toy.pth", {"toy.weight": torch.ones(3, 3), "toy.bias": torch.ones(4)})
    with pytest.raises(
        ValueError, match=r"toy.pth does not fit Toy: 0 missing, 0 unexpected, 1 \(toy.weight \(3, 3\) fo"
    ):
        load_host(path)
    path = written(tmp_path / "half.pth", {"toy.weight": torch.ones(3, 3)})
    with pytest.raises(ValueError, match=r"half.pth has weights of toy, but not all: no 'toy.bias'; fetch it again"):
        load_host(path)


def test_two_kinds_that_fit_are_named(known, toy_file):
    known(spec("one"), spec("two"))
    with pytest.raises(ValueError, match=r"toy.pth looks like one and two; say which by wrap"):
        load_host(toy_file)


class Code:
    """What a pickle would run."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('a weight file was run')",)


def test_code_in_a_file_is_not_run(tmp_path):
    torch.save({"params": {"toy.weight": torch.ones(1)}, "more": Code()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil.pth holds code \(builtins.exec\), which is never run"):
        load_host(tmp_path / "evil.pth")


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        (
            "codeforme",
            ValueError,
            "'codeforme' is neither a file here nor a published name; did you mean 'codeformer'; else",
        ),
        ("zzz", ValueError, "'zzz' is neither a file here nor a published name; published names: codeformer, .*; else"),
        ("me/thing", ValueError, "'me/thing' is neither .* or 'owner/name/path/file' on the Hub"),
        ("none.pth", ValueError, "'none.pth' is neither a file here"),
        (Path("none.pth"), FileNotFoundError, "no weight file none.pth; give a .safetensors, .pth or .ckpt file"),
        (3, TypeError, "cannot wrap a int; give a module, a spandrel descriptor, a weight file, a published name, or"),
        (nn.Linear, TypeError, "cannot wrap a type; give a module"),
        (None, TypeError, "cannot wrap a NoneType; give a module"),
    ],
)
def test_what_is_no_host_is_said_with_what_would_do(source, kind, said):
    with pytest.raises(kind, match=said) as caught:
        iqp.wrap(source)
    assert "\n" not in str(caught.value)


LOAD = """
import sys
from iqp_adapter.hosts.loading import load_host
for name in sys.argv[1:]:
    try:
        host = load_host(name)
        print(type(host).__name__, sum(value.double().sum().item() for value in host.state_dict().values()))
    except (OSError, ValueError) as error:
        print(f"{type(error).__name__}: {error}")
"""


def test_a_file_on_the_hub_is_its_host(tmp_path):
    host = compact()
    path = written(tmp_path / "net.safetensors", host.state_dict())
    with serving() as hub:
        hub.repositories = {"me/hosts": {"some/net.safetensors": path.read_bytes()}}
        hub.repositories["datasets/them/hosts"] = hub.repositories["me/hosts"]
        names = ["me/hosts/some/net.safetensors", "datasets/them/hosts/some/net.safetensors"]
        names += ["me/hosts/some/no.pth", "you/hosts/some/net.pth"]
        done = run(LOAD, hub.url, tmp_path / "home", *names)
    assert done.returncode == 0, done.stderr
    first, second, third, fourth = done.stdout.splitlines()
    assert first == second == f"{type(host).__name__} {total(host)}"
    assert third.startswith("OSError: cannot fetch 'me/hosts/some/no.pth': it has no file 'some/no.pth'; see ")
    assert fourth.startswith(f"OSError: cannot fetch 'you/hosts/some/net.pth': {hub.url} has no such repository")


def test_old_dependencies_are_made_importable(tmp_path):
    host = tiny("gfpgan-clean")
    path = written(tmp_path / "GFPGANv1.4.pth", params_ema(host.state_dict()))
    done = run(LOAD, CLOSED, tmp_path / "home", str(path))
    assert done.stdout.splitlines()[-1:] == [f"GFPGANv1Clean {total(host)}"], done.stderr


def total(host: nn.Module) -> float:
    return sum(value.double().sum().item() for value in host.state_dict().values())


@pytest.mark.parametrize("name", ["codeformer-spandrel", "restoreformer-gfpgan", "gfpgan-clean", "swinir-official"])
def test_weights_whose_sizes_do_not_belong_together_are_an_error_of_value(name, tmp_path):
    state = tiny(name).state_dict()
    spec = registry.hosts()[TINY_HOSTS[name].kind]
    for change in (lambda x: torch.ones(()), lambda x: x.flatten()[:3], lambda x: x[None]):
        with pytest.raises(ValueError) as caught:
            loading.build(spec, {key: change(value) for key, value in state.items()}, "a file")
        assert "\n" not in str(caught.value)
