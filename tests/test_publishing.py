"""Models on their way to the Hub: what is told of them, their cards, and that they come back elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hub_server import Hub, run, serving
from huggingface_hub import ModelCard
from native_pieces import SMALL, acting
from test_hub_options import learned
from tiny_hosts import iqpir
from torch import nn

import iqp_adapter as iqp
from iqp_adapter.hosts import card as adapter_card
from iqp_adapter.native.card import model_card
from iqp_adapter.store import checkpoint

PUSH = """
import iqp_adapter as iqp
for kind in ("IQPFR", "IQPIR"):
    model = getattr(iqp, kind).from_pretrained(kind)
    told = {"licence": "CC BY 4.0", "metrics": {"LFW": {"LPIPS": 0.25, "PSNR": 24.5}}, "datasets": ["me/faces"]}
    print(model.push_to_hub("me/" + kind, private=True, token="hf_mine", commit_message="First try", **told))
    print(model.push_to_hub("me/" + kind, revision="next"))
    print(type(iqp.load("me/" + kind, revision="next")).__name__, iqp.load("me/" + kind).facts)
"""


@pytest.fixture
def models() -> dict[str, nn.Module]:
    return {"IQPFR": acting(SMALL), "IQPIR": iqpir().eval()}


def test_models_of_this_library_are_pushed_and_come_back(models, tmp_path):
    for name, model in models.items():
        model.save_pretrained(tmp_path / name, limits="profiles")
    with serving() as hub:
        done = run(PUSH, hub.url, tmp_path / "home")
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        check_pushed(hub, tmp_path, models)
    for name, (first, second, loaded) in zip(models, (lines[:3], lines[3:]), strict=True):
        assert first.startswith(f"{hub.url}/me/{name}/commit/") and second.startswith(f"{hub.url}/me/{name}/commit/")
        assert loaded == f"{name} {{'limits': 'profiles'}}", "what was saved with it is kept, what was told is not"


def check_pushed(hub: Hub, place: Path, models: dict[str, nn.Module]) -> None:
    assert hub.private == {"me/IQPFR", "me/IQPIR"} and hub.branches == {"me/IQPFR@next", "me/IQPIR@next"}
    assert hub.titles == ["First try", "Upload by iqp_adapter"] * 2 and "hf_mine" in hub.tokens
    for name, model in models.items():
        files = hub.repositories[f"me/{name}"]
        assert sorted(files) == ["README.md", "config.json", "model.safetensors"]
        for file, content in files.items():
            (place / f"{name} again").mkdir(exist_ok=True)
            (place / f"{name} again" / file).write_bytes(content)
        again = type(model).from_pretrained(place / f"{name} again")
        assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))


def front(text: str) -> dict[str, Any]:
    return yaml.safe_load(text.split("---\n")[1])


@pytest.mark.parametrize("name", ["IQPFR", "IQPIR"])
def test_the_card_of_a_model_is_of_the_hubs_own_kind(models, tmp_path, name):
    model = models[name]
    told = {"LFW": {"LPIPS": 0.25, "PSNR": 24.5}, "Old photos": {"LPIPS": 0.5}}
    model.save_pretrained(
        tmp_path, licence="CC BY 4.0", metrics=told, datasets="me/faces", data="70 people", training={"steps": 3}
    )
    config, _ = checkpoint.load(tmp_path)
    text = model_card(model, config, "me/thing")
    read = ModelCard(text).data
    facts = [read.to_dict()[key] for key in ("license", "library_name", "pipeline_tag")]
    assert facts == ["cc-by-4.0", "iqp_adapter", "image-to-image"]
    assert read.tags == ["face-restoration", "iqp-adapter", name.lower()] and read.datasets == "me/faces"
    assert (read.model_name, read.metrics) == ("thing", ["lpips", "psnr"])
    results = [(one.dataset_name, one.dataset_type, one.metric_type, one.metric_value) for one in read.eval_results]
    assert sorted(results) == [
        ("LFW", "lfw", "lpips", 0.25),
        ("LFW", "lfw", "psnr", 24.5),
        ("Old photos", "old-photos", "lpips", 0.5),
    ]
    side = model.resolution
    for part in (f"An {name} of `iqp_adapter`, which restores aligned faces of {side} pixels", 'iqp.load("me/thing")'):
        assert part in text
    assert "| LFW | LPIPS | 0.25 |" in text and "70 people" in text and '"steps": 3' in text
    assert "| this model | CC BY 4.0 |" in text and "## Limits\n\nnot stated" in text


def test_what_is_not_told_is_not_made_up(models, tmp_path):
    models["IQPFR"].save_pretrained(tmp_path, metrics="by eye")
    config, _ = checkpoint.load(tmp_path)
    text = model_card(models["IQPFR"], config, "me/thing")
    told = front(text)
    assert (told["license"], told["license_name"]) == ("other", "not-stated")
    assert told.keys() == {"license", "license_name", "library_name", "pipeline_tag", "tags"}
    assert "## Metrics\n\nby eye" in text and "## Data\n\nnot stated" in text and "Further facts" not in text


def test_results_of_an_adapter_are_results_on_the_hub(tmp_path):
    facts = {"metrics": {"LFW": {"LPIPS": 0.25}}, "base_model": "me/host"}
    learned(iqpir().eval()).save_pretrained(tmp_path, licence="MIT", **facts)
    config, _ = checkpoint.load(tmp_path)
    read = ModelCard(adapter_card.model_card(config, "me/thing")).data
    assert (read.license, read.base_model, read.tags) == (
        "mit",
        "me/host",
        ["face-restoration", "iqp-adapter", "iqpir"],
    )
    [result] = read.eval_results
    assert (result.dataset_name, result.metric_name, result.metric_value) == ("LFW", "LPIPS", 0.25)


def test_facts_are_kept_and_those_of_earlier_files_have_their_names_of_now(models, tmp_path):
    assert iqp.IQPFR.from_pretrained("tiny").facts == {"licence": "CC BY 4.0"}
    model = models["IQPFR"]
    model.save_pretrained(tmp_path / "one", licence="mit", limits="profiles")
    again = iqp.IQPFR.from_pretrained(tmp_path / "one")
    assert again.facts == {"licence": "mit", "limits": "profiles"}
    again.save_pretrained(tmp_path / "two", licence="apache-2.0")
    assert iqp.load(tmp_path / "two").facts == {"licence": "apache-2.0", "limits": "profiles"}
