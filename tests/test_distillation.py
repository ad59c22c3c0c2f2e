"""Distilled optimisation: codes that a search finds once become the targets of an adapter, each at its own quality."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from shutil import copy
from typing import Any

import numpy as np
import pytest
import stand_ins
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file
from test_adapter_training import TRAINED
from test_reward import KINDS, SCALE, SITES, Brightness, Toy, brightness, samples
from torch.nn.functional import one_hot

import iqp_adapter as iqp
from iqp_adapter import ScoreScale
from iqp_adapter.core.adapter import Adapter
from iqp_adapter.core.codes import Optimisation, search
from iqp_adapter.hosts.wrapped import WrappedHost
from iqp_adapter.scoring.scorer import Scorer
from iqp_adapter.training import found_codes
from iqp_adapter.training.adapter_training import CODES, AdapterTraining
from iqp_adapter.training.config import AdapterConfig, StageConfig
from iqp_adapter.training.found_codes import CodeSearch
from iqp_adapter.training.guard import Guard
from iqp_adapter.training.loop import Loop
from iqp_adapter.training.staged_run import no_display
from iqp_adapter.training.stages import CodeDistillation, CodeReward

OPTIONS = {"search_steps": 3, "kl_weight": 0.0, "shuffle_every": 100}
SHORT = StageConfig(steps=2, batch=2, rate=1e-2, warmup=1, ema=0.5, options=OPTIONS)
PICTURES = 5


@pytest.fixture(autouse=True)
def one_process():
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Crops of scikit-image's astronaut around her face."""
    from skimage.data import astronaut

    folder = tmp_path_factory.mktemp("faces")
    for place in range(PICTURES):
        crop = Image.fromarray(astronaut()[8 * place : 8 * place + 200, 100:300])
        crop.resize((96, 96)).save(folder / f"{place}.png")
    return folder


@pytest.fixture
def folder(tmp_path):
    """Makes folders of runs that have their score scale already."""

    def make(name: str = "run"):
        (tmp_path / name).mkdir(exist_ok=True)
        scale = ScoreScale("iqp-lite", False, tuple(range(101)))
        (tmp_path / name / "score_scale.json").write_text(json.dumps(scale.to_dict()))
        return tmp_path / name

    return make


@pytest.fixture
def searches(monkeypatch):
    """The inputs of every search."""
    calls: list[torch.Tensor] = []
    own = found_codes.CodeSearch.__call__
    monkeypatch.setattr(found_codes.CodeSearch, "__call__", lambda self, lq: calls.append(lq) or own(self, lq))
    return calls


