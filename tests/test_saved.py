"""Adapters on disk: what comes back is what was saved, and what does not fit is refused before anything runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import iqp_adapter as iqp
import iqp_adapter.hosts.wrap  # noqa: F401 - before a test stands in for the registry that it imports from
from iqp_adapter import HostSpec, ScoreScale, Site, __version__
from iqp_adapter.core.metrics import NEWEST, canonical
from iqp_adapter.hosts import card, registry
from iqp_adapter.store import checkpoint

SITES = [Site("layers.0", 8, "BLC"), Site("layers.1", 8, "BLC")]
SCALES = (ScoreScale("iqp-lite", False, (0.0, 50.0, 100.0)), ScoreScale("niqe", True, (9.0, 5.0, 3.0)))


class Toy(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x).tanh()
        return x


class Other(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.more = nn.Linear(1, 1)


def sites(host: nn.Module) -> list[Site]:
    return [Site(site.path, host.layers[0].in_features, "BLC") for site in SITES]


def no_size(host: nn.Module) -> None:
    return None


def restore(host: nn.Module, lq: Tensor) -> Tensor:
    return host(lq)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    toy = HostSpec("toy", "https://toy", "MIT", ("layers.",), sites, restore, no_size, lacks=("more.",))
    other = HostSpec("other", "https://other", "MIT", ("more.",), sites, restore, no_size)
    monkeypatch.setattr(registry, "hosts", lambda: {"toy": toy, "other": other})


def seeded(make: Callable[[], nn.Module] = Toy, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().eval()


def trained(**facts: Any) -> iqp.WrappedHost:
    """As if it had learned: every parameter is another one than at the start, and every gate is open."""
    model = iqp.wrap(seeded(), scales=SCALES)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    trained().save_pretrained(tmp_path / "adapter", licence="apache-2.0", training={"steps": 3})
    return tmp_path / "adapter"


def changed(folder: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], Any]) -> Path:
    """The checkpoint saved again, with another config or state."""
    config, state = checkpoint.load(folder)
    change(config, state)
    checkpoint.save(folder, state, config)
    return folder


@torch.no_grad()
def test_what_is_loaded_is_what_was_saved(saved):
    x = torch.rand(3, 5, 8)
    model, loaded = trained(), iqp.wrap(seeded(), adapter=saved)
    assert list(model.state_dict()) == list(loaded.state_dict())
    assert all(map(torch.equal, model.state_dict().values(), loaded.state_dict().values()))
    for quality in (0.2, "any", torch.tensor([[0.9, 0.1]] * 3)):
        assert torch.equal(model(x, quality=quality), loaded(x, quality=quality))
        assert not torch.equal(model(x, quality=quality), model(x))
    assert loaded.quality == "best" and not loaded.training
    adapter = loaded.adapters["default"]
    assert adapter.scales == SCALES and adapter.sites == tuple(SITES)
    assert adapter.facts == {"licence": "apache-2.0", "training": {"steps": 3}}


def naming(folder: Path, metric: str) -> Path:
    """The adapter as if it had been saved under that name of its first metric."""
    return changed(folder, lambda config, _: config["adapter"]["score_scales"][0].update(metric=metric))


def test_a_file_without_a_version_is_of_the_first_one_and_that_is_said_once(saved, second_lite, caplog):
    for _ in range(2):
        model = iqp.wrap(seeded(), adapter=naming(saved, "iqp-lite"))
        assert model.adapters["default"].metrics == ["iqp-lite@1", "niqe"] and model.score_scale.metric == "iqp-lite@1"
    assert caplog.messages == [
        f"{saved} is stale: it is conditioned on iqp-lite@1; it still works, its scores are not comparable with those "
        "of iqp-lite@2, and training it again moves it there"
    ]
    model.save_pretrained(saved.parent / "again")
    config, _ = checkpoint.load(saved.parent / "again")
    assert [scale["metric"] for scale in config["adapter"]["score_scales"]] == ["iqp-lite@1", "niqe"]


@pytest.mark.parametrize("metric", ["iqp-lite@1", "iqp-lite@2", "iqp-colour"])
def test_a_file_that_names_its_version_or_the_only_one_is_no_news(saved, second_lite, caplog, metric):
    model = iqp.wrap(seeded(), adapter=naming(saved, metric))
    assert model.score_scale.metric == canonical(metric) and not caplog.messages


def test_while_there_is_one_version_nothing_is_stale(saved, monkeypatch, caplog):
    monkeypatch.setitem(NEWEST, "iqp-lite", 1)
    assert iqp.wrap(seeded(), adapter=naming(saved, "iqp-lite")).score_scale.metric == "iqp-lite@1"
    assert not caplog.messages


def test_the_file_holds_the_adapter_and_nothing_of_the_host(saved):
    config, state = checkpoint.load(saved)
    assert sorted(state) == sorted(trained().adapters["default"].state_dict())
    assert {key.split(".")[0] for key in state} == {"blocks", "embedding"}
    assert {key.split(".")[1] for key in state if key.startswith("blocks.")} == {"layers-0", "layers-1"}
    assert config["version"] == __version__ and config["host"]["name"] == "toy"
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]


def test_saving_again_keeps_what_is_told_of_its_making(saved, tmp_path):
    iqp.wrap(seeded(), adapter=saved).save_pretrained(tmp_path / "again", licence="mit")
    config, _ = checkpoint.load(tmp_path / "again")
    assert (config["licence"], config["training"]) == ("mit", {"steps": 3})
    with pytest.raises(TypeError, match="^unknown argument host, version; WrappedHost.save_pretrained knows save"):
        trained().save_pretrained(tmp_path / "third", host="me", version=1)
    assert not (tmp_path / "third").exists()


@torch.no_grad()
def test_half_the_digits_are_half_the_file(saved, tmp_path):
    trained().save_pretrained(tmp_path / "half", dtype=torch.float16)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tmp_path / "half", saved)]
    assert sizes[0] < 0.7 * sizes[1]
    loaded = iqp.wrap(seeded(), adapter=tmp_path / "half")
    assert all(parameter.dtype == torch.float32 for parameter in loaded.parameters())
    torch.testing.assert_close(loaded.state_dict(), trained().state_dict(), rtol=1e-3, atol=1e-3)


def refused(adapter: str | Path, host: nn.Module | None = None) -> str:
    """The error's line; the host is as bare as before, since nothing has run."""
    host = host or seeded()
    with pytest.raises((ValueError, OSError)) as caught:
        iqp.wrap(host, adapter=adapter)
    assert "\n" not in str(caught.value)
    assert not any(module._forward_hooks for module in host.modules())
    return str(caught.value)


