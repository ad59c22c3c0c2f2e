"""An adapter learns on a frozen host, from pictures or from codes, and is loaded by `wrap`."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import pytest
import stand_ins
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file
from tiny_hosts import GFPGAN, TINY_HOSTS, TinyHost, iqpir
from typer.testing import CliRunner

import iqp_adapter as iqp
from iqp_adapter import ScoreScale
from iqp_adapter.cli import app
from iqp_adapter.compat import make_importable
from iqp_adapter.core.metrics import canonical
from iqp_adapter.hosts.registry import hosts, recognise
from iqp_adapter.training.adapter_training import AdapterTraining
from iqp_adapter.training.config import AdapterConfig, StageConfig
from iqp_adapter.training.stages import (
    CodeDistillation,
    CodeImitation,
    CodeReward,
    HostImitation,
    ImageImitation,
    ImageReward,
)

STAGE = StageConfig(steps=30, batch=4, rate=1e-2, warmup=1, ema=0.5, options={"shuffle_every": 10})


@pytest.fixture(autouse=True)
def other_precisions():
    """Lets every test have a precision of its own, which accelerate fixes for a process."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


def gfpgan() -> torch.nn.Module:
    make_importable()
    pytest.importorskip("gfpgan")
    from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean

    return GFPGANv1Clean(**GFPGAN | {"out_size": 64})


TRAINED = {
    "codeformer": TinyHost("codeformer", partial(stand_ins.CodeFormer, 2, 2), 64),
    "restoreformer": TinyHost("restoreformer", partial(stand_ins.RestoreFormerPlusPlus, 2), 64),
    "gfpgan": TinyHost("gfpgan", gfpgan, 64),
    "vqfr": TinyHost("vqfr", partial(stand_ins.VQFRv2, 2), 64),
    "vqfr_v1": TinyHost("vqfr_v1", partial(stand_ins.VQFRv1, 2), 64),
    "daefr": TinyHost("daefr", partial(stand_ins.DAEFR, 2, 2), 64),
    "gpen": TinyHost("gpen", partial(stand_ins.GPEN, 4), 64),
    "swinir": TINY_HOSTS["swinir-official"],
    "iqpfr": TINY_HOSTS["native"],
    "iqpir": TinyHost("iqpir", partial(iqpir, resolution=64, fused=(32,)), 64),
}
"""A small instance of every kind of host, of 64 px, below which nothing has a score."""
TWO_CODEBOOKS = ("iqpfr", "iqpir")
"""Of these there is no single one to imitate."""
SHORT = StageConfig(steps=2, batch=2, rate=1e-2, warmup=1, options={"shuffle_every": 2})


def on_cpu(state):
    """A state dict, to be compared with another one wherever the training ran."""
    return {key: value.cpu() for key, value in state.items()}


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A dozen crops of scikit-image's astronaut around her face."""
    from skimage.data import astronaut

    folder = tmp_path_factory.mktemp("faces")
    for index, (top, left) in enumerate(np.random.default_rng(0).integers(0, 60, (12, 2))):
        crop = Image.fromarray(astronaut()[top : top + 200, left + 100 : left + 300])
        crop.resize((96, 96)).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def score_scale(tmp_path_factory):
    """The file in which a run keeps the score scale, which takes the longest of a short run to find."""
    path = tmp_path_factory.mktemp("scale") / "score_scale.json"
    path.write_text(json.dumps(ScoreScale("iqp-lite", False, tuple(range(101))).to_dict()))
    return path


@pytest.fixture
def run(score_scale, tmp_path):
    """The folder of a run that has its score scale already."""
    copy(score_scale, tmp_path)
    return tmp_path


def built(name: str) -> torch.nn.Module:
    make_importable()
    for package in TINY_HOSTS[name].needs:
        pytest.importorskip(package)
    return TINY_HOSTS[name].build()