def host(seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = stand_ins.CodeFormer(2, 2).eval()
        module.generator.blocks[-1].weight.data.mul_(10)  # else its codes hardly show
    return module


def training(faces, folder, module=None, stage: StageConfig = SHORT, **how: Any) -> AdapterTraining:
    given = {"precision": "fp32", "watch_every": 100, "save_every": 2, "sites": "codes"}
    settings = {name: how.pop(name) for name in list(how) if name in AdapterConfig.__dataclass_fields__}
    config = AdapterConfig(distillation=stage, **given | settings)
    return AdapterTraining(config, module or host(), faces, folder, **how)


def stage_of_a_toy(kind, **options):
    """Of a host with five grey levels as codes, whose brightness is raised."""
    model = WrappedHost(Toy(), KINDS[CodeReward], Adapter(SITES, [SCALE]))
    return kind(StageConfig(1, 8, 1e-3, options=options), torch.nn.Identity(), model, Guard(Measured(), []))


class Measured(Brightness):
    differentiable = True


def found_in(run: AdapterTraining) -> found_codes.FoundCodes:
    run.prepare("distillation", no_display)
    return run._found


def test_a_search_tells_what_it_found_after_every_update():
    torch.manual_seed(0)
    logits = (torch.randn(3, 4, 5),)
    wanted = torch.randn(3, 4, 5)

    def reward(weights: torch.Tensor) -> torch.Tensor:
        return (weights * wanted).sum((1, 2))

    path = list(search(logits, lambda codes: codes[0], reward, Optimisation(steps=8, kl_weight=0.0)))
    assert len(path) == 9 and torch.equal(path[0].codes[0], logits[0].argmax(-1))
    for one in path:
        assert torch.equal(one.rewards, reward(one_hot(one.codes[0], 5).float()))
    rewards = torch.stack([one.rewards for one in path])
    assert (rewards.diff(dim=0) >= 0).all() and (rewards[-1] > rewards[0]).all()


def test_the_codes_of_every_input_score_what_is_said_and_rise_from_those_of_the_host(faces, folder):
    run = training(faces, folder())
    found = found_in(run)
    assert found.codes.shape[:3] == (PICTURES, 4, 1)  # after 0 to 3 updates
    lq = torch.stack([run.data[0, place]["lq"] for place in range(PICTURES)]).to(run.device)
    bare, scorer = iqp.wrap(host()), Scorer("iqp-lite", device="cpu")
    assert np.array_equal(found.codes[:, 0, 0], bare.codes_in(lq.cpu()).logits().argmax(-1).numpy())
    for step in range(4):
        weights = one_hot(torch.from_numpy(found.codes[:, step, 0].astype(int)), bare.codes.logits.dim).float()
        scores = scorer(bare.codes_in(lq.cpu()).decode((weights,)))
        torch.testing.assert_close(torch.from_numpy(found.scores[:, step]), scores, atol=2e-2, rtol=0)
    assert (np.diff(found.scores) >= 0).all() and (found.scores[:, -1] > found.scores[:, 0] + 0.02).all()


def test_a_sample_is_one_of_its_codes_at_the_quality_that_they_reached(faces, folder):
    run = training(faces, folder(), stage=replace(SHORT, options=OPTIONS | {"rounds": 2}))
    found = found_in(run)
    data, _ = run._data_of("distillation")
    assert len(data) == len(found.codes) == 2 * PICTURES
    batch = next(run._batches(data, replace(SHORT, batch=10), 1)(0))
    drawn = set()
    for lq, codes, quality in zip(batch.lq, batch.codes[0], batch.quality, strict=True):
        [place] = [at for at in range(10) if torch.equal(run.data[divmod(at, PICTURES)]["lq"], lq.cpu())]
        [*steps] = [step for step in range(4) if np.array_equal(found.codes[place, step, 0], codes.cpu().numpy())]
        qualities = run.scale.quality(torch.from_numpy(found.scores[place]))
        assert quality.cpu() in qualities[steps]
        drawn.add(steps[0])
    assert len(drawn) > 1, "an input is learned at more than its best"
    samples = [data[epoch, 3] for epoch in range(8)]
    assert len({one["key"] for one in samples}) == 8 and len({float(one["score"]) for one in samples}) > 1
    assert all(torch.equal(one["lq"], samples[0]["lq"]) for one in samples)


def test_neither_decoder_nor_metric_runs_in_the_training(faces, folder, monkeypatch):
    module, calls = host(), []
    run = training(faces, folder(), module)
    found_in(run)
    monkeypatch.setattr(run, "prepare", lambda *_: None)
    monkeypatch.setattr(run, "_watched", lambda data: None)
    monkeypatch.setattr(Loop, "_draw", lambda *_: None)
    monkeypatch.setattr(Scorer, "__call__", lambda *_: calls.append("metric"))
    module.generator.blocks[0].register_forward_hook(lambda *_: calls.append("decoder"))
    module.encoder.blocks[0].register_forward_hook(lambda *_: calls.append("encoder"))
    run.run_stage("distillation")
    assert set(calls) == {"encoder"}


def test_the_adapter_learns_the_codes_that_were_found(faces, folder):
    stage = replace(SHORT, steps=50, batch=5, options=OPTIONS | {"drop": 0.0, "smoothing": 0.0})
    module = host()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    run = training(faces, folder(), module, stage)
    path = run.run()
    assert all(torch.equal(value.cpu(), before[key]) for key, value in module.state_dict().items())
    rows = [json.loads(line) for line in (path.parent / "log.jsonl").read_text().splitlines()]
    terms = [row["code"] for row in rows if "code" in row]
    assert terms[-1] < 0.95 * terms[0]
    assert iqp.wrap(host(), adapter=path).adapters["default"].learned


def test_a_dial_from_the_host_as_it_is_to_what_a_search_finds():
    stage = stage_of_a_toy(CodeDistillation, drop=0.2, search_steps=20, kl_weight=0.0, search_rate=0.5)
    settings, _ = CodeDistillation.search_of(stage.config)
    lq = torch.rand(48, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = CodeSearch(stage.model, stage.guard.driving, settings)(lq)
    assert found.scores[:, -1].mean() > found.scores[:, 0].mean() + 15
    adam = torch.optim.Adam(stage.adapter.parameters(), lr=5e-3)
    for step in range(200):
        generator = torch.Generator().manual_seed(step)
        places, at = (torch.randint(most, (16,), generator=generator).numpy() for most in (48, 4))
        codes = torch.from_numpy(found.codes[places, at].astype(int))
        quality = SCALE.quality(torch.from_numpy(found.scores[places, at]))
        batch = samples(lq[places], quality, first=16 * step)._replace(codes=tuple(codes.unbind(1)))
        [(_, terms)] = stage.updates(batch, step)
        adam.zero_grad()
        terms["code"].backward()
        adam.step()
    low, high = np.quantile(found.scores / 100, (0.1, 0.9))
    dark, bright = brightness(stage, float(low)), brightness(stage, float(high))
    assert dark < found.scores[:, 0].mean() < bright - 15


def test_an_interrupted_search_goes_on_and_ends_with_the_same(faces, folder, searches, monkeypatch):
    monkeypatch.setattr(found_codes, "SHARD", 2)
    whole = found_in(training(faces, folder("whole")))
    assert len(searches) == 3
    run = training(faces, folder("parts"))

    def stop(done: int, terms: dict) -> None:
        if terms:
            raise KeyboardInterrupt

    class Stopped:
        def __enter__(self):
            return stop

        def __exit__(self, *error):
            return None

    with pytest.raises(KeyboardInterrupt):
        run.prepare("distillation", lambda *_: Stopped())
    again = found_in(training(faces, folder("parts")))
    assert len(searches) == 3 + 1 + 2
    assert all(map(np.array_equal, whole, again))


def test_a_resumed_run_equals_an_uninterrupted_one(faces, folder, searches):
    trained = {}
    for name, parts in (("whole", (4,)), ("parts", (2, 4))):
        for steps in parts:
            path = training(faces, folder(name), stage=replace(SHORT, steps=steps, warmup=100)).run()
        trained[name] = load_file(path / "model.safetensors")
    assert len(searches) == 2 * 3  # five inputs in twos, once for each folder
    assert any(value.any() for key, value in trained["whole"].items() if key.endswith("gate"))
    assert all(torch.equal(value, trained["parts"][key]) for key, value in trained["whole"].items())


def test_runs_share_what_was_found_and_what_it_depends_on_is_searched_again(faces, folder, searches, tmp_path):
    shared = tmp_path / "shared"
    found_in(training(faces, folder("first"), codes=shared))
    found_in(training(faces, folder("second"), codes=shared, block="score_map"))
    assert len(searches) == 3 and len(list(shared.iterdir())) == 1
    others = tmp_path / "others"
    others.mkdir()
    for file in faces.iterdir():
        copy(file, others)
    Image.new("RGB", (96, 96), (90, 60, 50)).save(others / "0.png")
    more = replace(SHORT, options=OPTIONS | {"search_steps": 2})
    for name, change in {
        "host": {"module": host(seed=1)}, "seed": {"seed": 1}, "search": {"stage": more}, "picture": {"faces": others},
    }.items():  # fmt: skip
        given = {"faces": faces, "folder": folder(name), "codes": shared} | change
        found_in(training(**given))
    assert len(searches) == 3 + 4 * 3 and len(list(shared.iterdir())) == 5


def test_more_rounds_add_to_what_was_found(faces, folder, searches, monkeypatch):
    monkeypatch.setattr(found_codes, "SHARD", PICTURES)
    one = found_in(training(faces, folder()))
    two = found_in(training(faces, folder(), stage=replace(SHORT, options=OPTIONS | {"rounds": 2})))
    assert len(searches) == 3 + 3
    assert np.array_equal(two.codes[:PICTURES], one.codes) and len(two.codes) == 2 * PICTURES


def test_a_damaged_file_is_said_and_searched_again(faces, folder, searches, caplog):
    run = training(faces, folder())
    whole = found_in(run)
    [file] = (folder() / CODES).rglob("*.npz")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING, "iqp_adapter"):
        again = found_in(training(faces, folder()))
    assert f"{file} is damaged" in caplog.text and len(searches) == 6
    assert all(map(np.array_equal, whole, again))


def test_two_codebooks_are_distilled_together(faces, folder):
    run = training(faces, folder(), TRAINED["iqpfr"].build())
    path = run.run()
    assert run._found.codes.shape[:3] == (PICTURES, 4, 2)
    assert iqp.wrap(TRAINED["iqpfr"].build(), adapter=path).adapters["default"].learned


@pytest.mark.parametrize(
    ("kind", "sites", "said"),
    [
        (
            "restoreformer",
            None,
            "restoreformer decides no codes that could be found; leave distillation out, give re.*",
        ),
        ("restoreformer", "codes", "this restoreformer decides no codes that an adapter could steer; leave sites out"),
        ("vqfr", "codes", "VQFRv2 decodes without gradients: .* of a vqfr; leave distillation out"),
        ("codeformer", None, "nothing that is trained reaches .*; leave distillation out, or give sites: codes"),
    ],
)
def test_a_host_whose_codes_cannot_be_found_or_steered_is_refused_in_one_line(kind, sites, said, faces, folder):
    with pytest.raises(ValueError, match=f"^{said}$"):
        training(faces, folder(), TRAINED[kind].build(), sites=sites)


def test_a_metric_without_a_gradient_is_refused_before_anything_is_searched(faces, folder):
    scale = ScoreScale("piqe", True, tuple(range(100, -1, -1)))
    folder = folder()
    (folder / "score_scale.json").write_text(json.dumps(scale.to_dict()))
    with pytest.raises(ValueError, match="piqe has no gradient and cannot be optimised"):
        training(faces, folder, metric="piqe", judges=("niqe",))


def test_the_search_has_its_options_from_the_stage():
    settings, rounds = CodeDistillation.search_of(StageConfig(1, 1, 0.0, options={"search_steps": 4, "rounds": 3}))
    assert settings == Optimisation(steps=4, rate=0.3, kl_weight=1.0, noise=0.0) and rounds == 3
    with pytest.raises(ValueError, match="unknown option serach_steps; this stage knows .*search_steps"):
        CodeDistillation.check(StageConfig(1, 1, 0.0, options={"serach_steps": 4}))


@pytest.mark.parametrize(("noise", "decoded"), [(0.0, 4), (0.3, 7)])
def test_a_search_without_noise_decodes_once_an_update(noise, decoded):
    """The candidate is what the gradient is taken at; with noise it is another one."""
    torch.manual_seed(0)
    logits, calls = (torch.randn(3, 4, 5),), []
    wanted = torch.randn(3, 4, 5)
    decode = lambda codes: calls.append(codes) or codes[0]  # noqa: E731
    path = list(
        search(logits, decode, lambda x: (x * wanted).sum((1, 2)), Optimisation(steps=3, noise=noise, rate=1.0))
    )
    assert len(calls) == decoded and path[-1].rewards.mean() > path[0].rewards.mean()