def test_another_host_is_refused(saved):
    assert refused(saved, seeded(Other)) == (
        f"{saved} was trained for toy (2 sites of dim 8), the host is other; load it onto a toy, or train one for other"
    )


def test_another_size_of_the_host_is_refused(saved):
    said = refused(saved, seeded(lambda: Toy(16)))
    assert said.startswith(
        f"{saved} was trained for a toy of other sizes (sites of dim 8); build the host with the sizes"
    )


def test_other_weights_of_the_host_are_refused_unless_they_are_allowed(saved):
    host = seeded(seed=1)
    assert refused(saved, host).startswith(
        f"{saved} was trained for other weights of toy; load those into the host, or"
    )
    loaded = iqp.wrap(host, adapter=saved, allow_other_weights=True)
    assert all(map(torch.equal, trained().state_dict().values(), loaded.state_dict().values()))


def test_a_model_of_its_own_is_no_adapter():
    assert re.search("tiny holds no adapter but a model of its own; load it by iqp_adapter.load", refused("iqpfr-tiny"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda config, state: config["adapter"]["sites"][0].update(curve="cubic"),
            "its config: adapter.sites.0.'curve' is not known",
        ),
        (lambda config, state: config["adapter"]["score_scales"][0].update(curve=1), "its config: .*'curve' is not"),
        (
            lambda config, state: config["adapter"].update(heads=8),
            "its config: adapter.'heads' is not known here; known: sites, score_scales, block, token_dim",
        ),
        (lambda config, state: config["adapter"].pop("inner"), "its config: `adapter.inner` is missing"),
        (lambda config, state: config.pop("adapter"), "its config: `adapter` is missing"),
        (lambda config, state: config["host"].pop("values"), "its config: `host.values` is missing"),
    ],
)
def test_what_another_version_has_saved_is_refused(saved, change, reason):
    def newer(config: dict[str, Any], state: dict[str, Tensor]) -> None:
        config["version"] = "99.0"
        change(config, state)

    said = refused(changed(saved, newer))
    assert re.fullmatch(
        rf".*adapter was saved by iqp_adapter 99.0 and is not understood by {__version__} \({reason}.*\); install .*",
        said,
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda config, state: state.pop("blocks.layers-0.gate"), r"1 \(blocks.layers-0.gate\) missing, 0 unexpected"),
        (lambda config, state: state.update(extra=torch.ones(1)), r"0 missing, 1 \(extra\) unexpected"),
        (
            lambda config, state: state.update({"blocks.layers-0.gate": torch.ones(2)}),
            r"0 unexpected, 1 \(blocks.layers-0.gate \(2,\) for \(\)\) of another shape",
        ),
        (lambda config, state: [state.pop(key) for key in [*state][1:]], r"\d+ \(blocks.*\) missing"),
    ],
)
def test_parameters_that_are_not_those_of_the_config_are_refused(saved, change, reason):
    assert re.match(rf"{saved} does not fit Adapter: .*{reason}", refused(changed(saved, change)))