@pytest.mark.parametrize(
    ("name", "term", "block", "sites"),
    [
        ("restoreformer++", "l1", "attention", None),
        ("vqfr", "code", "attention", "codes"),
        ("restoreformer++", "l1", "score_map", None),
    ],
)
def test_an_adapter_learns_and_its_host_does_not(name, term, block, sites, faces, tmp_path):
    host = built(name)
    before = {key: value.clone() for key, value in host.state_dict().items()}
    config = AdapterConfig(imitation=STAGE, precision="fp32", watch_every=30, block=block, sites=sites)
    folder = AdapterTraining(config, host, faces, tmp_path).run()
    rows = [json.loads(line) for line in (tmp_path / "imitation" / "log.jsonl").read_text().splitlines()]
    terms = [row[term] for row in rows if term in row]
    assert terms[-1] < terms[0]
    assert {f"gain in {canonical('iqp-lite')}", "gain in piqe", "from bare"} <= rows[-1].keys()
    assert any(f"{term} shuffled" in row for row in rows)
    assert {path.name for path in (tmp_path / "imitation").iterdir()} >= {"curves.png", "step_000030.png", "state.pt"}

    model = iqp.wrap(built(name), adapter=folder)
    assert model.adapters["default"].block == block
    assert model.adapters["default"].learned and model.adapters["default"].metrics == [canonical("iqp-lite")]
    assert all(torch.equal(value, before[key]) for key, value in on_cpu(host.state_dict()).items())
    lq = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(model.restore(lq), model.restore(lq, quality=None))


def trained(kind: str) -> torch.nn.Module:
    """A small instance of a kind; the test is skipped where its class is not installed."""
    for package in TRAINED[kind].needs:
        pytest.importorskip(package)
    return TRAINED[kind].build()


def test_every_kind_of_host_is_trained_here():
    assert set(TRAINED) == set(hosts())


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", TRAINED)
def test_an_adapter_is_trained_for_every_kind_of_host(kind, precision, faces, run):
    host = trained(kind).train()
    before = {key: value.clone() for key, value in host.state_dict().items()}
    training = AdapterTraining(AdapterConfig(imitation=SHORT, precision=precision), host, faces, run)
    folder = training.run()
    assert all(torch.equal(value, before[key]) for key, value in on_cpu(host.state_dict()).items())
    assert training.model.unwrap() is host and all(module.training for module in host.modules())
    model = iqp.wrap(host, adapter=folder)
    assert model.adapters["default"].learned and not host.training
    lq = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert model.restore(lq.to(memory_format=torch.channels_last)).isfinite().all()


@pytest.mark.parametrize("kind", TRAINED)
def test_targets_and_reward_reach_every_kind_of_host_through_the_picture(kind, faces, run):
    training = AdapterTraining(
        AdapterConfig(imitation=SHORT, reward=SHORT, precision="fp32"), trained(kind), faces, run
    )
    assert (training.kind("imitation"), training.kind("reward")) == (ImageImitation, ImageReward)


@pytest.mark.parametrize("kind", TRAINED)
def test_codes_are_steered_or_that_is_refused_before_training(kind, faces, run):
    config = AdapterConfig(imitation=SHORT, reward=SHORT, precision="fp32", sites="codes")
    if hosts()[kind].code_sites is None:
        with pytest.raises(ValueError, match=f"this {kind} decides no codes that an adapter could steer; leave sites"):
            AdapterTraining(config, trained(kind), faces, run)
    elif kind == "vqfr":
        with pytest.raises(ValueError, match="VQFRv2 decodes without gradients: no reward reaches the codes of a vqfr"):
            AdapterTraining(config, trained(kind), faces, run)
        assert not (run / "imitation").exists()
    elif kind in TWO_CODEBOOKS:
        with pytest.raises(ValueError, match=f"{kind} has no single codebook to imitate; leave imitation out"):
            AdapterTraining(config, trained(kind), faces, run)
    else:
        training = AdapterTraining(config, trained(kind), faces, run)
        assert (training.kind("imitation"), training.kind("reward")) == (CodeImitation, CodeReward)


def test_a_host_file_that_has_only_sites_before_its_codes_steers_them(faces, run, monkeypatch):
    known = hosts()["codeformer"]
    monkeypatch.setitem(hosts(), "codeformer", replace(known, sites=known.code_sites, code_sites=None))
    for sites in (None, "codes"):
        config = AdapterConfig(imitation=SHORT, precision="fp32", sites=sites)
        training = AdapterTraining(config, trained("codeformer"), faces, run)
        assert training.kind("imitation") is CodeImitation
        assert list(training.model.sites) == ["ft_layers-0", "ft_layers-1"]


def test_sites_before_codes_are_those_of_a_known_host(faces, run):
    with pytest.raises(ValueError, match="sites is 'auto'; choose from 'codes'"):
        AdapterConfig(imitation=SHORT, sites="auto")
    config = AdapterConfig(imitation=SHORT, precision="fp32", sites="codes")
    with pytest.raises(ValueError, match="only a host that a host file describes has sites before its codes; leave s"):
        AdapterTraining(config, torch.nn.Conv2d(3, 3, 1), faces, run, example=torch.rand(1, 3, 64, 64))


def test_a_stage_that_would_teach_nothing_is_refused(faces, run, monkeypatch):
    host = TRAINED["restoreformer"].build()
    deaf = replace(recognise(host), restore=torch.no_grad()(recognise(host).restore))
    for module in ("training.adapter_training", "hosts.wrap"):
        monkeypatch.setattr(f"iqp_adapter.{module}.recognise", lambda host: deaf)
    with pytest.raises(ValueError, match="nothing that is trained reaches the loss of imitation: .*; leave imitation"):
        AdapterTraining(AdapterConfig(imitation=SHORT, precision="fp32"), host, faces, run)


class WithStatistics(torch.nn.Module):
    """A host of a known kind, restless by BatchNorm, dropout and a counter before its encoder."""

    def __init__(self) -> None:
        super().__init__()
        for name, part in stand_ins.RestoreFormer(2).named_children():
            setattr(self, name, part)
        self.encoder.head = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Dropout(0.5))

    def forward(self, input: torch.Tensor) -> Any:
        return stand_ins.RestoreFormer.forward(self, self.encoder.head(input))


@pytest.mark.parametrize("mode", [True, False])
def test_not_a_number_of_a_host_with_statistics_changes(mode, faces, run):
    torch.manual_seed(0)
    host = WithStatistics().train(mode)
    before = {key: value.clone() for key, value in host.state_dict().items()}
    original = deepcopy(host)
    training = AdapterTraining(AdapterConfig(imitation=SHORT, reward=SHORT, precision="fp32"), host, faces, run)
    folder = training.run()
    assert all(torch.equal(value, before[key]) for key, value in on_cpu(host.state_dict()).items())
    assert training.model.unwrap().training == host.encoder.head[0].training == mode
    assert iqp.wrap(original, adapter=folder).adapters["default"].learned


def test_the_command_trains_an_adapter_for_gfpgan(faces, run, monkeypatch):
    host, config = TRAINED["gfpgan"].build(), run / "short.yaml"
    monkeypatch.setattr("iqp_adapter.training.adapter_training.load_host", lambda source: host)
    stage = "{steps: 2, batch: 2, rate: 1.0e-3, warmup: 1}"
    config.write_text(f"imitation: {stage}\nreward: {stage}\n")
    command = ["train", "adapter", "--host", "gfpgan", "--config", config, "--hq", faces, "-o", run]
    result = CliRunner().invoke(app, [str(part) for part in command])
    assert result.exit_code == 0, result.output
    assert (run / "reward" / "model" / "config.json").exists()


@pytest.mark.parametrize("stages", [["reward"], ["imitation", "reward"]])
def test_a_run_has_the_stages_of_its_configuration(stages, faces, tmp_path):
    short = replace(STAGE, steps=2, batch=2, rate=1e-3)
    config = AdapterConfig(**dict.fromkeys(stages, short), precision="fp32")
    folder = AdapterTraining(config, built("restoreformer++"), faces, tmp_path).run()
    assert folder == tmp_path / "reward" / "model"
    assert {path.parent.name for path in tmp_path.glob("*/log.jsonl")} == set(stages)
    rows = [json.loads(line) for line in (tmp_path / "reward" / "log.jsonl").read_text().splitlines()]
    assert {"quality", "from_bare"} <= rows[0].keys()