def test_an_empty_and_a_damaged_adapter_are_refused(saved, tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty").startswith(f"no checkpoint in {tmp_path / 'empty'}; it would be a folder with")
    save_file({}, tmp_path / "empty" / "model.safetensors")
    assert "has no config inside, so iqp_adapter did not save it" in refused(tmp_path / "empty")
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8] + b"12345678")
    assert "is damaged: its content does not have its own checksum; fetch or save it again" in refused(saved)
    for path in saved.iterdir():
        path.unlink()
    trained().save_pretrained(saved)
    assert refused(changed(saved, lambda config, state: config["adapter"].update(sites=[]))).startswith(
        f"{saved} is empty"
    )
    assert "no checkpoint 'nothing'; built in: " in refused("nothing")


def test_nothing_but_an_adapter_that_has_learned_is_pushed():
    model = iqp.wrap(seeded())
    with pytest.raises(ValueError, match=r"adapter 'default' has learned nothing \(every block adds zero\); train it"):
        model.push_to_hub("me/thing")


def test_a_description_tells_sites_sizes_licences_and_the_default(saved):
    model = iqp.wrap(seeded(), adapter=saved)
    lines = model.describe().splitlines()
    own = sum(parameter.numel() for parameter in model.parameters())
    assert lines[0] == "toy: 144 parameters, frozen; https://toy; licence: MIT"
    assert f"adapter default: {own:,} parameters to train, {own / 144:.2%} of the host; licence: apache-2.0" in lines
    assert f"scored by {canonical('iqp-lite')}; licence: Apache-2.0, trained on CC BY 4.0 photos" in lines
    assert "scored by niqe; licence: pyiqa, PolyForm Noncommercial 1.0.0" in lines
    gate = model.adapters["default"].blocks["layers-1"].gate.item()
    assert f"  layers.1  BLC     8    8      {gate:.4f}" in lines
    assert lines[-1] == "default quality: best"
    assert iqp.wrap(seeded()).describe().endswith("default quality: none, which is the bare host")


def test_a_model_card_tells_what_is_known_and_what_is_not(saved):
    import yaml

    config, _ = checkpoint.load(saved)
    text = card.model_card(
        config | {"base_model": "me/toy", "data": "70 people", "metrics": {"lpips": 0.2}}, "me/thing"
    )
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "license": "apache-2.0",
        "library_name": "iqp_adapter",
        "pipeline_tag": "image-to-image",
        "tags": ["face-restoration", "iqp-adapter", "toy"],
        "base_model": "me/toy",
    }
    for part in ("**toy** (https://toy)", '"me/thing"', "| its host | MIT |", "| layers.0 | BLC | 8 |", "70 people"):
        assert part in body
    assert (
        f"{canonical('iqp-lite')} (Apache-2.0, trained on CC BY 4.0 photos); niqe (pyiqa, PolyForm Noncommercial 1.0.0)"
        in body
    )
    assert json.dumps({"lpips": 0.2}, indent=2) in body and '"steps": 3' in body and "## Limits\n\nnot stated" in body
    del config["licence"]
    front = yaml.safe_load(card.model_card(config, "me/thing").split("---\n")[1])
    assert (front["license"], front["license_name"]) == ("other", "not-stated")