def test_a_stage_starts_from_the_weights_of_the_one_before(faces, tmp_path):
    short = replace(STAGE, steps=2, batch=2)
    config = AdapterConfig(imitation=short, reward=short, precision="fp32", watch_every=100)
    host = TRAINED["codeformer"].build
    with pytest.raises(FileNotFoundError, match="imitation is not finished in .*; run it first"):
        AdapterTraining(config, host(), faces, tmp_path).run_stage("reward")
    folder = AdapterTraining(config, host(), faces, tmp_path).run_stage("imitation")
    imitated = load_file(folder / "model.safetensors")
    start = AdapterTraining(config, host(), faces, tmp_path).stage("reward").adapter.state_dict()
    assert any(value.any() for key, value in imitated.items() if key.endswith("gate"))
    assert all(torch.equal(value, on_cpu(start)[key]) for key, value in imitated.items())


def test_a_host_is_wrapped_once_and_one_without_a_size_is_refused(faces, tmp_path, monkeypatch):
    calls, module = [], "iqp_adapter.training.adapter_training"
    monkeypatch.setattr(f"{module}.wrap", lambda host, **how: calls.append(host) or iqp.wrap(host, **how))
    config, host = AdapterConfig(imitation=STAGE, precision="fp32"), built("vqfr")
    assert AdapterTraining(config, host, faces, tmp_path).resolution == 64
    assert calls == [host]
    spec = replace(recognise(built("vqfr")), resolution=lambda host: None)
    monkeypatch.setattr(f"{module}.recognise", lambda host: spec)
    with pytest.raises(ValueError, match="vqfr has no size of its own to train at; give its host file a resolution"):
        AdapterTraining(config, built("vqfr"), faces, tmp_path)


@pytest.mark.parametrize(
    ("kinds", "terms"),
    [
        ((ImageImitation, CodeImitation), ("l1", "perceptual", "code")),
        ((ImageReward, CodeReward), ("quality", "l1", "perceptual", "from_bare", "coarse", "kl")),
    ],
)
def test_one_configuration_serves_hosts_of_both_kinds(kinds, terms):
    for kind in kinds:
        assert kind.term_names == terms
        kind.check(replace(STAGE, weights=dict.fromkeys(terms, 1.0)))


@pytest.mark.parametrize(("stage", "term"), [("imitation", "cod"), ("reward", "leash"), ("reward", "divergence")])
def test_an_unknown_loss_term_is_one_line(stage, term, faces, tmp_path):
    config = AdapterConfig(**{stage: replace(STAGE, weights={term: 0.1})}, precision="fp32")
    with pytest.raises(ValueError, match=f"unknown loss term {term}; this stage knows .*l1, perceptual, .*$"):
        AdapterTraining(config, built("restoreformer++"), faces, tmp_path).run()


@pytest.mark.parametrize("name", ["codeformer-spandrel", "codeformer-official", "vqfr", "daefr"])
@torch.no_grad()
def test_codes_are_read_as_the_host_decides_them(name):
    model, side = iqp.wrap(built(name)), TINY_HOSTS[name].side
    lq = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    seen = []
    tap = model.bare.get_submodule(model.codes.logits.path).register_forward_hook(lambda *call: seen.append(call[-1]))
    model.restore(lq)
    tap.remove()
    logits = model.codes_in(lq).logits()
    assert torch.equal(logits, model.codes.logits.tokens(seen[0]))
    entries = len(model.codes.codebook(model.bare))
    assert logits.shape[-1] == entries
    assert model.codes_in(lq).nearest().shape == logits.shape[:2]
    assert model.codes_in(lq).nearest().max() < entries


def test_a_host_without_codes_says_so():
    model = iqp.wrap(built("gpen"))
    with pytest.raises(ValueError, match="gpen decides no codes"):
        model.codes_in(torch.rand(1, 3, 16, 16))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1", "describes none of imitation, distillation, reward; see examples/adapter.yaml"),
        ("reward: {steps: 1}", "StageConfig: missing .* 'batch'"),
        ("reward: {steps: 1, batch: 1, rate: 1}\njudges: [niqe, iqp-lite]", "iqp-lite drives the training and cannot"),
        ("imitation: {steps: 1, batch: 1, rate: 1}\nsede: 1", "unknown setting sede; AdapterConfig knows"),
    ],
)
def test_a_wrong_configuration_is_one_line(text, said, tmp_path):
    path = tmp_path / "adapter.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        AdapterConfig.load(path)


def test_the_examples_are_configurations(root):
    usual = AdapterConfig.load(root / "examples" / "adapter.yaml")
    assert usual.reward.weights["quality"] == 0.4 and usual.imitation and usual.learns == "adapter"
    theirs = AdapterConfig.load(root / "examples" / "adapter_retrained.yaml")
    assert (theirs.learns, theirs.block) == ("host", "score_map")
    HostImitation.check(theirs.imitation)
    distilled = AdapterConfig.load(root / "examples" / "adapter_distilled.yaml")
    CodeDistillation.check(distilled.distillation)


# -- the host learns too

FULL = {"full": "encoder.blocks.15"}
HOSTS = {"codeformer": "encoder.blocks.15", "vqfr": "encoder.conv_out", "daefr": "cross_attention"}


def learning(stages: tuple[str, ...] = ("imitation",), **how: Any) -> AdapterConfig:
    """A configuration by which a host learns, for a moment."""
    given = {"learns": "host", "block": "score_map", "precision": "fp32", "watch_every": 100}
    return AdapterConfig(**dict.fromkeys(stages, SHORT) | given | how)


def seeded(seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return stand_ins.CodeFormer(2, 2).eval()


def test_a_host_learns_what_its_codes_depend_on_and_is_handed_back(faces, run, tmp_path):
    host, vqgan = seeded(), vqgan_of(seeded(seed=1), tmp_path / "vqgan.pth")
    before = {key: value.clone() for key, value in host.state_dict().items()}
    own = dict(host.named_parameters())
    settings = replace(STAGE, weights={"code": 0.5, "feature": 1.0}, options={"smoothing": 0.0, "shuffle_every": 10})
    training = AdapterTraining(learning(imitation=settings, sizes=FULL, watch_every=30), host, faces, run, vqgan=vqgan)
    folder = training.run()
    rows = [json.loads(line) for line in (run / "imitation" / "log.jsonl").read_text().splitlines()]
    for term in ("code", "feature"):
        values = [row[term] for row in rows if term in row]
        assert values[-1] < 0.9 * values[0], term
        assert any(f"{term} shuffled" in row for row in rows)
    assert training.model.unwrap() is host
    assert all(torch.equal(value, before[key]) for key, value in on_cpu(host.state_dict()).items())
    assert all(now is own[name] for name, now in host.named_parameters())

    model = iqp.wrap(host, adapter=folder)
    adapter = model.adapters["default"]
    assert adapter.retrained.parts() == ["encoder", "feat_emb", "ft_layers", "idx_pred_layer", "position_emb"]
    assert adapter.blocks["encoder-blocks-15"].table.shape == (1, 10, 256, 8) and adapter.learned
    assert not torch.equal(model.host.feat_emb.weight, before["feat_emb.weight"])
    assert torch.equal(model.host.quantize.embedding.weight, before["quantize.embedding.weight"])


def test_both_stages_compare_with_the_host_as_it_was_given(faces, run):
    lq = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    host = iqp.wrap(seeded())
    bare = host.restore(lq)
    training = AdapterTraining(learning(("imitation", "reward")), seeded(), faces, run)
    training.run()
    reward = training.stage("reward")
    batch = training._watched(training.watched_data)._replace(lq=lq.to(training.device))
    rows = reward.look(reward.adapter, batch)
    assert torch.equal(rows["bare"].cpu(), bare) and not torch.equal(rows["q 0.5"].cpu(), bare)
    _, own = reward.own(batch)
    torch.testing.assert_close(own.cpu(), bare)
    wanted = training.stage("imitation").wanted(lq.to(training.device)).cpu()
    assert torch.equal(wanted, host.codes_in(lq).nearest()), "the host as it was is the teacher"


def test_a_run_in_which_a_host_learns_goes_on_where_it_was(faces, score_scale, tmp_path):
    trained = {}
    for name, parts in (("whole", (4,)), ("parts", (2, 4))):
        (tmp_path / name).mkdir()
        copy(score_scale, tmp_path / name)
        for steps in parts:
            stage = replace(SHORT, steps=steps, rate=1e-3, options={"shuffle_every": 100})
            config = learning(imitation=replace(stage, warmup=100), save_every=2)
            folder = AdapterTraining(config, seeded(), faces, tmp_path / name).run()
        trained[name] = load_file(folder / "model.safetensors")
    assert trained["whole"].keys() == trained["parts"].keys()
    assert any(key.startswith("retrained.encoder") for key in trained["whole"])
    assert all(torch.equal(value, trained["parts"][key]) for key, value in trained["whole"].items())
    with pytest.raises(ValueError, match='was trained with learns "host", and now it is "adapter"; set it back'):
        AdapterTraining(replace(config, learns="adapter"), seeded(), faces, tmp_path / "parts")


@pytest.mark.parametrize("block", ["attention", "score_map"])
@pytest.mark.parametrize("kind", HOSTS)
def test_every_host_with_a_codebook_can_learn_with_every_block(kind, block, faces, run):
    training = AdapterTraining(learning(block=block), TRAINED[kind].build(), faces, run)
    assert [site.path for site in training.model.sites.values()] == [HOSTS[kind]]
    assert training.kind("imitation") is HostImitation
    model = iqp.wrap(TRAINED[kind].build(), adapter=training.run())
    assert model.adapters["default"].learned and model.adapters["default"].retrained


@pytest.mark.parametrize("kind", ["gpen", "vqfr_v1", "restoreformer", "iqpfr"])
def test_a_host_without_a_single_codebook_cannot_learn(kind, faces, run):
    with pytest.raises(ValueError, match=f"^{kind} has no single codebook, so that it cannot learn as a host"):
        AdapterTraining(learning(), TRAINED[kind].build(), faces, run)
    assert not (run / "settings.json").exists()


@pytest.mark.parametrize(("option", "kind"), [((), "adapter"), (("--learns", "host"), "retrained")])
def test_the_command_lets_a_host_learn_where_that_is_asked_for(option, kind, faces, run, monkeypatch):
    monkeypatch.setattr("iqp_adapter.training.adapter_training.load_host", lambda source: seeded())
    config = run / "short.yaml"
    config.write_text("imitation: {steps: 2, batch: 2, rate: 1.0e-3, warmup: 1}\nprecision: fp32\n")
    command = ["train", "adapter", "--host", "codeformer", "--config", config, "--hq", faces, "-o", run, *option]
    result = CliRunner().invoke(app, [str(part) for part in command])
    assert result.exit_code == 0, result.output
    assert json.loads((run / "imitation" / "model" / "config.json").read_text())["kind"] == kind


def test_who_learns_is_one_of_two(faces, run):
    with pytest.raises(ValueError, match=r"^learns is 'all'; choose from 'adapter' or 'host'$"):
        learning(learns="all")
    with pytest.raises(ValueError, match="unknown loss term l1; this stage knows code, feature$"):
        AdapterTraining(learning(imitation=replace(SHORT, weights={"l1": 1.0})), seeded(), faces, run).run()


def vqgan_of(host: torch.nn.Module, path: Path, parts: tuple[str, ...] = ("encoder", "quantize")) -> Path:
    torch.save({"params_ema": {k: v for k, v in host.state_dict().items() if k.startswith(parts)}}, path)
    return path


def test_the_codes_to_learn_are_those_of_the_vqgan(faces, tmp_path):
    torch.manual_seed(0)
    host, vqgan = stand_ins.CodeFormer(2, 2), stand_ins.CodeFormer(2, 2)
    file, hq = vqgan_of(vqgan, tmp_path / "vqgan.pth"), torch.rand(2, 3, 64, 64)
    own = iqp.wrap(host).codes_in(hq).nearest()
    its = iqp.wrap(vqgan).codes_in(hq).nearest()
    config = AdapterConfig(imitation=STAGE, precision="fp32", sites="codes")
    fresh = stand_ins.CodeFormer(2, 2)
    fresh.load_state_dict(host.state_dict())
    for given, wanted in ((None, own), (file, its)):
        training = AdapterTraining(config, deepcopy(fresh), faces, tmp_path / "run", vqgan=given)
        here = hq.to(training.device)
        assert torch.equal(training.stage("imitation").wanted(here).cpu(), wanted)
        assert torch.equal(training.model.codes_in(here).nearest().cpu(), own)
    assert not torch.equal(own, its)


def test_a_vqgan_of_another_host_is_refused_in_one_line(faces, tmp_path):
    config, host = AdapterConfig(imitation=STAGE, precision="fp32"), stand_ins.CodeFormer(2, 2)
    other = vqgan_of(stand_ins.CodeFormer(3, 2), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth is no VQGAN of this codeformer \(encoder.* is not the host's\)"):
        AdapterTraining(config, host, faces, tmp_path / "run", vqgan=other)
    blind = vqgan_of(stand_ins.CodeFormer(2, 2), tmp_path / "blind.pth", parts=("quantize",))
    with pytest.raises(ValueError, match=r"blind.pth is no VQGAN of this codeformer \(it has no encoder.blocks"):
        AdapterTraining(config, stand_ins.CodeFormer(2, 2), faces, tmp_path / "run", vqgan=blind)
    with pytest.raises(ValueError, match="restoreformer decides no codes, so that it has no use for a VQGAN"):
        AdapterTraining(config, built("restoreformer++"), faces, tmp_path / "run", vqgan=blind)
    own = vqgan_of(host, tmp_path / "own.pth")
    with pytest.raises(ValueError, match="an adapter behind the codes learns none from a VQGAN; leave it out, or give"):
        AdapterTraining(config, host, faces, tmp_path / "run", vqgan=own)


def run_example(name, arguments, monkeypatch, root, host):
    for module in ("iqp_adapter.hosts.wrap", "iqp_adapter.training.adapter_training"):
        monkeypatch.setattr(f"{module}.load_host", lambda source, kind=None, into=None, **options: host)
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(root / "examples" / name))


def test_the_example_of_codeformer_trains_one_that_wrap_loads(faces, tmp_path, monkeypatch, root, capsys):
    arguments = ["codeformer.pth", faces, tmp_path / "mine", 40]
    torch.manual_seed(0)
    host = stand_ins.CodeFormer(2, 2)  # of 64 px, below which nothing has a score
    run_example("finetune_codeformer.py", arguments, monkeypatch, root, deepcopy(host))
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 40 and sum(losses[-10:]) < sum(losses[:10])
    assert iqp.wrap(host, adapter=tmp_path / "mine").adapters["default"].learned


def test_the_example_of_all_hosts_is_the_command(faces, tmp_path, monkeypatch, root, capsys):
    config = tmp_path / "short.yaml"
    config.write_text("precision: fp32\nimitation: {steps: 2, batch: 2, rate: 1.0e-3, warmup: 1}\n")
    run_example("finetune_adapter.py", ["any.pth", config, faces, tmp_path / "run"], monkeypatch, root, built("vqfr"))
    folder = tmp_path / "run" / "imitation" / "model"
    assert capsys.readouterr().out.strip() == f"the adapter is in {folder}"
    assert (folder / "config.json").exists()


def test_an_adapter_that_has_learned_nothing_is_told(faces, tmp_path, caplog):
    config = AdapterConfig(imitation=replace(STAGE, steps=1, rate=0.0), precision="fp32")
    AdapterTraining(config, built("vqfr"), faces, tmp_path).run()
    assert "the pictures are the same at every quality: the adapter has learned nothing yet" in caplog.text


def test_gates_learn_faster_than_the_rest(faces, tmp_path):
    config = AdapterConfig(imitation=replace(STAGE, steps=1, rate=1e-3), precision="fp32", watch_every=100)
    host = built("vqfr")
    start = iqp.wrap(built("vqfr")).adapters["default"].state_dict()
    folder = AdapterTraining(config, host, faces, tmp_path).run()
    trained = torch.load(tmp_path / "imitation" / "state.pt", weights_only=True)["models"]["adapter"]["model"]
    moved = {key: float((value - start[key]).abs().max()) for key, value in on_cpu(trained).items()}
    gates = [step for key, step in moved.items() if key.endswith("gate")]
    assert folder.exists() and max(gates) == pytest.approx(3e-2, rel=1e-3)  # a first step of Adam is its rate
    assert max(step for key, step in moved.items() if not key.endswith("gate")) < 2e-3


def test_accumulated_batches_equal_one_as_large(faces, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.optim.AdamW", lambda groups, lr, **_: torch.optim.SGD(groups, lr))
    whole = StageConfig(steps=3, batch=4, rate=0.05, warmup=1, options={"shuffle_every": 100})
    trained = {}
    for name, stage in (("whole", whole), ("parts", replace(whole, batch=2, accumulate=2))):
        torch.manual_seed(0)
        config = AdapterConfig(imitation=stage, precision="fp32", watch_every=100)
        folder = AdapterTraining(config, stand_ins.CodeFormer(2, 2), faces, tmp_path / name).run()
        trained[name] = load_file(folder / "model.safetensors")
        rows = [json.loads(line) for line in (tmp_path / name / "imitation" / "log.jsonl").read_text().splitlines()]
        trained[name]["l1"] = torch.tensor(rows[0]["l1"])
    assert trained["whole"]["blocks.generator-blocks-2.gate"].abs() > 1e-3
    for key, value in trained["whole"].items():
        torch.testing.assert_close(value, trained["parts"][key], atol=1e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["imitation", "distillation"])
def test_two_processes_equal_one_with_twice_the_batch(stage, faces, tmp_path, root):
    script, launch = root / "tests" / "adapter_run.py", ["-m", "torch.distributed.run", "--standalone"]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    for name, how, batch in (("one", [], 4), ("two", [*launch, "--nproc-per-node", "2"], 2)):
        command = [sys.executable, *how, script, faces, tmp_path / name, str(batch), stage]
        subprocess.run(command, check=True, env=environment)
    one, two = (load_file(tmp_path / run / stage / "model" / "model.safetensors") for run in ("one", "two"))
    assert any(value.abs().max() > 1e-3 for key, value in one.items() if key.endswith("gate"))
    for key in one:
        torch.testing.assert_close(one[key], two[key], atol=1e-6, rtol=0)


def test_a_host_that_no_file_describes_is_trained_at_the_sites_that_are_found(faces, run):
    nafnet = pytest.importorskip("spandrel.architectures.NAFNet.__arch.NAFNet_arch")
    torch.manual_seed(0)
    host = nafnet.NAFNet(width=8, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1]).eval()
    example = torch.rand(1, 3, 64, 64)
    with pytest.raises(ValueError, match="not recognised|unknown|kind"):
        AdapterTraining(AdapterConfig(reward=SHORT, precision="fp32"), host, faces, run)
    training = AdapterTraining(AdapterConfig(reward=SHORT, precision="fp32"), host, faces, run, example=example)
    assert training.resolution == 64 and len(training.model.sites) > 1
    folder = training.run()
    model = iqp.wrap(training.model.unwrap(), adapter=folder)
    assert model.adapters["default"].learned
    lq = torch.rand(1, 3, 64, 64)
    assert not torch.equal(model.restore(lq), model.restore(lq, quality=None))
